//go:build unix

package turnsrv

import (
	"io"
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// peekFirst waits for the first byte and leaves it in the socket, so that nothing stands between the socket and the
// data plane. conn is what to go on reading from: c.
func peekFirst(_ streamServer, c *net.TCPConn) (first byte, conn net.Conn, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, nil, err
	}
	var b [1]byte
	var n int
	var fault error
	err = raw.Read(func(fd uintptr) bool {
		for {
			n, _, fault = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK)
			if fault != syscall.EINTR {
				return fault != syscall.EAGAIN
			}
		}
	})
	switch {
	case err != nil:
		return 0, nil, err
	case fault != nil:
		return 0, nil, fault
	case n == 0:
		return 0, nil, io.EOF
	}
	return b[0], c, nil
}

// isGone reports whether the client has closed or reset its connection. What it has sent is still there.
func isGone(c *net.TCPConn) bool {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	gone := true
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		gone = n == 0 && err == nil || err != nil && err != syscall.EAGAIN && err != syscall.EINTR
	})
	return gone
}

// descriptor is c's descriptor: the lowest number that was free, so at least as many are open.
func descriptor(c *net.TCPConn) (n int) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	return n
}

// isWaiting reports whether a connection waits to be accepted.
func isWaiting(l *net.TCPListener) bool {
	raw, err := l.SyscallConn()
	if err != nil {
		return false
	}
	waiting := false
	_ = raw.Control(func(fd uintptr) {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		waiting = err == nil && n == 1
	})
	return waiting
}

// takesBothFamilies reports whether a listener on the IPv6 wildcard takes IPv4 too.
func takesBothFamilies(l *net.TCPListener) bool {
	raw, err := l.SyscallConn()
	if err != nil {
		return false
	}
	both := false
	_ = raw.Control(func(fd uintptr) {
		only, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
		both = err == nil && only == 0
	})
	return both
}
