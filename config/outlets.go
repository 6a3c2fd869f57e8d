package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Outlet is an address of Turn.NATDiscovery: Public is what clients reach, and Local what this machine has, if that was
// written too.
type Outlet struct{ Public, Local netip.Addr }

// Outlets are those of a list such as Turn.NATDiscovery, which has been checked.
func Outlets(list []string) (all []Outlet) {
	for _, text := range list {
		if o, err := parseOutlet(text); err == nil {
			all = append(all, o)
		}
	}
	return all
}

func outlet(s string) error {
	_, err := parseOutlet(s)
	return err
}

// parseOutlet reads ADDRESS, or PUBLIC/LOCAL.
func parseOutlet(s string) (o Outlet, err error) {
	public, local, both := strings.Cut(s, "/")
	if o.Public, err = hostAddr(public); err == nil && both {
		o.Local, err = hostAddr(local)
	}
	if err == nil && both && o.Public.Is4() != o.Local.Is4() {
		err = fmt.Errorf("%s: the two are not of the same family", quoted(s))
	}
	return o, err
}

func hostAddr(s string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(strings.TrimSpace(s))
	if err != nil || ip.Zone() != "" || ip.Is4In6() || ip.IsUnspecified() || ip.IsMulticast() {
		return ip, fmt.Errorf("%s is no IP address that a machine has, such as \"192.0.2.10\"", quoted(s))
	}
	return ip, nil
}

// own is the address that this machine has.
func (o Outlet) own() netip.Addr {
	if o.Local.IsValid() {
		return o.Local
	}
	return o.Public
}

// checkNATDiscovery finds families with another number of addresses than two, and addresses without listeners.
func (l *loader) checkNATDiscovery(all []bound) {
	const key = "turn.nat_discovery"
	t := l.cfg.Turn
	if !l.good(key) || len(t.NATDiscovery) == 0 {
		return
	}
	if l.good("turn.transports") && !slices.Contains(t.Transports, "udp") {
		l.fail(key, "", errors.New("needs plain UDP: add udp to turn.transports"), "turn.transports")
		return
	}
	for _, four := range []bool{true, false} {
		var own []netip.Addr
		for _, o := range Outlets(t.NATDiscovery) {
			if o.Public.Is4() == four {
				own = append(own, o.own())
			}
		}
		switch {
		case len(own) == 0:
		case len(own) != 2 || own[0] == own[1]:
			l.failf(key, "must have two addresses of a family: with one, nothing can be found out, and of more only two could be used")
		case l.good("turn.listen", "turn.listen_tls") && !listening(all, own[0], own[1]):
			l.fail(key, "", fmt.Errorf("turn.listen and turn.listen_tls do not have the same two ports of %s and %s: add what is missing, such as %s",
				own[0], own[1], quoted(netip.AddrPortFrom(own[1], 3478).String())), "turn.listen")
		}
	}
}

// listening reports whether TURN listeners are, or may be, at both addresses on the same two ports.
func listening(all []bound, one, other netip.Addr) bool {
	at := func(ip netip.Addr, port uint16) bool {
		return slices.ContainsFunc(all, func(b bound) bool {
			a := b.AddrPort().Addr().Unmap()
			// The wildcard of IPv6 stands for both families.
			return b.udp && b.Port() == port && (a == ip || a == netip.IPv6Unspecified() || a == netip.IPv4Unspecified() && ip.Is4())
		})
	}
	var ports []uint16
	for _, b := range all {
		if b.udp && b.Port() == 0 {
			return true // known when it is bound
		}
		if b.udp && !slices.Contains(ports, b.Port()) && at(one, b.Port()) && at(other, b.Port()) {
			ports = append(ports, b.Port())
		}
	}
	return len(ports) >= 2
}
