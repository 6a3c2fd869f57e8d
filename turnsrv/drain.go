package turnsrv

import (
	"context"
	"math"
	"time"
)

// drainReport is how often a drain logs its progress.
const drainReport = 5 * time.Second

// Progress tells how far a drain has come.
type Progress struct {
	Allocations int           // still live
	Left        time.Duration // until Run ends them
}

// Drain refuses new allocations with 508 from now on and starts DrainTimeout; live allocations go on. The caller then
// ends the context of [Server.Run], which would do the same.
func (s *Server) Drain() {
	ends := time.Now().Add(time.Duration(s.drainTimeout.Load()))
	s.drainEnds.CompareAndSwap(nil, &ends)
	s.control.Drain()
}

// Draining returns the progress of a drain; ok is false before [Server.Drain].
func (s *Server) Draining() (p Progress, ok bool) {
	ends := s.drainEnds.Load()
	if ends == nil {
		return p, false
	}
	return Progress{Allocations: s.control.Live(), Left: max(0, time.Until(*ends))}, true
}

// awaitAllocations waits until no allocation is live, DrainTimeout has passed since Drain, or ctx ends.
func (s *Server) awaitAllocations(ctx context.Context) {
	p, _ := s.Draining()
	if p.Allocations == 0 {
		return
	}
	end := time.NewTimer(p.Left)
	defer end.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var said time.Time
	for {
		p, _ = s.Draining()
		if p.Allocations == 0 {
			s.log.Info("every allocation has ended")
			return
		}
		if time.Since(said) >= drainReport {
			said = time.Now()
			s.log.Info("waiting for live allocations to end", "allocations", p.Allocations, "seconds_left", math.Ceil(p.Left.Seconds()))
		}
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			s.log.Info("ending the allocations that are still live", "allocations", s.control.Live())
			return
		case <-tick.C:
		}
	}
}
