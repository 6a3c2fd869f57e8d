package broker

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/replicas"
	"github.com/crolang-p2p/crolang-aio/internal/contain"
)

// counters since the start.
type counters struct {
	joined, joinUnauthorized, joinTaken, joinMalformed, joinFailed                              atomic.Uint64
	draining, overShare, full, displaced, badRequests, takenOver, slowed, unread, behind, asked atomic.Uint64
	received, relayed                                                                           atomic.Uint64 // bytes
	foreignPages                                                                                atomic.Uint64
	panics                                                                                      contain.Panics
	answers                                                                                     [len(relayedEvents)][len(answers)]atomic.Uint64
}

// traffic is what a Node has sent and got, guarded by its own lock.
type traffic struct {
	mu                                                    sync.Mutex
	attempts, acceptances, refusals, candidates, messages uint32
	sent, got                                             uint64 // bytes of payloads
}

func (c *conn) count(e *relayed, answer string, size int, to *conn) {
	for i, a := range answers {
		if a == answer {
			c.b.counts.answers[e.index][i].Add(1)
		}
	}
	if answer != answerOK {
		return
	}
	c.b.counts.relayed.Add(uint64(size))
	c.stats.mu.Lock()
	*e.count(&c.stats)++
	c.stats.sent += uint64(size)
	c.stats.mu.Unlock()
	if to != nil && to != c {
		to.stats.mu.Lock()
		to.stats.got += uint64(size)
		to.stats.mu.Unlock()
	}
}

// Node is one that is connected here.
type Node struct {
	ID, Version, Runtime string
	From                 netip.Addr
	Since                time.Time

	// What it has sent that was answered OK.
	Attempts, Acceptances, Refusals, Candidates, Messages uint32
	// Bytes of payloads, sent through the Broker and got from Nodes of this one.
	SentBytes, GotBytes uint64
	// RoundTrip is the time from the last ping of Engine.IO to its answer, with what waited before it in either queue; 0: none was
	// answered yet. There is one every 25 s.
	RoundTrip time.Duration
}

// Nodes lists who is connected here, by id.
func (b *Broker) Nodes() []Node {
	b.mu.RLock()
	list := make([]Node, 0, len(b.nodes))
	for _, c := range b.nodes {
		if c.joinedAt.IsZero() || c.ended.Load() {
			continue
		}
		list = append(list, c.describe())
	}
	b.mu.RUnlock()
	slices.SortFunc(list, func(x, y Node) int { return cmp.Compare(x.ID, y.ID) })
	return list
}

// Node is what is known of one that is connected here.
func (b *Broker) Node(id string) (Node, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	c := b.nodes[id]
	if c == nil || c.joinedAt.IsZero() || c.ended.Load() {
		return Node{}, false
	}
	return c.describe(), true
}

// Held: b.mu.
func (c *conn) describe() Node {
	c.stats.mu.Lock()
	defer c.stats.mu.Unlock()
	t := &c.stats
	return Node{
		ID: c.join.Node, Version: c.join.Version, Runtime: c.join.Runtime, From: c.from, Since: c.joinedAt,
		Attempts: t.attempts, Acceptances: t.acceptances, Refusals: t.refusals, Candidates: t.candidates, Messages: t.messages,
		SentBytes: t.sent, GotBytes: t.got, RoundTrip: time.Duration(c.trip.Load()),
	}
}

// Disconnect ends the connection of a Node that is connected here, or is joining, and reports whether there was one. Nothing
// that the Node sends is handled any more when it returns.
func (b *Broker) Disconnect(node, cause string) bool {
	b.mu.RLock()
	c := b.nodes[node]
	b.mu.RUnlock()
	if c == nil || c.ended.Load() {
		return false
	}
	c.dismissed.Store(true)
	c.end(0, cause)
	return true
}

// Stats are counts since the start, and what there is now.
type Stats struct {
	Connections int // open now, joined or not
	Nodes       int // connected now
	Waiting     int64

	Joined, Unauthorized, Taken, Malformed, Failed uint64 // results of joining
	OverShare, Full                                uint64 // cut off, or told to try again: their source, or everybody, had all places
	Draining                                       uint64 // told to try again
	BadRequests                                    uint64
	ForeignPages                                   uint64 // requests of pages whose origin is not let in
	Panicked                                       uint64 // connections ended by a mistake in the program
	TakenOver                                      uint64 // ids that a newer connection took over
	SlowedDown                                     uint64 // messages that were waited with
	Unread                                         uint64 // Nodes let go since they did not read
	Behind                                         uint64 // events refused since their receiver had not read earlier ones
	Displaced                                      uint64 // connections that lost their place before they had joined
	Asked                                          uint64 // questions who is connected
	ReceivedBytes, RelayedBytes                    uint64
	RedisFailures                                  uint64

	// Answers to relayed events, by the event's name and the answer.
	Answers map[string]map[string]uint64
}

// Stats may be called at any time.
func (b *Broker) Stats() Stats {
	n := &b.counts
	s := Stats{
		Waiting: b.waiting.Load(),
		Joined:  n.joined.Load(), Unauthorized: n.joinUnauthorized.Load(), Taken: n.joinTaken.Load(),
		Malformed: n.joinMalformed.Load(), Failed: n.joinFailed.Load(), Draining: n.draining.Load(),
		ForeignPages: n.foreignPages.Load(), Panicked: n.panics.Count(),
		BadRequests: n.badRequests.Load(), TakenOver: n.takenOver.Load(), SlowedDown: n.slowed.Load(), Unread: n.unread.Load(), Behind: n.behind.Load(),
		Asked: n.asked.Load(), ReceivedBytes: n.received.Load(), RelayedBytes: n.relayed.Load(),
		Answers: map[string]map[string]uint64{},
	}
	for i, e := range relayedEvents {
		s.Answers[e.name] = map[string]uint64{}
		for j, a := range answers {
			s.Answers[e.name][a] = n.answers[i][j].Load()
		}
	}
	if b.shared != nil {
		s.RedisFailures = b.shared.Failures()
	}
	s.OverShare, s.Full, s.Displaced = n.overShare.Load(), n.full.Load(), n.displaced.Load()
	s.Connections, _, _ = b.places.Size()
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, c := range b.nodes {
		if !c.joinedAt.IsZero() {
			s.Nodes++
		}
	}
	return s
}

// check asks every StatusInterval who must go, and extends the locks of the others. A Decider that takes its time does not
// keep locks from being extended.
func (b *Broker) check(ctx context.Context) {
	ticker := time.NewTicker(b.cfg.StatusInterval)
	defer ticker.Stop()
	var asking sync.WaitGroup
	defer asking.Wait()
	var busy atomic.Bool
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		ids, locks := b.connected()
		if len(ids) == 0 {
			continue
		}
		if busy.CompareAndSwap(false, true) {
			asking.Go(func() {
				defer busy.Store(false)
				defer b.contain()
				b.cfg.Decider.Invalid(ctx, ids, func(node, cause string) { b.Disconnect(node, cause) })
			})
		}
		if b.shared == nil {
			continue
		}
		for _, lost := range b.shared.Extend(ctx, locks) {
			b.mu.RLock()
			c := b.sockets[lost.SID]
			b.mu.RUnlock()
			if c != nil {
				c.end(0, "another Broker has its id")
			}
		}
	}
}

// connected is who has joined here, and the locks of all who hold an id.
func (b *Broker) connected() (ids []string, locks []replicas.Lock) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for id, c := range b.nodes {
		if c.ended.Load() {
			continue
		}
		if !c.joinedAt.IsZero() {
			ids = append(ids, id)
		}
		if b.shared != nil {
			locks = append(locks, replicas.Lock{Node: id, SID: c.sid})
		}
	}
	return ids, locks
}
