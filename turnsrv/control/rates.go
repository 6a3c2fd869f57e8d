package control

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// Limits on control messages from authenticated clients. They are generous: a client that gathers and checks candidates
// for twenty connections at once, or restarts them, stays far below, and an attacker costs a few percent of a core. A
// message counts as one unit for each 256 bytes begun; an Allocate counts as more, since it opens a socket.
//
// Messages beyond the limits are dropped without an answer, and clients send them again half a second later. A client
// on TCP, TLS or DTLS is first read from more slowly.
const (
	allocationRate  = 1000 // a second
	allocationBurst = 6000
	nodeRate        = 2000
	nodeBurst       = 10_000
	allocateUnits   = 8

	longestWait = time.Second // of a connection for one message
)

// tat is a bucket of the generic cell rate algorithm: the time in nanoseconds at which it is full again.
type tat int64

// take takes n units out of the bucket, or returns how long it takes until the bucket has as many.
func (t *tat) take(now int64, n, rate, burst int) (wait time.Duration) {
	each := int64(time.Second) / int64(rate)
	next := max(int64(*t), now) + int64(n)*each
	if over := next - now - int64(burst)*each; over > 0 {
		return time.Duration(over)
	}
	*t = tat(next)
	return 0
}

// nodeRates are the buckets of Nodes, whether they have allocations or not.
type nodeRates struct {
	now   func() time.Time
	cells *cells[nodeState]
}

type nodeState struct {
	bucket tat
	told   int64 // when the why-record was told last, in Unix nanoseconds
}

const nodeSets = 2048 // of 4 Nodes each: 260 kB

func newNodeRates(now func() time.Time) *nodeRates {
	return &nodeRates{now: now, cells: newCells[nodeState](nodeSets)}
}

func (r *nodeRates) with(node string, f func(now int64, s *nodeState)) {
	now := r.now().UnixNano()
	r.cells.with(maphash.String(r.cells.seed, node), now, func(s *nodeState) { f(now, s) })
}

func (r *nodeRates) take(node string, n int) (wait time.Duration) {
	r.with(node, func(now int64, s *nodeState) { wait = s.bucket.take(now, n, nodeRate, nodeBurst) })
	return wait
}

// tell reports whether to note the Node's excess in its why-record, which is once a minute.
func (r *nodeRates) tell(node string) (yes bool) {
	r.with(node, func(now int64, s *nodeState) {
		if yes = now-s.told >= int64(time.Minute); yes {
			s.told = now
		}
	})
	return yes
}

// sessionRate is the bucket of an allocation.
type sessionRate struct{ full atomic.Int64 }

func (r *sessionRate) take(now time.Time, n int) (wait time.Duration) {
	for {
		old := r.full.Load()
		t := tat(old)
		if wait = t.take(now.UnixNano(), n, allocationRate, allocationBurst); wait > 0 || r.full.CompareAndSwap(old, int64(t)) {
			return wait
		}
	}
}

// withinRate takes n units for a request, from its Node and, if s is not nil, from its allocation. If it reports false
// the request must be dropped. On a connection it waits for the allocation's units, which delays that client alone, but
// not for the Node's: nobody should keep the server busy by filling many connections with requests and leaving.
func (r *request) withinRate(s *session, node string, n int) bool {
	ok := s == nil
	for waited := time.Duration(0); !ok; {
		wait := s.rate.take(r.c.now(), n)
		if ok = wait == 0; ok {
			break
		}
		if waited += wait; r.src.Transport == relay.UDP || waited > longestWait {
			break
		}
		time.Sleep(wait)
	}
	if ok && r.c.rates.take(node, n) == 0 {
		return true
	}
	r.c.stats.throttled.Add(1)
	if r.c.rates.tell(node) {
		r.c.cfg.Nodes.Refused(node, "control messages dropped: more of them than any client needs")
	}
	return false
}

// units is how many units a message of that many bytes takes.
func units(bytes int) int { return 1 + max(0, bytes-1)/256 }
