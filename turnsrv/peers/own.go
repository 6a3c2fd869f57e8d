package peers

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Interface is one address of this machine.
type Interface struct {
	// Prefix is the address with the length of its network, not masked.
	Prefix netip.Prefix
	// Loopback is true for a loopback interface, on which a whole IPv4 network is local.
	Loopback bool
}

// The rules of a snapshot.
const (
	ruleOwn = iota
	ruleBroadcast
	ruleAnycast
	ownRules
)

var ownTexts = [ownRules]string{
	ruleOwn:       "address of this machine, see turn.peers.allow",
	ruleBroadcast: "broadcast address of an interface, see turn.peers.allow",
	ruleAnycast:   "router address of an interface's network, see turn.peers.allow",
}

// snapshot is what was read of this machine's addresses.
type snapshot struct {
	ranges
	read []Interface
}

// refresh reads the addresses and reports whether they have changed.
func (p *Policy) refresh() (changed bool, err error) {
	all, err := p.cfg.Interfaces()
	if err != nil {
		return false, fmt.Errorf("cannot read this machine's network addresses: %w", err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old := p.own.Load()
	if old != nil && slices.Equal(old.read, all) {
		return false, nil
	}
	p.own.Store(p.snapshot(all))
	return old != nil, nil
}

// snapshot makes one of these interfaces and the public addresses. Held: mu.
func (p *Policy) snapshot(all []Interface) *snapshot {
	var entries, rest []entry
	for _, ip := range p.public {
		if ip.IsValid() {
			ip = ip.Unmap().WithZone("")
			entries = append(entries, entry{netip.PrefixFrom(ip, ip.BitLen()), ruleOwn})
		}
	}
	for _, i := range all {
		ip := i.Prefix.Addr().WithZone("")
		single := netip.PrefixFrom(ip, ip.BitLen())
		network := i.Prefix.Masked()
		switch entries = append(entries, entry{single, ruleOwn}); {
		case i.Loopback && ip.Is4():
			rest = append(rest, entry{network, ruleOwn})
		case network.Bits() > ip.BitLen()-2: // of two addresses or one, RFC 3021 and 6164
		case ip.Is4():
			last := lastOf(network)
			b := [4]byte{byte(last.lo >> 24), byte(last.lo >> 16), byte(last.lo >> 8), byte(last.lo)}
			rest = append(rest, entry{netip.PrefixFrom(network.Addr(), 32), ruleBroadcast}) // the old one
			rest = append(rest, entry{netip.PrefixFrom(netip.AddrFrom4(b), 32), ruleBroadcast})
		default: // RFC 4291 §2.6.1: where this machine forwards, the address is its own
			rest = append(rest, entry{netip.PrefixFrom(network.Addr(), 128), ruleAnycast})
		}
	}
	return &snapshot{newRanges(append(entries, rest...)), all}
}

// machineInterfaces lists all addresses at once: asking each interface would read them all each time.
func machineInterfaces() ([]Interface, error) {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var local []net.Addr
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if l.Flags&net.FlagLoopback != 0 {
			a, err := l.Addrs()
			if err != nil {
				return nil, err
			}
			local = append(local, a...)
		}
	}
	var out []Interface
	for _, a := range addrs {
		if prefix, ok := prefixOf(a); ok {
			loopback := slices.ContainsFunc(local, func(l net.Addr) bool { return l.String() == a.String() })
			out = append(out, Interface{prefix, loopback})
		}
	}
	return out, nil
}

func prefixOf(a net.Addr) (netip.Prefix, bool) {
	n, ok := a.(*net.IPNet)
	if !ok {
		return netip.Prefix{}, false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if ip = ip.Unmap(); !ok || bits != ip.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(ip, ones), true
}
