package peertcp

import (
	"net"

	"golang.org/x/sys/unix"
)

// On Linux a port can be bound for oneself first and be shared later.
const exclusiveLater = false

// keepInKernel is how much the kernel takes without sending it, where the peer reads slowly.
const keepInKernel = 128 << 10

// prepare sets the options of a connection.
func prepare(c *net.TCPConn) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, keepInKernel)
		})
	}
}
