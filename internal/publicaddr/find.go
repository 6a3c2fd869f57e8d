package publicaddr

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// Settings are the table [public] of the configuration, and what else the addresses depend on.
type Settings struct {
	Host             string   // "auto", a name or an address
	IPv4             string   // "auto", "off" or an IPv4 address
	IPv6             string   // "auto", "off" or an IPv6 address
	STUN             []string // servers asked for the IPv4 address outside: "stun:HOST" or "stun:HOST:PORT"
	Listen           []string // addresses that the TURN server listens on for plain clients
	PortMin, PortMax uint16   // the relay ports
}

// Family is where the relays of one address family are. A zero Bind means that there are none.
type Family struct {
	Bind      netip.Addr // local address of the relays' sockets; may be unspecified
	Advertise netip.Addr // address that clients are told
}

// Public is how clients are told to reach this server. It is comparable and never changes: a new address makes a new Public.
type Public struct {
	Host string // set in the configuration; empty: each listener's own address
	// Fixed reports that the IPv4 address was set in the configuration, or is one outside this machine.
	Fixed      bool
	IPv4, IPv6 Family
}

// Known is what was found out about this machine's addresses earlier.
type Known struct {
	Mapped netip.Addr // the IPv4 address that STUN servers see; invalid: none was asked, or none ever answered
	Bind   netip.Addr // of the IPv4 relays so far, for the time without a route; invalid: none
}

// Find turns settings into addresses. "auto" asks the machine; no packet is sent.
func Find(set Settings, k Known) (Public, error) {
	p := Public{Host: set.Host}
	if set.Host == "auto" {
		p.Host = ""
	}
	if err := p.find4(set, k); err != nil {
		return p, err
	}
	if err := p.find6(set); err != nil {
		return p, err
	}
	if !p.IPv4.Bind.IsValid() && !p.IPv6.Bind.IsValid() {
		return p, errors.New("public.ipv4 and public.ipv6 are both off: there is no address for relays")
	}
	return p, nil
}

func (p *Public) find4(set Settings, k Known) error {
	route, ok := Route4()
	_, have6 := Route6()
	only6 := !ok && have6 && set.IPv6 != "off"
	switch {
	case only6 && set.IPv4 == "auto":
		return nil // also if there was a route before: Nodes reach the other family
	case !ok && k.Bind.Is4() && !k.Bind.IsUnspecified() && !k.Bind.IsLoopback():
		route = k.Bind // both routes are away, and will come back; loopback counts only where there was none
	case !ok:
		route = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	switch set.IPv4 {
	case "off":
	case "auto":
		p.IPv4 = Family{Bind: route, Advertise: route}
		if k.Mapped.IsValid() {
			p.IPv4.Advertise, p.Fixed = k.Mapped, k.Mapped != route
		}
	default:
		a, err := netip.ParseAddr(set.IPv4)
		if err != nil || !a.Is4() {
			return fmt.Errorf("public.ipv4: %q is no IPv4 address", set.IPv4)
		}
		p.Fixed = true
		p.IPv4 = Family{Bind: a, Advertise: a}
		switch {
		case !IsLocal(a):
			p.IPv4.Bind = route // behind NAT: the address that the router forwards to
		case a.IsLoopback() && listensEverywhere(set.Listen):
			// In a container whose ports are published on the host's loopback, datagrams arrive at another address.
			p.IPv4.Bind = netip.IPv4Unspecified()
		}
	}
	return nil
}

func (p *Public) find6(set Settings) error {
	route, have := Route6()
	switch set.IPv6 {
	case "off":
	case "auto":
		if have {
			p.IPv6 = Family{Bind: route, Advertise: route}
		}
	default:
		a, err := netip.ParseAddr(set.IPv6)
		if err != nil || !a.Is6() {
			return fmt.Errorf("public.ipv6: %q is no IPv6 address", set.IPv6)
		}
		p.IPv6 = Family{Bind: a, Advertise: a}
		if !IsLocal(a) {
			if !have {
				return fmt.Errorf("public.ipv6: %s is no address of this machine, and it has no IPv6 route: set it to \"off\"", a)
			}
			p.IPv6.Bind = route
		}
	}
	return nil
}

// listensEverywhere reports whether any of the addresses is a wildcard.
func listensEverywhere(addresses []string) bool {
	return slices.ContainsFunc(addresses, func(text string) bool {
		a, err := listen.Parse(text)
		return err == nil && a.Wildcard()
	})
}

// Advertised returns the relayed addresses that clients are told, one for each family.
func (p Public) Advertised() (all []netip.Addr) {
	for _, a := range []netip.Addr{p.IPv4.Advertise, p.IPv6.Advertise} {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}

// Name is the host by which clients reach a listener, as it stands in a URL but for the brackets of an IPv6 address. A
// wildcard listener is told by the address of its own family, if there is one.
func (p Public) Name(listen netip.Addr) string {
	if p.Host != "" {
		return p.Host
	}
	ip := listen.Unmap()
	if p.Fixed && ip.Is4() || ip.IsUnspecified() {
		own, other := p.IPv4.Advertise, p.IPv6.Advertise
		if ip.Is6() {
			own, other = other, own
		}
		if ip = own; !ip.IsValid() {
			ip = other
		}
	}
	return ip.String()
}

// Machine is the host by which clients reach this machine, whatever the listener.
func (p Public) Machine() string { return p.Name(netip.IPv4Unspecified()) }
