package control

import (
	"errors"
	"fmt"
	"sync"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// Mobility (RFC 8016): a client that asked for it with its Allocate has a ticket, with which a Refresh from any other
// 5-tuple is about the same allocation. The answer has the next ticket. Until the client has sent something more from
// there, the 5-tuple that it had goes on, and either ticket is good: the answer may have been lost.

// moves are the tickets of a session.
type moves struct {
	mu           sync.Mutex
	held, issued uint32 // serials of the oldest ticket that is good, and of the newest
	// last is the transaction of the Refresh that was answered with the newest.
	last [12]byte
}

// about is the session that the request is about: that of its 5-tuple, or that of its ticket.
func (r *request) about() *session {
	if r.session != nil {
		return r.session
	}
	return r.ticketed()
}

// ticketed is the session that the ticket of a Refresh names, or nil. It says nothing about whether the ticket is good.
func (r *request) ticketed() *session {
	if r.msg.Type != stunmsg.RefreshRequest {
		return nil
	}
	v, ok := r.msg.Get(stunmsg.AttrMobilityTicket)
	if !ok {
		return nil
	}
	id, _, ok := r.c.tickets.open(v)
	if !ok {
		return nil
	}
	return r.c.session(id)
}

func (c *Control) session(id uint64) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.live[id]
}

// move is RFC 8016 §3.2.2: a Refresh with a ticket.
func (r *request) move(ticket []byte) {
	if !r.c.set.Load().Mobility {
		r.refuse(405, "mobility_off")
		return
	}
	id, serial, ok := r.c.tickets.open(ticket)
	if !ok {
		r.refuse(400, "ticket")
		return
	}
	s := r.c.session(id)
	switch {
	case s == nil:
		r.refuse(437, "ticket_over")
		return
	case s.username != r.username:
		r.note(441, "ticket_stolen", "allocation not moved: its ticket came with another credential, from "+r.src.Client.String())
		return
	}
	s.moves.mu.Lock()
	defer s.moves.mu.Unlock()
	mine := r.session == s
	again := mine && s.moves.last == [12]byte(r.msg.TransactionID()) && s.moves.issued > 0
	switch {
	case again:
	case r.session != nil && !mine:
		r.refuse(437, "in_use")
		return
	case mine && !r.awaited:
		r.refuse(400, "not_moved")
		return
	case serial < s.moves.held || serial > s.moves.issued:
		r.refuse(400, "ticket_used")
		return
	default:
		r.serial = serial
	}
	r.session, r.moving, r.again = s, true, again
	r.refresh()
}

// await has the data plane await the client at the request's 5-tuple. If it reports false, the request has been refused.
// The caller holds moves.mu.
func (r *request) await() bool {
	if r.again {
		return true
	}
	s := r.session
	if err := s.living().Await(r.src); err != nil {
		if errors.Is(err, relay.ErrInUse) {
			r.refuse(437, "in_use")
		} else {
			r.refuse(437, "no_allocation")
		}
		return false
	}
	m := &s.moves
	m.held, m.issued, m.last = r.serial, r.serial+1, [12]byte(r.msg.TransactionID())
	if r.proof != nil { // else it is the session's already
		s.prove(r.proof)
	}
	return true
}

// living is the relay of a leg that lives, if any does.
func (s *session) living() (found *relay.Relay) {
	s.legs(func(l *leg) {
		if found == nil || !l.ended.Load() {
			found = l.relay
		}
	})
	return found
}

// arrive notes that the client which is awaited at this 5-tuple has authenticated there, with something else than its
// ticket.
func (r *request) arrive() {
	r.src.Arrive()
	r.session, r.awaited = nil, false
	if rel := r.src.Relay(); rel != nil {
		r.session, _ = rel.Tag().(*session)
	}
}

// ClientMoved is for the data plane to call when the client of a relay has arrived at another 5-tuple.
func (c *Control) ClientMoved(r *relay.Relay, from, to relay.Tuple) {
	s, ok := r.Tag().(*session)
	if !ok || s.ended.Load() {
		return
	}
	s.moves.mu.Lock()
	s.moves.held = s.moves.issued
	s.moves.mu.Unlock()
	c.stats.move(s, to.Transport)
	c.cfg.Nodes.SeenAt(s.node, to.Client.Addr())
	c.cfg.Nodes.Moved(s.node, fmt.Sprintf("allocation %s moved from %s %s to %s %s",
		s.addresses(), from.Transport, from.Client, to.Transport, to.Client))
}

// ClientAway is for the data plane to call when the connection of a mobile relay's client has ended, and says why it has.
func (c *Control) ClientAway(r *relay.Relay, cause string) {
	if s, ok := r.Tag().(*session); ok && !s.ended.Load() {
		c.cfg.Nodes.Moved(s.node, "allocation "+s.addresses()+" waits for its client to come back with its ticket: "+cause)
	}
}
