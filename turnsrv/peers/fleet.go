package peers

import "net/netip"

// Place is where another machine of the fleet has its relays.
type Place struct {
	Addrs            []netip.Addr // advertised and bound
	PortMin, PortMax uint16       // both ends used
}

// lowestRelay is the lowest port that is believed to be a relay's: below it are services of the machine.
const lowestRelay = 1024

type portRange struct{ first, last uint16 }

// fleet has the relay ports of the other machines by their address. It never changes.
type fleet map[netip.Addr][]portRange

// never has what no other machine can have, whatever it says: to believe it would lead into this machine, or to a service that
// gives secrets away to whoever asks from here.
var never = func() ranges {
	var all []entry
	for _, r := range recommendedRules {
		switch r.what {
		case "unspecified address", "loopback address", "link-local address", "metadata service", "multicast address", "reserved address",
			"broadcast address", "discard-only address", "local NAT64 address":
			all = append(all, entry{netip.MustParsePrefix(r.prefix), 0})
		default:
			all = append(all, entry{netip.MustParsePrefix(r.prefix), none})
		}
	}
	return newRanges(all)
}()

// believable reports whether another machine may have its relays at ip.
func believable(ip netip.Addr) bool {
	if !ip.IsValid() || ip.Zone() != "" || ip.Is4In6() || never.find(ip) != none {
		return false
	}
	var c [3]embedded
	return ip.Is4() || len(embeddedIn(ip, &c)) == 0
}

// SetFleet replaces what is known of the relays of other machines. Addresses that no other machine can have are passed over:
// loopback, link-local, unspecified, multicast and reserved ones, those of metadata services, and IPv6 addresses that carry
// another; and so are ports below 1024.
func (p *Policy) SetFleet(all []Place) {
	next := make(fleet)
	for _, m := range all {
		r := portRange{max(m.PortMin, lowestRelay), m.PortMax}
		if r.first > r.last {
			continue
		}
		for _, ip := range m.Addrs {
			if believable(ip) {
				next[ip] = append(next[ip], r)
			}
		}
	}
	p.fleet.Store(&next)
}

// HasRelays reports whether another machine of the fleet has relays at ip, and no entry of Config.Deny but [Recommended] has it,
// or Config.Allow does.
func (p *Policy) HasRelays(ip netip.Addr) bool {
	f := p.fleet.Load()
	return f != nil && len((*f)[ip]) > 0 && p.lists.Load().leaves(ip)
}

// IsRelay reports whether a is a transport address at which another machine of the fleet may have a relay: one of its relayed
// addresses, with a port of its range. What Config says counts as for HasRelays.
func (p *Policy) IsRelay(a netip.AddrPort) bool {
	f := p.fleet.Load()
	if f == nil {
		return false
	}
	for _, r := range (*f)[a.Addr()] {
		if r.first <= a.Port() && a.Port() <= r.last {
			return p.lists.Load().leaves(a.Addr())
		}
	}
	return false
}

// leaves reports whether the operator has not denied ip in so many words.
func (l *lists) leaves(ip netip.Addr) bool {
	return l.deny.find(ip) == none || l.allow.find(ip) != none
}
