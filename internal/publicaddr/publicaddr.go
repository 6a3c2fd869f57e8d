// Package publicaddr finds the addresses under which this machine is reached, as far as the machine itself can know.
package publicaddr

import (
	"net"
	"net/netip"
	"slices"
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

// Local lists the addresses of this machine's interfaces.
func Local() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip.Unmap())
			}
		}
	}
	return out, nil
}

// IsLocal reports whether a is one of them, or any loopback address.
func IsLocal(a netip.Addr) bool {
	all, err := Local()
	return err == nil && slices.Contains(all, a.Unmap()) || a.IsLoopback()
}
