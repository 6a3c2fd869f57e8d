package policy

import (
	"cmp"
	"context"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crolang-p2p/crolang-aio/internal/household"
)

const (
	turnsWaiting = 128 // at once; each holds a request, of which hooks.Server handles 256
	turnsPerNode = 4
	turnsWait    = 5 * time.Second
	turnsSeen    = 16384 // sources, and Nodes, of which it is known when they had their last turn
)

// turns lets one at a time do what costs much. Whoever has never had a turn goes first, then whoever had the last one
// longest ago: first by source, as far as sources are known, then by Node. So somebody who keeps trying tokens delays
// the others by one turn at most, however many of his wait.
type turns struct {
	mu      sync.Mutex
	busy    bool
	waiting []*ticket // in the order in which they came
	count   uint64    // turns so far
	sources *lru.Cache[netip.Prefix, uint64]
	nodes   *lru.Cache[string, uint64]
	refused atomic.Uint64
}

// ticket is somebody who waits.
type ticket struct {
	source netip.Prefix
	node   string
	idle   bool      // it has nothing to do when its turn comes, so the next one has it too
	turn   chan bool // false: it had to give way
}

func newTurns() *turns {
	return &turns{sources: newCache[netip.Prefix, uint64](turnsSeen), nodes: newCache[string, uint64](turnsSeen)}
}

// enter waits for a turn of node's, which connects from source. Unless idle is set, the caller then must call leave.
// False: there are too many, it took too long, or ctx ended.
func (t *turns) enter(ctx context.Context, source netip.Addr, node string, idle bool) bool {
	mine := &ticket{source: household.Of(source), node: node, idle: idle, turn: make(chan bool, 1)}
	if !t.queue(mine) {
		t.refused.Add(1)
		return false
	}
	timer := time.NewTimer(turnsWait)
	defer timer.Stop()
	select {
	case ok := <-mine.turn:
		return ok
	case <-timer.C:
	case <-ctx.Done():
	}
	if t.withdraw(mine) {
		if ctx.Err() == nil {
			t.refused.Add(1)
		}
		return false
	}
	return <-mine.turn // it came just now
}

// leave ends a turn.
func (t *turns) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy = false
	t.next()
}

// queue lets a ticket wait, or have its turn at once. False: there is no place for it.
func (t *turns) queue(mine *ticket) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	same, neighbours := 0, 0
	for _, other := range t.waiting {
		if other.source == mine.source {
			neighbours++
			if other.node == mine.node {
				same++
			}
		}
	}
	if same >= turnsPerNode || mine.source.IsValid() && neighbours >= turnsWaiting/2 {
		return false
	}
	t.waiting = append(t.waiting, mine)
	if len(t.waiting) > turnsWaiting && !t.displace(mine) {
		return false
	}
	t.next()
	return true
}

// displace takes away the place of whoever would have the last turn, before all of one that has nothing to do in it.
// False: that is mine.
func (t *turns) displace(mine *ticket) bool {
	last := t.waiting[0]
	for _, other := range t.waiting[1:] {
		if other.idle == last.idle && t.order(other, last) >= 0 || other.idle && !last.idle {
			last = other
		}
	}
	t.remove(last)
	if last == mine {
		return false
	}
	t.refused.Add(1)
	last.turn <- false
	return true
}

// order is negative if a's turn is before b's whenever they came.
func (t *turns) order(a, b *ticket) int {
	sourceA, _ := t.sources.Peek(a.source)
	sourceB, _ := t.sources.Peek(b.source)
	nodeA, _ := t.nodes.Peek(a.node)
	nodeB, _ := t.nodes.Peek(b.node)
	return cmp.Or(cmp.Compare(sourceA, sourceB), cmp.Compare(nodeA, nodeB))
}

// next gives turns until somebody has something to do. Called with mu held.
func (t *turns) next() {
	for !t.busy && len(t.waiting) > 0 {
		first := slices.MinFunc(t.waiting, t.order) // of those that are equal the one that came first
		t.remove(first)
		t.count++
		if first.source.IsValid() {
			t.sources.Add(first.source, t.count)
		}
		t.nodes.Add(first.node, t.count)
		t.busy = !first.idle
		first.turn <- true
	}
}

func (t *turns) remove(one *ticket) {
	i := slices.Index(t.waiting, one)
	t.waiting = slices.Delete(t.waiting, i, i+1)
}

// withdraw takes a ticket back. False: its turn has come, or it had to give way.
func (t *turns) withdraw(mine *ticket) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !slices.Contains(t.waiting, mine) {
		return false
	}
	t.remove(mine)
	return true
}

func (t *turns) length() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.waiting)
}
