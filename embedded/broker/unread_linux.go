package broker

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// unread is how many bytes of the peer wait in the kernel, and whether the connection has broken or the peer has ended it.
func unread(nc net.Conn) (n int, over bool) {
	sc, ok := nc.(syscall.Conn)
	for !ok { // TLS, or an http.Server's own
		around, is := nc.(interface{ NetConn() net.Conn })
		if !is {
			break
		}
		nc = around.NetConn()
		sc, ok = nc.(syscall.Conn)
	}
	if !ok {
		return 0, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, true
	}
	err = raw.Control(func(fd uintptr) {
		n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		var one [1]byte
		got, _, err := unix.Recvfrom(int(fd), one[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		over = (got == 0 && err == nil) || (err != nil && err != unix.EAGAIN && err != unix.EINTR)
	})
	return n, over || err != nil
}
