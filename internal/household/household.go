// Package household says which addresses count as one source where strangers share something: places, answers, turns.
package household

import "net/netip"

// Of returns the source that an address belongs to: an IPv4 address by itself, also one mapped into IPv6, or the /64 of an
// IPv6 address, all of which is one customer's. That of the zero Addr is the zero Prefix.
func Of(ip netip.Addr) netip.Prefix {
	ip = ip.Unmap().WithZone("")
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	p, _ := ip.Prefix(bits)
	return p
}
