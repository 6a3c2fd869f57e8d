package listen

import (
	"net"
	"net/netip"
)

var loopback4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Nearby is where this machine itself reaches what listens at a: for a wildcard, whichever loopback address there is, since
// a machine may have that of one family only. Not ok: it has none at which the wildcard could be reached, and the usual
// one is returned.
func (a Address) Nearby() (at netip.AddrPort, ok bool) {
	if !a.Wildcard() {
		return a.AddrPort(), true
	}
	candidates := []netip.Addr{loopback4, netip.IPv6Loopback()}
	switch {
	case a.ip.Is4():
		candidates = candidates[:1]
	case a.ip.Is6():
		candidates = []netip.Addr{netip.IPv6Loopback(), loopback4}
	}
	for _, ip := range candidates {
		if here(ip) {
			return netip.AddrPortFrom(ip, a.port), true
		}
	}
	return netip.AddrPortFrom(candidates[0], a.port), false
}

// Bound is the Address of a socket that is bound to at.
func Bound(at netip.AddrPort) Address { return Address{at.Addr().Unmap(), at.Port()} }

// here reports whether this machine has ip, by binding a socket to it: no address has to be listed, which a sandbox may
// forbid, and no packet is sent.
func here(ip netip.Addr) bool {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}
