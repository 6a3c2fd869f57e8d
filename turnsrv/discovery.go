package turnsrv

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"

	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
)

// DiscoveryIP is one of the two addresses of a family at which clients can find out how NATs behave. A zero Local is the
// same as Told, and then no NAT may be in front.
type DiscoveryIP = control.Place[netip.Addr]

// discovery decides where NATs can be found out about (RFC 5780), as settings and addresses are at the moment.
type discovery struct {
	mu     sync.Mutex
	set    []placed
	v4, v6 Family
	off    string
}

// placed is a place for clients of one family.
type placed struct {
	control.Discovery

	direct bool // right only as long as no NAT is in front
}

// settle decides anew, after a change.
func (s *Server) settle(change func(d *discovery)) {
	d := &s.discovery
	d.mu.Lock()
	defer d.mu.Unlock()
	change(d)
	d.off = ""
	var all []control.Discovery
	for _, p := range d.set {
		f := d.v6
		if p.IPs[0].Local.Is4() {
			f = d.v4
		}
		if p.direct && behindNAT(f) && f.Advertise != p.IPs[0].Told && f.Advertise != p.IPs[1].Told {
			d.off = fmt.Sprintf("clients are told %s for this machine's %s, so a NAT is in front, and %s and %s may not be what clients reach",
				f.Advertise, f.Bind, p.IPs[0].Told, p.IPs[1].Told)
			continue
		}
		all = append(all, p.Discovery)
	}
	s.control.Discover(all)
}

// DiscoveryOff says why NATs cannot be found out about though Settings.Discovery asks for it; empty: they can, or it does not.
func (s *Server) DiscoveryOff() string {
	s.discovery.mu.Lock()
	defer s.discovery.mu.Unlock()
	return s.discovery.off
}

// behindNAT reports whether clients are told another address of relays than they have.
func behindNAT(f Family) bool {
	return f.Bind.IsValid() && f.Advertise.IsValid() && !f.Bind.IsUnspecified() && f.Bind != f.Advertise
}

// openDiscovery does at the start what Prepare does later.
func (s *Server) openDiscovery() error {
	places, err := s.place(s.cfg.Settings)
	if err == nil {
		s.settle(func(d *discovery) { d.set, d.v4, d.v6 = places, s.cfg.IPv4, s.cfg.IPv6 })
	}
	return err
}

// place finds the listeners for settings: a UDP listener at both addresses of a family, on the same two ports.
func (s *Server) place(set Settings) (all []placed, err error) {
	if len(set.Discovery) > 0 && !s.has("udp") {
		return nil, errors.New("turn.nat_discovery needs plain UDP: add udp to turn.transports")
	}
	for _, four := range []bool{true, false} {
		var ips []DiscoveryIP
		for _, ip := range set.Discovery {
			if ip.Told.Is4() == four {
				ips = append(ips, ip)
			}
		}
		if len(ips) == 0 {
			continue
		}
		p, err := s.placeFamily(ips, set.OuterPorts)
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

func (s *Server) placeFamily(ips []DiscoveryIP, outer map[uint16]uint16) (p placed, err error) {
	for i := range ips {
		if !ips[i].Local.IsValid() {
			ips[i].Local, p.direct = ips[i].Told, true
		}
	}
	if len(ips) != 2 || ips[0].Local == ips[1].Local {
		return p, errors.New("turn.nat_discovery must have two addresses of a family")
	}
	p.IPs = [2]DiscoveryIP(ips)
	for _, ip := range ips {
		if err := canBind(ip.Local); err != nil {
			return p, fmt.Errorf("turn.nat_discovery: %s is no address of this machine: give it this one, or write what clients reach and, "+
				"behind a slash, what it has: %w", ip.Local, err)
		}
	}
	ports := s.sharedPorts(ips[0].Local, ips[1].Local)
	if len(ports) < 2 {
		return p, fmt.Errorf("turn.nat_discovery: the server does not listen on the same two UDP ports of %s and %s: add them to turn.listen, and restart it",
			ips[0].Local, ips[1].Local)
	}
	for i := range p.Ports {
		p.Ports[i] = control.Place[uint16]{Local: ports[i], Told: cmp.Or(outer[ports[i]], ports[i])}
	}
	return p, nil
}

// sharedPorts are the ports on which UDP listeners are at both addresses, those that were configured first in front.
func (s *Server) sharedPorts(one, other netip.Addr) (ports []uint16) {
	at := func(ip netip.Addr, port uint16) bool {
		return slices.ContainsFunc(s.packets, func(l netip.AddrPort) bool {
			return l.Port() == port && l.Addr().Is4() == ip.Is4() && (l.Addr() == ip || l.Addr().IsUnspecified())
		})
	}
	for _, l := range s.packets {
		if p := l.Port(); !slices.Contains(ports, p) && at(one, p) && at(other, p) {
			ports = append(ports, p)
		}
	}
	return ports
}

// canBind tells whether this machine has the address: those of loopback are not all in the lists of its interfaces.
func canBind(ip netip.Addr) error {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		return err
	}
	return c.Close()
}
