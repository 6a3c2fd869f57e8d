package control

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// Allocation is a snapshot of a live allocation.
type Allocation struct {
	ID        string
	Node      string
	Transport string
	Client    netip.AddrPort
	Relayed   netip.AddrPort
	Also      netip.AddrPort // the other relayed address, of the other family; zero: there is none
	Created   time.Time
	Expires   time.Time
	Stats     relay.Stats

	Permissions, Channels int // in force
}

// Allocations lists the live allocations, oldest first.
func (c *Control) Allocations() []Allocation {
	all := c.sessions()
	out := make([]Allocation, 0, len(all))
	for _, s := range all {
		out = append(out, s.snapshot())
	}
	return out
}

// Toward lists those of a Node's live allocations that let data through to and from one of these addresses: a permission
// for it is in force.
func (c *Control) Toward(node string, peers []netip.Addr) (out []Allocation) {
	c.mu.Lock()
	all := slices.Collect(maps.Values(c.byNode[node]))
	c.mu.Unlock()
	for _, s := range all {
		if slices.ContainsFunc(peers, func(ip netip.Addr) bool {
			r := s.toward(ip)
			return r != nil && r.Permitted(ip) != 0
		}) {
			out = append(out, s.snapshot())
		}
	}
	return out
}

func (s *session) snapshot() Allocation {
	t := s.first.relay.Tuple()
	a := Allocation{
		ID: s.ID(), Node: s.node, Transport: t.Transport.String(), Client: t.Client,
		Created: s.started, Expires: s.expires(), Stats: s.traffic(),
	}
	s.legs(func(l *leg) {
		switch {
		case l.ended.Load():
		case !a.Relayed.IsValid():
			a.Relayed = l.relay.Addr()
		default:
			a.Also = l.relay.Addr()
		}
		permissions, channels := l.relay.Counts()
		a.Permissions += permissions
		a.Channels += channels
	})
	if !a.Relayed.IsValid() { // it is just ending
		a.Relayed = s.first.relay.Addr()
	}
	return a
}
