// Package publicaddr finds the addresses under which this machine is reached, as far as the machine itself can know.
package publicaddr

import (
	"net"
	"net/netip"
)

// Route4 is the local IPv4 address that the default route uses. No packet is sent. False where there is no route.
func Route4() (netip.Addr, bool) { return route("udp4", "198.51.100.1:9") }

// Route6 is the global IPv6 address that the default route uses. No packet is sent. False where there is no route, or
// where its address is not a global one: a unique-local address is of no use to a peer elsewhere.
func Route6() (netip.Addr, bool) {
	a, ok := route("udp6", "[2001:db8::1]:9")
	if !ok || !a.IsGlobalUnicast() || a.IsPrivate() {
		return netip.Addr{}, false
	}
	return a, true
}

// route connects a UDP socket, which only looks the route up, and reads the address that the kernel chose.
func route(network, to string) (netip.Addr, bool) {
	c, err := net.Dial(network, to)
	if err != nil {
		return netip.Addr{}, false
	}
	defer c.Close()
	u, ok := c.LocalAddr().(*net.UDPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	a := u.AddrPort().Addr().Unmap().WithZone("")
	return a, a.IsValid() && !a.IsUnspecified()
}

// IsLocal says whether a is an address of one of this machine's interfaces.
func IsLocal(a netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, n := range all {
		if p, ok := n.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(p.IP); ok && ip.Unmap() == a.Unmap() {
				return true
			}
		}
	}
	return a.IsLoopback()
}
