//go:build unix

package systemd

import "syscall"

// isSocket keeps the package from closing a descriptor that is somebody else's.
func isSocket(fd int) bool {
	var st syscall.Stat_t
	return syscall.Fstat(fd, &st) == nil && st.Mode&syscall.S_IFMT == syscall.S_IFSOCK
}

// listens reports whether listen has been called on a socket; net takes any for a listener.
func listens(fd int) bool {
	on, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ACCEPTCONN)
	return err == nil && on != 0
}
