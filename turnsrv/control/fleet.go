package control

import (
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// Fleet is what control asks about relays of other machines. Its methods are called for single datagrams: they must be quick and
// never block.
type Fleet interface {
	// HasRelays reports whether another machine has relays at ip that may be peers.
	HasRelays(ip netip.Addr) bool
	// IsRelay reports whether another machine may have a relay at exactly a, and that may be a peer.
	IsRelay(a netip.AddrPort) bool
	// Partner reports whether the relay at a is the Node's own, or that of one to whom it may talk as a Broker has been told
	// since then.
	Partner(node string, a netip.AddrPort, since time.Time) bool
	// Held is since when the Node that has the relay at a has had it, as far as this machine has heard; ok is false if none is known.
	Held(a netip.AddrPort) (since time.Time, ok bool)
	// Opened and Ended tell which Node has a relay of this machine. One Ended follows each Opened, before the port is free.
	Opened(node string, a netip.AddrPort)
	Ended(a netip.AddrPort)
}

// noFleet is that of a machine which is alone.
type noFleet struct{ NoTies }

// NoTies is the part of a [Fleet] that is about who has a relay, where no machine tells another one.
type NoTies struct{}

// HasRelays implements [Fleet].
func (noFleet) HasRelays(netip.Addr) bool { return false }

// IsRelay implements [Fleet].
func (noFleet) IsRelay(netip.AddrPort) bool { return false }

// Partner implements [Fleet].
func (NoTies) Partner(string, netip.AddrPort, time.Time) bool { return false }

// Held implements [Fleet].
func (NoTies) Held(netip.AddrPort) (since time.Time, ok bool) { return since, false }

// Opened implements [Fleet].
func (NoTies) Opened(string, netip.AddrPort) {}

// Ended implements [Fleet].
func (NoTies) Ended(netip.AddrPort) {}

// Sibling is the peer policy for each datagram between a relay and that of another machine, where nothing but
// [relay.ScopeFleet] lets it through: a permission is for a whole address, and on that machine only its relays are meant. A test
// by a link reaches none.
func (c *Control) Sibling(r *relay.Relay, peer netip.AddrPort) bool {
	s, ok := r.Tag().(*session)
	if !ok || nodeid.Trial(s.node) || !c.cfg.Fleet.IsRelay(peer) {
		return false
	}
	return c.set.Load().PeerMode != PeersAuthorized || s.mayReachElsewhere(peer)
}

// mayReachElsewhere is mayReach for a relay of another machine at p.
func (s *session) mayReachElsewhere(p netip.AddrPort) bool {
	if !s.c.cfg.Fleet.IsRelay(p) {
		return false
	}
	opened, known := s.c.cfg.Fleet.Held(p)
	return known && s.reaches(p, opened, func(since time.Time) bool { return s.c.cfg.Fleet.Partner(s.node, p, since) })
}
