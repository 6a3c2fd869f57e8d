package turnsrv

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// takePassed uses the passed socket that listens at addr, if there is one. A socket on the IPv6 wildcard that takes
// IPv4 as well stands for both wildcards.
func (s *streams) takePassed(addr netip.AddrPort, shared bool) bool {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	for _, l := range s.cfg.Passed {
		at := unmapped(l.Addr())
		if at != addr && (at != netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port()) ||
			addr.Addr() != netip.IPv4Unspecified() || !takesBothFamilies(l)) {
			continue
		}
		s.mu.Lock()
		if !s.uses(l) {
			s.listeners = append(s.listeners, &port{l, shared})
		}
		s.mu.Unlock()
		return true
	}
	return false
}

// unused closes the passed sockets that listen was not asked for, and returns an error that names one of them.
func (s *streams) unused() (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.cfg.Passed {
		if !s.uses(l) {
			err = fmt.Errorf("the TCP socket that was passed for %s is at no address of turn.listen and turn.listen_tls: let them be equal", l.Addr())
			_ = l.Close()
		}
	}
	return err
}

// uses reports whether l is one of the listeners. Called with mu held.
func (s *streams) uses(l *net.TCPListener) bool {
	return slices.ContainsFunc(s.listeners, func(p *port) bool { return p.TCPListener == l })
}
