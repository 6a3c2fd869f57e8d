package control

import (
	"sync"
	"sync/atomic"
)

// stats counts what control did. Refusals are counted by code and cause, of which there is a fixed, small number.
type stats struct {
	bindings, allocated, ended, dropped, limited, checks atomic.Uint64

	mu       sync.RWMutex
	refusals map[Refusal]*atomic.Uint64
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
	Limited   uint64 // answers withheld by turn.limits.unauthenticated_per_second
	Checks    uint64 // message integrities computed for requests
	Refusals  map[Refusal]uint64
}

// Stats returns a snapshot.
func (c *Control) Stats() Stats {
	out := Stats{
		Live: c.Live(), Bindings: c.stats.bindings.Load(), Allocated: c.stats.allocated.Load(),
		Ended: c.stats.ended.Load(), Dropped: c.stats.dropped.Load(), Limited: c.stats.limited.Load(),
		Checks: c.stats.checks.Load(), Refusals: make(map[Refusal]uint64),
	}
	c.stats.mu.RLock()
	defer c.stats.mu.RUnlock()
	for k, n := range c.stats.refusals {
		out.Refusals[k] = n.Load()
	}
	return out
}
