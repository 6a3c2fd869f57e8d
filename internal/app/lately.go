package app

import (
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
)

// lately is one reading of the TURN server's counters for all that look at them every few seconds: it takes milliseconds
// among thousands of allocations, and disturbs those that relay.
type lately struct {
	mu   sync.Mutex
	at   time.Time
	last control.Stats
}

// sameLook is how old a reading may be. Those that share it look at the same moments.
const sameLook = 500 * time.Millisecond

// stats are the counters as they were at most sameLook ago. The caller does not change them.
func (l *lately) stats(s *turnsrv.Server) control.Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	if time.Since(l.at) > sameLook {
		l.last, l.at = s.Stats(), time.Now()
	}
	return l.last
}
