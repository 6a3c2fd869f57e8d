package relay

import "golang.org/x/sys/unix"

// CanDontFragment reports whether DONT-FRAGMENT (RFC 8656 §18.9) can be done on this system.
const CanDontFragment = true

// dontFragment sets or clears DF for what is sent on a socket. On IPv6, where only the sender fragments, it keeps this
// machine from doing so. DF is set as for probes, ignoring what ICMP messages have said about the path: whoever uses
// DONT-FRAGMENT wants to find that out.
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
