package relay

import "golang.org/x/sys/unix"

// CanDontFragment reports whether DONT-FRAGMENT (RFC 8656 §18.9) can be done on this system.
const CanDontFragment = true

// dontFragment sets or clears DF on what is sent on a socket. On IPv6, where nobody but the sender fragments, it has this
// machine not do so. DF is set as a probe has it, without believing what ICMP messages say about the path: those who send
// Send indications with DONT-FRAGMENT find that out themselves.
func dontFragment(fd int, four, on bool) error {
	switch {
	case four && on:
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
	case four:
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT)
	case on:
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 0)
}
