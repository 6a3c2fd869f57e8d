package control

import (
	"sync"
	"sync/atomic"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// stats counts what control did. Refusals are counted by code and cause, of which there is a fixed, small number.
type stats struct {
	bindings, allocated, ended, dropped, limited, aside, throttled, checks atomic.Uint64

	cut [2]atomic.Uint64 // allocations that Account ended: for the server's limit, and for their Node's

	mu       sync.RWMutex
	refusals map[Refusal]*atomic.Uint64
	past     map[relay.Transport]*Traffic // of allocations that have ended
}

// Traffic is what allocations of one transport between client and server did.
type Traffic struct {
	Live   int
	Opened uint64      // since the start
	Total  relay.Stats // of live and ended allocations
}

func (t *Traffic) add(s relay.Stats) {
	t.Total.Up.Add(s.Up)
	t.Total.Down.Add(s.Down)
}

// traffic returns the entry of t, which it makes if there is none. The caller holds mu.
func (s *stats) traffic(t relay.Transport) *Traffic {
	if s.past == nil {
		s.past = make(map[relay.Transport]*Traffic)
	}
	if s.past[t] == nil {
		s.past[t] = new(Traffic)
	}
	return s.past[t]
}

func (s *stats) opened(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.traffic(one.over).Opened++
}

func (s *stats) closed(one *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(one)
}

// move has what a session does from now on count for another transport.
func (s *stats) move(one *session, to relay.Transport) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count(one)
	one.over = to
}

// count adds what the session has done to what its transport did. The lock is held.
func (s *stats) count(one *session) {
	done := one.uncounted()
	s.traffic(one.over).add(done)
	one.counted.Up.Add(done.Up)
	one.counted.Down.Add(done.Down)
}

// uncounted is what the session has done over its transport. The lock of stats is held.
func (s *session) uncounted() relay.Stats {
	t := s.traffic()
	t.Up.Sub(s.counted.Up)
	t.Down.Sub(s.counted.Down)
	return t
}

// Refusal is an error code and the cause under which it was counted.
type Refusal struct {
	Code  int
	Cause string
}

func (s *stats) refused(code int, cause string) {
	k := Refusal{code, cause}
	s.mu.RLock()
	n := s.refusals[k]
	s.mu.RUnlock()
	if n == nil {
		s.mu.Lock()
		if n = s.refusals[k]; n == nil {
			if s.refusals == nil {
				s.refusals = make(map[Refusal]*atomic.Uint64)
			}
			n = new(atomic.Uint64)
			s.refusals[k] = n
		}
		s.mu.Unlock()
	}
	n.Add(1)
}

// Stats is a snapshot of the counters since the start.
type Stats struct {
	Live      int
	Bindings  uint64 // Binding requests answered with success
	Allocated uint64 // allocations made
	Ended     uint64 // allocations ended
	Dropped   uint64 // messages that are not answered: malformed, no request, unknown method
	Limited   uint64 // requests not answered, or not even checked, by turn.limits.unauthenticated_per_second
	Aside     uint64 // requests not answered, of a source that wants too many answers elsewhere, see [Discovery]
	Throttled uint64 // requests of Nodes that send more of them than any client needs
	Checks    uint64 // message integrities computed for requests

	Cut map[Exhaustion]uint64 // allocations that were ended by [Control.Account]

	TableBytes     int64 // memory that is kept for Nodes' allocations, by estimate
	TableBytesMost int64 // of the Node that has most; see Settings.TableBytes

	Refusals map[Refusal]uint64
	Traffic  map[relay.Transport]Traffic
}

// Stats returns a snapshot.
func (c *Control) Stats() Stats {
	out := Stats{
		Live: c.Live(), Bindings: c.stats.bindings.Load(), Allocated: c.stats.allocated.Load(),
		Ended: c.stats.ended.Load(), Dropped: c.stats.dropped.Load(), Limited: c.stats.limited.Load(),
		Aside: c.stats.aside.Load(), Throttled: c.stats.throttled.Load(), Checks: c.stats.checks.Load(), Refusals: make(map[Refusal]uint64),
	}
	out.Cut = map[Exhaustion]uint64{ServerExhausted: c.stats.cut[0].Load(), NodeExhausted: c.stats.cut[1].Load()}
	out.TableBytes, out.TableBytesMost = c.quota.tables()
	live := c.unordered()
	c.stats.mu.RLock()
	defer c.stats.mu.RUnlock()
	out.Traffic = make(map[relay.Transport]Traffic, len(c.stats.past))
	for t, past := range c.stats.past {
		out.Traffic[t] = *past
	}
	for _, s := range live {
		sum := out.Traffic[s.over]
		sum.Live++
		sum.add(s.uncounted())
		out.Traffic[s.over] = sum
	}
	for k, n := range c.stats.refusals {
		out.Refusals[k] = n.Load()
	}
	return out
}
