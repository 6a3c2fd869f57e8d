package control

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

const protocolUDP = 17 // REQUESTED-TRANSPORT (RFC 8656 §18.6)

// allocate is RFC 8656 §7.2.
func (r *request) allocate() {
	txid := [12]byte(r.msg.TransactionID())
	if s := r.session; s != nil {
		// A retransmission is given the same answer again; anything else finds the 5-tuple in use.
		if s.txid == txid && s.username == r.username {
			r.answerAllocate(s)
			return
		}
		r.refuse(437, "in_use")
		return
	}
	o, code, cause := r.allocateOptions()
	if code != 0 {
		r.refuse(code, cause)
		return
	}
	if r.c.drain.Load() {
		r.note(508, "draining", "allocation refused: the server is shutting down")
		return
	}
	switch which, detail := r.c.cfg.Ledger.Exhausted(r.node); which {
	case ServerExhausted:
		r.note(508, "server_bytes", "allocation refused: "+detail)
		return
	case NodeExhausted:
		r.note(486, "node_bytes", "allocation refused: "+detail)
		return
	}
	of, full, used := r.c.quota.take(r.node)
	switch full {
	case "server":
		r.note(508, "server_full", fmt.Sprintf("allocation refused: the server's limit is reached, %d in use", used))
		return
	case "node":
		where := ""
		if r.c.cfg.Elsewhere != nil {
			where = " over all machines of the fleet"
		}
		r.note(486, "node_full", fmt.Sprintf("allocation refused: %d of %d in use%s, see turn.limits.allocations_per_node",
			used, r.c.set.Load().AllocationsPerNode, where))
		return
	}
	o.Budget, o.Share = of.tables, of.rate
	r.open(o, txid)
}

// allocateOptions reads what an Allocate asks for. If it must be refused, code is not 0.
func (r *request) allocateOptions() (o relay.OpenOptions, code int, cause string) {
	transport, ok := r.msg.Get(stunmsg.AttrRequestedTransport)
	if !ok || len(transport) != 4 {
		return o, 400, "malformed"
	}
	if transport[0] != protocolUDP {
		return o, 442, "transport"
	}
	if v, ok := r.msg.Get(stunmsg.AttrLifetime); ok && len(v) != 4 {
		return o, 400, "malformed"
	}
	family, hasFamily := r.msg.Get(stunmsg.AttrRequestedAddressFamily)
	even, hasEven := r.msg.Get(stunmsg.AttrEvenPort)
	token, hasToken := r.msg.Get(stunmsg.AttrReservationToken)
	if hasFamily && len(family) != 4 || hasEven && len(even) != 1 || hasToken && len(token) != 8 ||
		hasToken && (hasFamily || hasEven) {
		return o, 400, "malformed"
	}
	if hasFamily {
		switch family[0] {
		case stunmsg.FamilyIPv4:
			o.Family = 4
		case stunmsg.FamilyIPv6:
			o.Family = 6
		default:
			return o, 440, "family"
		}
	}
	o.EvenPort = hasEven
	o.Reserve = hasEven && even[0]&0x80 != 0
	if hasToken {
		o.HasToken, o.Token = true, [8]byte(token)
	}
	return o, 0, ""
}

// open opens the relay, for which quota has given a place, and has pion enter the allocation.
func (r *request) open(o relay.OpenOptions, txid [12]byte) {
	c, now := r.c, r.c.now()
	s := newSession(c, c.lastID.Add(1))
	s.node, s.username, s.key, s.txid, s.started = r.node, r.username, r.key, txid, now
	s.proof, s.tables = r.proof, o.Budget
	s.until = r.latestEnd(now)
	s.granted = s.grant(now)
	if s.granted == 0 {
		c.quota.give(r.node)
		r.challenge(401, "expired")
		return
	}
	s.expires.Store(now.Add(time.Duration(s.granted) * time.Second).Unix())
	o.Tag = s
	rel, err := r.openRelay(o)
	if err != nil {
		c.quota.give(r.node)
		r.openFailed(err)
		return
	}
	s.relay = rel
	s.bills.at = now
	s.engine.add(s)
	code, err := s.engine.do(s, stunmsg.AllocateRequest, func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrRequestedTransport, []byte{protocolUDP, 0, 0, 0}).Uint32(stunmsg.AttrLifetime, s.granted)
	})
	c.added(s)
	if err != nil || code != 0 {
		s.engine.forget(&s.addr)
		s.end("pion/turn refused it")
		c.log.Error("pion/turn refused an allocation that should succeed", "code", code, "err", err)
		r.refuse(500, "engine")
		return
	}
	// Now that CloseNode can find the session, ask again: either this sees the ban, or CloseNode sees the session.
	if c.cfg.Nodes.Banned(s.node) {
		s.close(causeBanned)
		r.key = nil
		r.challenge(401, "banned")
		return
	}
	c.stats.allocated.Add(1)
	c.stats.opened(rel)
	c.cfg.Ledger.Opened(s.node)
	c.cfg.Nodes.SeenAt(s.node, r.src.Client.Addr())
	c.cfg.Nodes.Opened(s.node, fmt.Sprintf("allocation %s over %s from %s for %d s",
		rel.Addr(), r.src.Transport, r.src.Client, s.granted))
	r.answerAllocate(s)
}

// openRelay opens the relay in the requested family, or if none was requested in IPv4 if there is one, else in IPv6.
func (r *request) openRelay(o relay.OpenOptions) (*relay.Relay, error) {
	if o.Family != 0 || o.HasToken {
		return r.c.plane.Open(r.src, o)
	}
	o.Family = 4
	rel, err := r.c.plane.Open(r.src, o)
	if errors.Is(err, relay.ErrFamily) {
		o.Family = 6
		return r.c.plane.Open(r.src, o)
	}
	return rel, err
}

// latestEnd is the time beyond which an allocation made now cannot be refreshed.
func (r *request) latestEnd(now time.Time) time.Time {
	set := r.c.set.Load()
	end := now.Add(100 * 365 * 24 * time.Hour)
	if set.MaxSession > 0 {
		end = now.Add(set.MaxSession)
	}
	if set.StrictExpiry {
		if name, err := parseName(r.username); err == nil && name.Before(end) {
			end = name
		}
	}
	return end
}

func (r *request) openFailed(err error) {
	switch {
	case errors.Is(err, relay.ErrFamily):
		r.refuse(440, "family")
	case errors.Is(err, relay.ErrInUse):
		r.refuse(437, "in_use")
	case errors.Is(err, relay.ErrToken):
		r.note(508, "reservation", "allocation refused: unknown or expired reservation token")
	case errors.Is(err, relay.ErrBudget):
		r.tablesFull("allocation")
	case errors.Is(err, relay.ErrPrivileged):
		r.note(508, "no_port", "allocation refused: no port of turn.relay_ports is free that may be bound; those below 1024 need a capability")
	case errors.Is(err, relay.ErrNoPorts):
		r.note(508, "no_port", "allocation refused: no port of turn.relay_ports is free")
	default:
		r.note(508, "capacity", "allocation refused: "+err.Error())
	}
}

// tablesFull refuses what would take more memory than a Node may have.
func (r *request) tablesFull(what string) {
	r.note(508, "tables", what+" refused: all that is kept of this Node's allocations, permissions and channels takes too much memory")
}

func (r *request) answerAllocate(s *session) {
	w := r.begin(r.msg.Type.Success()).
		XORAddr(stunmsg.AttrXORRelayedAddress, s.relay.Addr()).
		XORAddr(stunmsg.AttrXORMappedAddress, r.src.Client).
		Uint32(stunmsg.AttrLifetime, s.granted)
	if token, ok := s.relay.Token(); ok {
		w.Attr(stunmsg.AttrReservationToken, token[:])
	}
	r.send(r.software(w))
}

// refresh is RFC 8656 §8.2.
func (r *request) refresh() {
	s, now := r.session, r.c.now()
	if v, ok := r.msg.Get(stunmsg.AttrLifetime); ok {
		if len(v) != 4 {
			r.refuse(400, "malformed")
			return
		}
		if binary.BigEndian.Uint32(v) == 0 {
			s.close(causeReleased)
			r.send(r.begin(r.msg.Type.Success()).Uint32(stunmsg.AttrLifetime, 0))
			return
		}
	}
	if v, ok := r.msg.Get(stunmsg.AttrRequestedAddressFamily); ok && !r.sameFamily(v) {
		r.refuse(443, "family")
		return
	}
	granted := s.grant(now)
	if granted == 0 {
		s.close(causeSession)
		r.refuse(437, "session_over")
		return
	}
	code, err := s.engine.do(s, stunmsg.RefreshRequest, func(w *stunmsg.Builder) {
		w.Uint32(stunmsg.AttrLifetime, granted)
	})
	if err != nil || code != 0 {
		// Its timer has just ended it.
		s.close(causeExpired)
		r.refuse(437, "no_allocation")
		return
	}
	s.expires.Store(now.Add(time.Duration(granted) * time.Second).Unix())
	r.c.cfg.Nodes.SeenAt(s.node, r.src.Client.Addr()) // an address counts for as long as it is used
	r.send(r.begin(r.msg.Type.Success()).Uint32(stunmsg.AttrLifetime, granted))
}
