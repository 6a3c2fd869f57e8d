//go:build linux && !portable

package relay

import "net/netip"

func fuzzSource(p *Plane, client netip.AddrPort) Source {
	s, _ := p.engine.sets[0].socks[0].source(client, netip.Addr{})
	return s
}
