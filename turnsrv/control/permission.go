package control

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

type peer struct {
	addr  netip.AddrPort
	scope relay.Scope
}

// createPermission is RFC 8656 §10.2. All peers are decided on before the first is installed.
func (r *request) createPermission() {
	s, before := r.session, r.c.changes.Load()
	var all []peer
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
		if scope, code, cause = r.decidePeer(p); code != 0 {
			return false
		}
		all = append(all, peer{p, scope})
		if len(all) > maxPermissions {
			code, cause = 508, "permissions"
		}
		return code == 0
	})
	if code == 0 && len(all) == 0 {
		code, cause = 400, "malformed"
	}
	if code == 0 && !r.roomFor(all) {
		code, cause = 508, "permissions"
	}
	if code != 0 {
		r.refuse(code, cause)
		return
	}
	if !r.grant(stunmsg.CreatePermissionRequest, func(w *stunmsg.Builder) {
		for _, p := range all {
			w.XORAddr(stunmsg.AttrXORPeerAddress, p.addr)
		}
	}) {
		return
	}
	for _, p := range all {
		s.relay.Permit(p.addr.Addr(), p.scope)
	}
	r.decidedSince(before)
	r.send(r.begin(r.msg.Type.Success()))
}

// channelBind is RFC 8656 §12.2.
func (r *request) channelBind() {
	s, before := r.session, r.c.changes.Load()
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
	bound, hasChannel := s.relay.ChannelPeer(number)
	other, hasOther := s.relay.PeerChannel(p)
	if hasChannel && bound != p || hasOther && other != number {
		r.refuse(400, "channel_conflict")
		return
	}
	if _, channels := s.relay.Counts(); !hasChannel && channels >= maxChannels || !r.roomFor([]peer{{p, scope}}) {
		r.refuse(508, "channels")
		return
	}
	if !r.grant(stunmsg.ChannelBindRequest, func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrChannelNumber, []byte{byte(number >> 8), byte(number), 0, 0}).
			XORAddr(stunmsg.AttrXORPeerAddress, p)
	}) {
		return
	}
	s.relay.Permit(p.Addr(), scope)
	s.relay.Bind(number, p, scope)
	r.decidedSince(before)
	r.send(r.begin(r.msg.Type.Success()))
}

// decidedSince decides again where the peer policy has changed since before: Recheck may have come too early to see what
// this request opened.
func (r *request) decidedSince(before uint64) {
	if r.c.changes.Load() != before {
		r.c.recheck(r.session)
	}
}

// roomFor says whether permissions for all of these peers stay within the limit.
func (r *request) roomFor(all []peer) bool {
	n, _ := r.session.relay.Counts()
	for _, p := range all {
		if !r.session.relay.Permitted(p.addr.Addr()) {
			n++
		}
	}
	return n <= maxPermissions
}

// grant has pion enter what was decided on. False where the request has been answered: the allocation ended meanwhile.
func (r *request) grant(t stunmsg.Type, add func(*stunmsg.Builder)) bool {
	code, err := r.session.engine.do(r.session, t, add)
	switch {
	case err != nil:
		r.refuse(437, "no_allocation")
		return false
	case code != 0:
		r.refuse(400, "engine")
		return false
	}
	return true
}

// decidePeer is the peer policy: code is 0 where the peer may be relayed to, within scope.
func (r *request) decidePeer(p netip.AddrPort) (scope relay.Scope, code int, cause string) {
	ip := p.Addr()
	if ip.Is4() != r.session.relay.Addr().Addr().Is4() {
		return 0, 443, "family"
	}
	if r.c.cfg.OwnListener(p) {
		return 0, r.forbidden(ip, "a listener of this server"), "own_listener"
	}
	other := r.c.plane.RelayAt(p)
	allowed, why := r.c.cfg.CheckPeer(ip)
	switch {
	case allowed:
		scope = relay.ScopeAny
	case other != nil:
		// Two allocations of this server reach each other wherever it stands, and nothing else there.
		scope = relay.ScopeRelays
	default:
		return 0, r.forbidden(ip, why), "peer_denied"
	}
	if !r.authorized(p, other) {
		return 0, r.forbidden(ip, "no Broker authorised this Node to talk to one that is there, see turn.peers.mode"), "peer_unauthorized"
	}
	return scope, 0, ""
}

// authorized is turn.peers.mode: whether a Broker authorised the Node to talk to whoever is at p, in the time that
// counts. other is the relay at p, if there is one. What is permitted already may always be refreshed.
func (r *request) authorized(p netip.AddrPort, other *relay.Relay) bool {
	set := r.c.set.Load()
	if set.PeerMode == PeersOpen {
		return true
	}
	since := r.c.now().Add(-set.AuthorizedFor)
	ok := false
	if other != nil {
		// All relays share an address: what counts is the pair, not the permission for the address.
		s, isSession := other.Tag().(*session)
		ok = isSession && (s.node == r.node || r.c.cfg.Nodes.AuthorizedSince(r.node, s.node, since) ||
			r.session.reached(p, r.c.now()))
		if ok {
			r.session.reach(p, r.c.now())
		}
	} else {
		ok = r.session.relay.Permitted(p.Addr()) || r.c.cfg.Nodes.SeenPartner(r.node, p.Addr(), since)
	}
	if !ok && set.PeerMode == PeersObserve {
		r.c.stats.refused(0, "peer_would_be_unauthorized")
		r.c.cfg.Nodes.Observed(r.node, "peer "+p.Addr().String()+" would be refused: no Broker authorised it, see turn.peers.mode")
		return true
	}
	return ok
}

// forbidden notes why a peer was refused and is 403.
func (r *request) forbidden(ip netip.Addr, why string) int {
	r.c.cfg.Nodes.Refused(r.node, "peer "+ip.String()+" refused: "+why)
	return 403
}

// AllowSend is the peer policy for each Send indication of a relay: a permission is for an address, and the policy may
// have changed since. A live relayed address of this server is a peer wherever it stands; where the Broker's
// authorisations decide, only the ones that were permitted by name.
func (c *Control) AllowSend(r *relay.Relay, peer netip.AddrPort) bool {
	if c.plane.RelayAt(peer) == nil {
		allowed, _ := c.cfg.CheckPeer(peer.Addr())
		return allowed
	}
	if c.set.Load().PeerMode != PeersAuthorized {
		return true
	}
	s, ok := r.Tag().(*session)
	return ok && s.reached(peer, c.now())
}

func (r *request) sameFamily(v []byte) bool {
	is4 := r.session.relay.Addr().Addr().Is4()
	return len(v) == 4 && (v[0] == stunmsg.FamilyIPv4 && is4 || v[0] == stunmsg.FamilyIPv6 && !is4)
}

// parseName is the end of a username that has been accepted.
func parseName(username string) (time.Time, error) {
	name, err := credential.Parse(username)
	return name.Expires, err
}
