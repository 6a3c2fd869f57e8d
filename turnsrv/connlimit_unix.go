//go:build unix

package turnsrv

import "syscall"

// openFiles returns how many descriptors this process may have. The runtime has raised the soft limit to the hard one.
func openFiles() uint64 {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return 1024
	}
	return uint64(r.Cur) //nolint:unconvert // signed on some systems
}
