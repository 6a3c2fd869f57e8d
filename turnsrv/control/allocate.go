package control

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
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
	o, both, code, cause := r.allocateOptions()
	if code != 0 {
		r.refuse(code, cause)
		return
	}
	if to := r.alternate(); to.IsValid() && !o.HasToken { // the port of a token is here
		r.c.stats.refused(300, "alternate")
		r.send(r.begin(r.msg.Type.Error()).ErrorCode(300).Addr(stunmsg.AttrAlternateServer, to))
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
	r.open(o, both, txid)
}

// alternate is the server that the client is to go to for a new allocation (RFC 8489 §10), if there is one.
func (r *request) alternate() netip.AddrPort {
	if r.src.Transport == relay.UDP || r.src.Transport == relay.TCP {
		for _, a := range r.c.set.Load().Alternate {
			if a.Addr().Is4() == r.src.Client.Addr().Is4() {
				return a
			}
		}
	}
	return netip.AddrPort{}
}

// allocateOptions reads what an Allocate asks for; both: a relayed address in each family. If it must be refused, code is
// not 0.
func (r *request) allocateOptions() (o relay.OpenOptions, both bool, code int, cause string) {
	transport, ok := r.msg.Get(stunmsg.AttrRequestedTransport)
	if !ok || len(transport) != 4 {
		return o, false, 400, "malformed"
	}
	if transport[0] != protocolUDP {
		return o, false, 442, "transport"
	}
	if v, ok := r.msg.Get(stunmsg.AttrLifetime); ok && len(v) != 4 {
		return o, false, 400, "malformed"
	}
	family, hasFamily := r.msg.Get(stunmsg.AttrRequestedAddressFamily)
	more, both := r.msg.Get(stunmsg.AttrAdditionalAddressFamily)
	if !both {
		more, both = r.msg.Get(stunmsg.AttrAdditionalAddressFamilyDraft)
	}
	even, hasEven := r.msg.Get(stunmsg.AttrEvenPort)
	token, hasToken := r.msg.Get(stunmsg.AttrReservationToken)
	if hasFamily && len(family) != 4 || hasEven && len(even) != 1 || hasToken && len(token) != 8 ||
		hasToken && (hasFamily || hasEven || both) {
		return o, false, 400, "malformed"
	}
	if ticket, ok := r.msg.Get(stunmsg.AttrMobilityTicket); ok {
		if len(ticket) != 0 {
			return o, false, 400, "malformed"
		}
		if !r.c.set.Load().Mobility {
			return o, false, 405, "mobility_off"
		}
		o.Mobile = true
	}
	o.EvenPort = hasEven
	o.Reserve = hasEven && even[0]&0x80 != 0
	// IPv6 is the only family that may be asked for in addition, and neither another way to choose one nor a second port
	// goes with it.
	if both && (len(more) != 4 || more[0] != stunmsg.FamilyIPv6 || hasFamily || o.Reserve) {
		return o, false, 400, "malformed"
	}
	if hasFamily {
		switch family[0] {
		case stunmsg.FamilyIPv4:
			o.Family = 4
		case stunmsg.FamilyIPv6:
			o.Family = 6
		default:
			return o, false, 440, "family"
		}
	}
	if hasToken {
		o.HasToken, o.Token = true, [8]byte(token)
	}
	return o, both, 0, ""
}

// open opens the relay, or both, for which quota has given a place, and has pion enter the allocation.
func (r *request) open(o relay.OpenOptions, both bool, txid [12]byte) {
	c, now := r.c, r.c.now()
	s := newSession(c, c.lastID.Add(1))
	s.node, s.username, s.txid, s.started = r.node, r.username, txid, now
	s.tables, s.mobile, s.over = o.Budget, o.Mobile, r.src.Transport
	s.prove(r.proof)
	s.until = r.latestEnd(now)
	s.granted = s.grant(now)
	if s.granted == 0 {
		c.quota.give(r.node)
		r.challenge(401, "expired")
		return
	}
	o.Tag = s
	rel, err := r.openRelays(s, o, both)
	if err != nil {
		c.quota.give(r.node)
		r.openFailed(err)
		return
	}
	s.bills.at = now
	expires := now.Add(time.Duration(s.granted) * time.Second)
	if other := rel.Other(); other != nil {
		s.second = new(leg)
		s.second.begin(s, other, expires)
	}
	s.first.begin(s, rel, expires)
	entered := true
	s.legs(func(l *leg) { entered = entered && r.enter(l) })
	c.added(s)
	if !entered {
		s.close("pion/turn refused it")
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
	c.stats.opened(s)
	c.cfg.Ledger.Opened(s.node)
	c.cfg.Nodes.SeenAt(s.node, r.src.Client.Addr())
	c.cfg.Nodes.Opened(s.node, fmt.Sprintf("allocation %s over %s from %s for %d s",
		s.addresses(), r.src.Transport, r.src.Client, s.granted))
	r.answerAllocate(s)
}

// enter has pion keep the lifetime of a new leg.
func (r *request) enter(l *leg) bool {
	e := l.s.engine
	e.add(l)
	code, err := e.do(l, stunmsg.AllocateRequest, func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrRequestedTransport, []byte{protocolUDP, 0, 0, 0}).Uint32(stunmsg.AttrLifetime, l.s.granted)
	})
	if err == nil && code == 0 {
		return true
	}
	e.forget(&l.addr)
	r.c.log.Error("pion/turn refused an allocation that should succeed", "code", code, "err", err)
	return false
}

// openRelays opens one relay, or with both one in each family. If of those only one can be had, that will do, and s notes
// why the other could not.
func (r *request) openRelays(s *session, o relay.OpenOptions, both bool) (*relay.Relay, error) {
	if !both {
		return r.openRelay(o)
	}
	rel, failed := r.c.plane.OpenPair(r.src, o)
	why := failed[0]
	if why == nil || rel == nil && errors.Is(why, relay.ErrFamily) {
		why = failed[1]
	}
	if rel == nil || why == nil {
		return rel, why
	}
	code, cause, detail := openError(why)
	r.c.stats.refused(code, cause)
	s.missing = stunmsg.AddressError{Family: stunmsg.FamilyIPv6, Code: code}
	name := "IPv6"
	if failed[0] != nil {
		s.missing.Family, name = stunmsg.FamilyIPv4, "IPv4"
	}
	if detail != "" {
		r.c.cfg.Nodes.Refused(r.node, "allocation without an "+name+" address: "+detail)
	}
	return rel, nil
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
	if set.StrictExpiry || nodeid.Trial(r.node) {
		if name, err := parseName(r.username); err == nil && name.Before(end) {
			end = name
		}
	}
	return end
}

func (r *request) openFailed(err error) {
	code, cause, detail := openError(err)
	if detail == "" {
		r.refuse(code, cause)
		return
	}
	r.note(code, cause, "allocation refused: "+detail)
}

const tooMuchKept = "all that is kept of this Node's allocations, permissions and channels takes too much memory"

// openError is the code and the cause for an error of Open, and what to tell an operator of it, if anything.
func openError(err error) (code int, cause, detail string) {
	switch {
	case errors.Is(err, relay.ErrFamily):
		return 440, "family", ""
	case errors.Is(err, relay.ErrInUse):
		return 437, "in_use", ""
	case errors.Is(err, relay.ErrToken):
		return 508, "reservation", "unknown or expired reservation token"
	case errors.Is(err, relay.ErrBudget):
		return 508, "tables", tooMuchKept
	case errors.Is(err, relay.ErrPrivileged):
		return 508, "no_port", "no port of turn.relay_ports is free that may be bound; those below 1024 need a capability"
	case errors.Is(err, relay.ErrNoPorts):
		return 508, "no_port", "no port of turn.relay_ports is free"
	}
	return 508, "capacity", err.Error()
}

// tablesFull refuses what would take more memory than a Node may have.
func (r *request) tablesFull(what string) { r.note(508, "tables", what+" refused: "+tooMuchKept) }

func (r *request) answerAllocate(s *session) {
	w := r.begin(r.msg.Type.Success())
	s.legs(func(l *leg) {
		if !l.ended.Load() {
			w.XORAddr(stunmsg.AttrXORRelayedAddress, l.relay.Addr())
		}
	})
	w.XORAddr(stunmsg.AttrXORMappedAddress, r.src.Client).Uint32(stunmsg.AttrLifetime, s.granted)
	if token, ok := s.first.relay.Token(); ok {
		w.Attr(stunmsg.AttrReservationToken, token[:])
	}
	if s.missing.Code != 0 {
		w.AddressError(s.missing)
	}
	if s.mobile {
		w.String(stunmsg.AttrMobilityTicket, r.c.tickets.seal(s.id, 0))
	}
	r.send(r.software(w))
}

// refresh is RFC 8656 §8.2. It is for one leg if it names a family, else for all that live. A client that moves does so
// with all.
func (r *request) refresh() {
	s, now := r.session, r.c.now()
	lifetime, hasLifetime := r.msg.Get(stunmsg.AttrLifetime)
	family, hasFamily := r.msg.Get(stunmsg.AttrRequestedAddressFamily)
	if hasLifetime && len(lifetime) != 4 || hasFamily && len(family) != 4 {
		r.refuse(400, "malformed")
		return
	}
	var one *leg
	if hasFamily {
		if one = s.ofFamily(family[0]); one == nil {
			r.refuse(443, "family")
			return
		}
	}
	if hasLifetime && binary.BigEndian.Uint32(lifetime) == 0 {
		if one != nil {
			one.close(causeReleased)
		} else {
			s.close(causeReleased)
		}
		r.send(r.begin(r.msg.Type.Success()).Uint32(stunmsg.AttrLifetime, 0))
		return
	}
	granted := s.grant(now)
	if granted == 0 {
		s.close(causeSession)
		r.refuse(437, "session_over")
		return
	}
	if r.moving && !r.await() {
		return
	}
	done := 0
	s.legs(func(l *leg) {
		if (one == nil || l == one) && !l.ended.Load() && l.refresh(now, granted) {
			done++
		}
	})
	if done == 0 {
		r.refuse(437, "no_allocation")
		return
	}
	r.c.cfg.Nodes.SeenAt(s.node, r.src.Client.Addr()) // an address counts for as long as it is used
	w := r.begin(r.msg.Type.Success()).Uint32(stunmsg.AttrLifetime, granted)
	if r.moving {
		w.String(stunmsg.AttrMobilityTicket, r.c.tickets.seal(s.id, s.moves.issued))
	}
	r.send(w)
}
