package control

import (
	"sync"
	"time"
)

// Ledger keeps what Nodes use, and says when that is enough. Its methods are called for every live allocation, one
// after the other, and for single packets: they must be quick and never block.
type Ledger interface {
	// Opened counts an allocation of the Node.
	Opened(node string)
	// Used adds what an allocation of the Node has used since the last call.
	Used(node string, u Used)
	// Exhausted says which limit keeps the Node from using more, "" if none does, and describes it in plain words.
	Exhausted(node string) (which Exhaustion, detail string)
}

// Used is what an allocation has used within some seconds.
type Used struct {
	Up, Down uint64        // bytes relayed from client to peers and back, see [relay.Relay.Wire]
	For      time.Duration // how long this was, if anything was relayed
}

// Exhaustion is a limit on what may be used, by the cause under which refusals are counted.
type Exhaustion string

// The limits of a Ledger.
const (
	ServerExhausted Exhaustion = "server_bytes"
	NodeExhausted   Exhaustion = "node_bytes"
)

type noLedger struct{}

func (noLedger) Opened(string)                             {}
func (noLedger) Used(string, Used)                         {}
func (noLedger) Exhausted(string) (e Exhaustion, d string) { return "", "" }

// bills is what the Ledger has been told of a session.
type bills struct {
	mu       sync.Mutex
	up, down uint64
	at       time.Time
}

// bill tells the Ledger what the session has used since the last call.
func (s *session) bill(now time.Time) {
	b := &s.bills
	b.mu.Lock()
	defer b.mu.Unlock()
	up, down := s.first.relay.Wire()
	if s.second != nil {
		u, d := s.second.relay.Wire()
		up, down = up+u, down+d
	}
	if u := (Used{Up: up - b.up, Down: down - b.down}); u.Up+u.Down > 0 {
		u.For = max(0, now.Sub(b.at))
		s.c.cfg.Ledger.Used(s.node, u)
	}
	b.up, b.down, b.at = up, down, now
}

// Account tells the Ledger what every live allocation has used since the last call, and ends those of Nodes that may
// use no more. It is to be called every few seconds, by one goroutine: nothing else notices that a limit is reached
// while allocations are live.
func (c *Control) Account() {
	now, all := c.now(), c.unordered()
	for _, s := range all {
		s.bill(now)
	}
	for _, s := range all {
		which, detail := c.cfg.Ledger.Exhausted(s.node)
		if which == "" || !s.close(detail) {
			continue
		}
		if which == NodeExhausted {
			c.stats.cut[1].Add(1)
		} else {
			c.stats.cut[0].Add(1)
		}
	}
}

// unordered lists the live sessions.
func (c *Control) unordered() []*session {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]*session, 0, len(c.live))
	for _, s := range c.live {
		all = append(all, s)
	}
	return all
}
