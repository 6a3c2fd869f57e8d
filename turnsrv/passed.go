package turnsrv

import (
	"fmt"
	"net/netip"
	"slices"
)

// takePassed uses the passed socket that listens at addr, if there is one. A socket on the IPv6 wildcard that takes
// IPv4 as well stands for both wildcards.
func (s *streams) takePassed(addr netip.AddrPort) bool {
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	for _, l := range s.cfg.Passed {
		at := unmapped(l.Addr())
		if at != addr && (at != netip.AddrPortFrom(netip.IPv6Unspecified(), addr.Port()) ||
			addr.Addr() != netip.IPv4Unspecified() || !takesBothFamilies(l)) {
			continue
		}
		s.mu.Lock()
		if !slices.Contains(s.listeners, l) {
			s.listeners = append(s.listeners, l)
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
		if !slices.Contains(s.listeners, l) {
			err = fmt.Errorf("the TCP socket that was passed for %s is at no address of turn.listen and turn.listen_tls: let them be equal", l.Addr())
			_ = l.Close()
		}
	}
	return err
}
