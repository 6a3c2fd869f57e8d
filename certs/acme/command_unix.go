//go:build unix

package acme

import (
	"os/exec"
	"syscall"
)

// withChildren makes cmd the first of a process group, all of which is killed in its place.
func withChildren(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
}

// killChildren ends what cmd, which has ended, left running.
func killChildren(cmd *exec.Cmd) {
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // most often there is none
	}
}
