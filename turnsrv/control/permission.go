package control

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// createPermission is RFC 8656 §10.2. It decides about all peers before it installs any, and installs all in one
// change.
func (r *request) createPermission() {
	s, before := r.session, r.c.changes.Load()
	var all []relay.Grant
	code, cause := 0, ""
	r.msg.Each(func(t uint16, v []byte) bool {
		if t != stunmsg.AttrXORPeerAddress {
			return true
		}
		p, err := stunmsg.XORAddr(v, r.msg.TransactionID())
		if err != nil {
			code, cause = 400, "malformed"
			return false
		}
		var scope relay.Scope
		if scope, code, cause = r.decidePermission(p); code != 0 {
			return false
		}
		if all = append(all, relay.Grant{Addr: p.Addr(), Scope: scope}); len(all) > relay.MaxPermissions {
			code, cause = 508, "permissions"
		}
		return code == 0
	})
	if code == 0 && len(all) == 0 {
		code, cause = 400, "malformed"
	}
	if code != 0 {
		r.refuse(code, cause)
		return
	}
	if err := s.first.relay.Permit(all...); err != nil {
		r.notEntered("permission", err)
		return
	}
	r.decidedSince(before)
	r.send(r.begin(r.msg.Type.Success()))
}

// channelBind is RFC 8656 §12.2.
func (r *request) channelBind() {
	s, before := r.session, r.c.changes.Load()
	if s.first.relay.TCP() {
		r.refuse(400, "tcp_relay") // it has no channels
		return
	}
	v, hasNumber := r.msg.Get(stunmsg.AttrChannelNumber)
	a, hasPeer := r.msg.Get(stunmsg.AttrXORPeerAddress)
	if !hasNumber || len(v) != 4 || !hasPeer {
		r.refuse(400, "malformed")
		return
	}
	number := binary.BigEndian.Uint16(v)
	p, err := stunmsg.XORAddr(a, r.msg.TransactionID())
	if err != nil || p.Port() == 0 || number < stunmsg.MinChannel || number > stunmsg.MaxChannel {
		r.refuse(400, "malformed")
		return
	}
	scope, code, cause := r.decidePeer(p)
	if code != 0 {
		r.refuse(code, cause)
		return
	}
	// Neither the number nor the peer may be bound to another one.
	if s.bound(number, p) {
		r.refuse(400, "channel_conflict")
		return
	}
	if err = s.first.relay.Permit(relay.Grant{Addr: p.Addr(), Scope: r.forAddress(p.Addr(), scope)}); err == nil {
		err = s.bind(number, p, scope, func() { r.send(r.begin(r.msg.Type.Success())) })
	}
	if err != nil {
		r.notEntered("channel", err)
		return
	}
	r.decidedSince(before)
}

// bound reports whether a channel number has another peer, or the peer another number.
func (s *session) bound(number uint16, peer netip.AddrPort) (conflict bool) {
	s.legs(func(l *leg) {
		p, hasPeer := l.relay.ChannelPeer(number)
		n, hasNumber := l.relay.PeerChannel(peer)
		conflict = conflict || hasPeer && p != peer || hasNumber && n != number
	})
	return conflict
}

// bind is [relay.Relay.Bind] of the relay that the peer's family needs.
func (s *session) bind(number uint16, peer netip.AddrPort, scope relay.Scope, answer func()) error {
	r := s.toward(peer.Addr())
	if r == nil {
		return relay.ErrClosed
	}
	return r.Bind(number, peer, scope, answer)
}

// notEntered answers a request whose permissions or channel the data plane has refused.
func (r *request) notEntered(what string, err error) {
	switch {
	case errors.Is(err, relay.ErrPermissions):
		r.refuse(508, "permissions")
	case errors.Is(err, relay.ErrChannels):
		r.refuse(508, "channels")
	case errors.Is(err, relay.ErrBudget):
		r.tablesFull(what)
	default: // the allocation has ended meanwhile
		r.refuse(437, "no_allocation")
	}
}

// decidedSince decides again if the peer policy has changed since before, as Recheck may have run too early to see what
// this request opened.
func (r *request) decidedSince(before uint64) {
	if r.c.changes.Load() != before {
		r.c.recheck(r.session)
	}
}

// decidePermission is the peer policy for a permission. A permission is for an address: the port that comes with it
// means nothing (RFC 8656 §9), and some clients always send 0. If it may be granted, within scope, code is 0. An
// address that the policy denies may be permitted if another live relay of this server has it. Data then passes between
// live relays only, which the data plane checks for each datagram.
func (r *request) decidePermission(p netip.AddrPort) (scope relay.Scope, code int, cause string) {
	// A client that names a relay or a listener of this server exactly means that one.
	if r.c.plane.RelayAt(p) != nil || r.c.cfg.OwnListener(p) {
		scope, code, cause = r.decidePeer(p)
		return r.forAddress(p.Addr(), scope), code, cause
	}
	ip := p.Addr()
	own := r.session.toward(ip)
	if own == nil {
		return 0, 443, "family"
	}
	relays, fleet := r.c.plane.HasRelay(ip, own), r.c.cfg.Fleet.HasRelays(ip)
	known := relays || fleet // what is behind it, each datagram shows
	allowed, why := r.c.cfg.CheckPeer(ip)
	switch {
	case nodeid.Trial(r.node) && !relays:
		return 0, r.forbidden(ip, notOfTest), "peer_denied"
	case nodeid.Trial(r.node): // AllowSend and decidePeer see to it that they are its own
		return relay.ScopeRelays, 0, ""
	case allowed && (r.authorizedAddr(ip) || !known && r.observed(ip) || known && r.observing()):
		return relay.ScopeAny, 0, ""
	case fleet:
		return relay.ScopeFleet, 0, ""
	case relays:
		return relay.ScopeRelays, 0, ""
	case allowed:
		return 0, r.forbidden(ip, notAuthorised), "peer_unauthorized"
	}
	return 0, r.forbidden(ip, why), "peer_denied"
}

// decidePeer is the peer policy for one transport address. If it may be relayed to, within scope, code is 0.
func (r *request) decidePeer(p netip.AddrPort) (scope relay.Scope, code int, cause string) {
	ip := p.Addr()
	if r.session.toward(ip) == nil {
		return 0, 443, "family"
	}
	if r.c.cfg.OwnListener(p) {
		return 0, r.forbidden(ip, "a listener of this server"), "own_listener"
	}
	other := r.c.plane.RelayAt(p)
	if nodeid.Trial(r.node) {
		if !r.session.owns(other) {
			return 0, r.forbidden(ip, notOfTest), "peer_denied"
		}
		return relay.ScopeRelays, 0, ""
	}
	sibling := other == nil && r.c.cfg.Fleet.IsRelay(p)
	allowed, why := r.c.cfg.CheckPeer(ip)
	switch {
	case sibling && (!allowed || r.c.set.Load().PeerMode == PeersAuthorized):
		// Who has that relay may change while the channel is there.
		scope = relay.ScopeFleet
	case allowed:
		scope = relay.ScopeAny
	case other != nil:
		// Allocations of this server reach each other whatever its address is, and nothing else at that address.
		scope = relay.ScopeRelays
	default:
		return 0, r.forbidden(ip, why), "peer_denied"
	}
	if !r.authorized(p, other) {
		return 0, r.forbidden(ip, notAuthorised), "peer_unauthorized"
	}
	return scope, 0, ""
}

const notOfTest = "a test by a link reaches nothing but its own relays"

const notAuthorised = "no Broker authorised this Node to talk to one that is there, see turn.peers.mode"

// authorized is turn.peers.mode for one transport address: it reports whether a Broker recently authorised the Node to
// talk to the one at p. other is the relay at p, if there is one; relays share an address, so it is the pair that
// counts.
func (r *request) authorized(p netip.AddrPort, other *relay.Relay) bool {
	switch {
	case r.c.set.Load().PeerMode == PeersOpen:
		return true
	case other != nil:
		return r.session.mayReach(p, other) || r.observed(p.Addr())
	case r.c.cfg.Fleet.IsRelay(p):
		return r.session.mayReachElsewhere(p) || r.observed(p.Addr())
	}
	return r.authorizedAddr(p.Addr()) || r.observed(p.Addr())
}

// authorizedAddr reports whether a Node that a Broker recently authorised was seen at an address. A permission that is
// there can always be refreshed.
func (r *request) authorizedAddr(ip netip.Addr) bool {
	set := r.c.set.Load()
	if set.PeerMode == PeersOpen {
		return true
	}
	own := r.session.toward(ip)
	return own != nil && own.Permitted(ip) == relay.ScopeAny ||
		r.c.cfg.Nodes.SeenPartner(r.node, ip, set.authorizedSince(r.c.now()))
}

// forAddress is the scope of the permission that goes with a peer which may be reached within scope. Permission to
// reach one relay is not permission to reach everything at its address.
func (r *request) forAddress(ip netip.Addr, scope relay.Scope) relay.Scope {
	if scope != relay.ScopeAny || r.observing() || r.authorizedAddr(ip) {
		return scope
	}
	switch {
	case r.c.cfg.Fleet.HasRelays(ip):
		return relay.ScopeFleet
	case r.c.plane.HasRelay(ip, r.session.toward(ip)):
		return relay.ScopeRelays
	}
	return scope
}

func (r *request) observing() bool { return r.c.set.Load().PeerMode == PeersObserve }

// observed notes what PeersAuthorized would refuse, and reports whether turn.peers.mode asks for no more than that.
func (r *request) observed(ip netip.Addr) bool {
	if !r.observing() {
		return false
	}
	r.c.stats.refused(0, "peer_would_be_unauthorized")
	r.c.cfg.Nodes.Observed(r.node, "peer "+ip.String()+" would be refused: no Broker authorised it, see turn.peers.mode")
	return true
}

func (s *Settings) authorizedSince(now time.Time) time.Time { return now.Add(-s.AuthorizedFor) }

// forbidden notes why a peer was refused. It always returns 403.
func (r *request) forbidden(ip netip.Addr, why string) int {
	r.c.cfg.Nodes.Refused(r.node, "peer "+ip.String()+" refused: "+why)
	return 403
}

// AllowSend is the peer policy for each Send indication of a relay, since a permission is for a whole address and the
// policy may have changed. A live relayed address of this server is always allowed, or with PeersAuthorized if a Broker
// authorised its Node. A test by a link sends to its own alone.
func (c *Control) AllowSend(r *relay.Relay, peer netip.AddrPort) bool {
	other := c.plane.RelayAt(peer)
	s, ok := r.Tag().(*session)
	if ok && nodeid.Trial(s.node) {
		return s.owns(other)
	}
	if other == nil {
		allowed, _ := c.cfg.CheckPeer(peer.Addr())
		if !allowed || c.set.Load().PeerMode == PeersAuthorized && c.cfg.Fleet.IsRelay(peer) {
			return c.Sibling(r, peer)
		}
		return true
	}
	if c.set.Load().PeerMode != PeersAuthorized {
		return true
	}
	return ok && s.mayReach(peer, other)
}

// parseName returns when a username's credential ends.
func parseName(username string) (time.Time, error) {
	name, err := credential.Parse(username)
	return name.Expires, err
}
