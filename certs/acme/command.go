package acme

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	presentTimeout = 2 * time.Minute
	cleanupTimeout = 30 * time.Second
	// waitDelay is for pipes that a child has kept.
	waitDelay = time.Second
)

// run runs a program to its end, or kills it with its children when ctx ends. said is the last line that it wrote to
// standard error. It gets nothing of this program's configuration.
func run(ctx context.Context, program string, args ...string) (said string, err error) {
	var stderr tail
	cmd := exec.CommandContext(ctx, program, args...) //nolint:gosec // the operator names it; no shell reads the rest
	cmd.Stderr = &stderr
	cmd.Env = foreign(os.Environ())
	cmd.WaitDelay = waitDelay
	withChildren(cmd)
	err = cmd.Run()
	killChildren(cmd)
	return stderr.last(), err
}

// foreign leaves out what belongs to this program: its configuration has secrets, and its supervisor is not the command's.
func foreign(environ []string) (out []string) {
	for _, e := range environ {
		name, _, _ := strings.Cut(e, "=")
		if !strings.HasPrefix(name, "CROLANG_AIO_") && name != "NOTIFY_SOCKET" && name != "WATCHDOG_USEC" && name != "WATCHDOG_PID" && !strings.HasPrefix(name, "LISTEN_") {
			out = append(out, e)
		}
	}
	return out
}

// tail keeps the end of what is written to it.
type tail struct{ b []byte }

const tailBytes = 4 << 10

// Write implements [io.Writer].
func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if over := len(t.b) - tailBytes; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(p), nil
}

func (t *tail) last() string {
	b := bytes.TrimSpace(t.b)
	return string(b[bytes.LastIndexByte(b, '\n')+1:])
}
