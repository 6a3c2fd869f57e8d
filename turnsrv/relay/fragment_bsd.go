//go:build darwin || freebsd

package relay

import "golang.org/x/sys/unix"

// CanDontFragment reports whether DONT-FRAGMENT (RFC 8656 §18.9) can be done on this system.
const CanDontFragment = true

// dontFragment sets or clears DF on what is sent on a socket. On IPv6, where nobody but the sender fragments, it has
// this machine not do so.
func dontFragment(fd int, four, on bool) error {
	value := 0
	if on {
		value = 1
	}
	if four {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_DONTFRAG, value)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, value)
}
