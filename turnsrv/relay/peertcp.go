package relay

import (
	"errors"
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/peertcp"
)

// Relays of TCP (RFC 6062). Package peertcp has the connections with peers; here is what they have in common with relays
// of UDP, such as ports, permissions, counters and limits.

const (
	// moreOfTCP is how much longer the header of a TCP segment with its usual options is than that of UDP, in bytes.
	moreOfTCP = 20 + 12 - 8
	// fullSegment is as much as a segment has on a network of 1500 bytes, in both families.
	fullSegment = 1428
)

func segments(bytes int) int { return (bytes + fullSegment - 1) / fullSegment }

// TCP reports whether r relays TCP.
func (r *Relay) TCP() bool { return r.tcp != nil }

// Tell sends one whole STUN message to the relay's client, as [Source.Send] does.
func (r *Relay) Tell(msg []byte) { r.path.Load().Send(msg) }

// listen gives r its endpoint.
func (r *Relay) listen(port uint16) (ok bool, err error) {
	p := r.plane
	r.tcp, ok, err = peertcp.Listen(peertcp.Config{
		Addr: netip.AddrPortFrom(r.family.Bind, port), Hub: &p.peers, Owner: r, Files: p.cfg.Files, Budget: r.access.budget,
		Now: p.served, Accept: r.lets, Refused: func() { r.down.drop(QueueFull, 1) },
		Came: func(from netip.AddrPort, id uint32) {
			if p.cfg.OnAttempt != nil {
				p.cfg.OnAttempt(r, from, id)
			}
		},
		Pace: r.pace, Passed: r.passedTCP, Panicked: p.panicked,
	})
	switch {
	case errors.Is(err, peertcp.ErrForbidden):
		err = errForbidden
	case errors.Is(err, peertcp.ErrFiles):
		err = ErrFiles
	}
	return ok, err
}

// start lets what peers send come in.
func (r *Relay) start() error {
	if r.tcp != nil {
		return r.tcp.Serve()
	}
	return r.startIO()
}

// lets reports whether a peer may connect; local: it is a relay of this server.
func (r *Relay) lets(from netip.AddrPort, local bool) bool {
	need := ScopeAny
	if local {
		need = ScopeRelays
	}
	scope := r.access.permitted(from.Addr())
	switch {
	case scope == 0:
		r.down.drop(NoPermission, 1)
	case scope < need && !r.plane.sibling(r, scope, from):
		r.down.drop(PeerDenied, 1) // the permission is for relays alone
	default:
		return true
	}
	return false
}

// errNoTCP is of Connect, beside those of package peertcp.
var errNoTCP = errors.New("there is no relay of TCP at that address")

// Connect connects to a peer that may be reached within scope. If it returns no error, done is called once, from
// another goroutine, when the connection waits for [Plane.Claim] with its id or could not be made. done must not close r.
func (r *Relay) Connect(peer netip.AddrPort, scope Scope, done func(id uint32, err error)) error {
	if r.tcp == nil {
		return errNoTCP
	}
	var via *peertcp.Endpoint
	if b := r.plane.RelayAt(peer); b != nil {
		via = b.tcp
	}
	if via == nil && (r.plane.RelayAt(peer) != nil || scope != ScopeAny && !r.plane.sibling(r, scope, peer)) {
		return errNoTCP
	}
	return r.tcp.Connect(peer, via, r.Addr(), done)
}

// Peers is how many connections with peers there are, made or being made.
func (r *Relay) Peers() int {
	if r.tcp == nil {
		return 0
	}
	return r.tcp.Len()
}

// Reaches reports whether data may pass between the client and a peer at ip: by a permission, or by a connection.
func (r *Relay) Reaches(ip netip.Addr) bool {
	return r.Permitted(ip) != 0 || r.tcp != nil && r.tcp.Reaches(ip)
}

// restrictPeers is Restrict for connections.
func (r *Relay) restrictPeers(within func(netip.Addr) Scope) {
	if r.tcp == nil {
		return
	}
	r.tcp.Restrict(func(peer netip.AddrPort, local bool) bool {
		switch s := within(peer.Addr()); {
		case s == ScopeAny, local:
			return true
		default:
			return r.plane.sibling(r, s, peer)
		}
	})
}

// PeerOwner is the relay that has the connection with that id, which waits for its client; nil: none has.
func (p *Plane) PeerOwner(id uint32) *Relay {
	r, _ := p.peers.Owner(id).(*Relay)
	return r
}

// Claim takes the connection with that id, which waits for its client, if may, asked about its relay, does not object. The
// caller gives it to [Source.Join], or closes it. nil: there is none.
func (p *Plane) Claim(id uint32, may func(r *Relay) bool) *peertcp.Conn {
	return p.peers.Claim(id, func(owner any) bool {
		r, ok := owner.(*Relay)
		return ok && may(r)
	})
}

// passedTCP counts bytes that have been passed on.
func (r *Relay) passedTCP(up bool, n int) {
	m := &r.down
	if up {
		m = &r.up
	}
	m.passed(segments(n), n)
}

// The pauses before the limits are asked again.
const (
	shortestPause = time.Millisecond
	longestPause  = 50 * time.Millisecond
	fairPause     = 5 * time.Millisecond
)

// pace is admit for bytes of TCP, which wait where datagrams are dropped: it returns 0, or after how long to ask again.
func (r *Relay) pace(up bool, n int) time.Duration {
	now := r.plane.nanos()
	if now == 0 {
		return 0
	}
	m, i := &r.down, 1
	if up {
		m, i = &r.up, 0
	}
	full := &m.full
	if r.pair != nil {
		full = &r.pair.full[i]
	}
	l, n := r.plane.limits.Load(), n+segments(n)*(headers(r.family.Bind)+moreOfTCP)
	if over := l.each.over(full.Load(), now, n); over > 0 {
		return min(max(over, shortestPause), longestPause)
	}
	if l.all.bitsPerSecond != 0 {
		share, all := &r.share.full, &r.plane.fair.full
		r.share.wanted.Add(int64(n)) // anew each time: who waits wants more than it gets
		if share.Load()-now > shareBurst || all.Load()-now > shareBurst || !l.level.pay(share, now, n) || !l.all.pay(all, now, n) {
			return fairPause
		}
	}
	if !l.each.allow(full, now, n) { // another connection was quicker
		return shortestPause
	}
	return 0
}
