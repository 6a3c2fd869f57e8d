package relay

import "golang.org/x/sys/unix"

// What the kernel holds of a connection, and knows of the other end.

// unread is how many bytes have come in that nobody has read yet.
func (c *Conn) unread() (n int) {
	_ = c.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	return n
}

// unacknowledged is how many bytes of those written the other end has not acknowledged.
func (c *Conn) unacknowledged() (n int) {
	_ = c.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n
}

// isAway reports whether the other end does not even acknowledge what is sent to it; not ok: that is not known.
func (c *Conn) isAway() (away, ok bool) {
	_ = c.raw.Control(func(fd uintptr) {
		if i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			// Data that is sent again, or a window that stays closed and is asked for in vain.
			away, ok = i.Retransmits > 0 || i.Probes > 2, true
		}
	})
	return away, ok
}

// keepInKernel bounds what the kernel takes without sending it, where the client reads slowly; 0: what it takes by
// itself, some megabytes.
func (c *Conn) keepInKernel(bytes int) {
	_ = c.raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, bytes) })
}
