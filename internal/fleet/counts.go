package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/seal"
	"github.com/crolang-p2p/crolang-aio/internal/fleet/tally"
)

// What limits over the fleet are counted from. Each machine says at every beat what has changed, on the channel; it puts all of it
// into Redis more seldom, for those that missed something, or have just come.
const (
	liveKey = prefix + "live" // a hash: sealed counts of live allocations by boot id
	usedKey = prefix + "used" // a hash: sealed bytes of this month by ledger
	forLive = "live"
	forUsed = "used"

	liveEvery = 5  // beats
	usedEvery = 30 // beats; with those of no consequence, see usage.Keeper.Share
	maxCounts = 4 << 20
	mostSaid  = 100_000 // Nodes in one message; more are put into Redis alone
	maxLedger = 64
	// monthsBack is for how many months before this one what machines used is kept in Redis.
	monthsBack = 1
)

// Used is what a machine has counted in a month.
type Used struct {
	Ledger string            // names the count, also when the machine was restarted; empty: nothing to tell
	Month  int32             // a number that is higher in the next month
	Bytes  uint64            // of all Nodes
	Nodes  map[string]uint64 // bytes by Node
}

// Counted is what limits over the fleet count. Its methods are called by one goroutine, every 2 s.
type Counted interface {
	// Live returns how many allocations Nodes have whose number has changed since the last call.
	Live() map[string]int
	// Used returns what was used: all of it, or what may matter to limits and has changed since the last call.
	Used(machines int, all bool) Used
}

// share is what a machine says of its counts: what has changed, or where it stands in Redis all of it.
type share struct {
	Seq    uint64 `json:"seq"` // of messages, or of the last one that is in here
	Live   []byte `json:"live,omitempty"`
	Ledger string `json:"ledger,omitempty"`
	Month  int32  `json:"month,omitempty"`
	Sum    uint64 `json:"sum,omitempty"` // bytes of all Nodes
	Used   []byte `json:"used,omitempty"`
}

// counts are those of the other machines.
type counts struct {
	live tally.Sums

	mu     sync.Mutex
	months map[int32]*tally.Sums // this month and the one before; by ledger
	month  int32
	of     map[string]*tallied // by boot id
}

// tallied is how far the counts of one other machine are known.
type tallied struct {
	follow[share]

	used uint64 // version of what it has used that was fetched
}

func newCounts() *counts {
	return &counts{live: tally.Sums{Most: maxCounts}, months: map[int32]*tally.Sums{}, of: map[string]*tallied{}}
}

// LiveElsewhere returns how many allocations a Node has at other machines, as they last said. It is quick.
func (f *Fleet) LiveElsewhere(node string) int { return int(f.elsewhere.live.Of(tally.MarkOf(node))) }

// UsedElsewhere returns how many bytes other machines have counted for a Node in a month, or with an empty id for all. Machines
// that are gone count too. It is quick.
func (f *Fleet) UsedElsewhere(month int32, node string) uint64 {
	c := f.elsewhere
	c.mu.Lock()
	sums := c.months[month]
	c.mu.Unlock()
	if sums == nil {
		return 0
	}
	return sums.Of(tally.MarkOf(node))
}

// in is where what was used in a month is added up; nil for a month that is too far from this one.
func (c *counts) in(month int32) *tally.Sums {
	c.mu.Lock()
	defer c.mu.Unlock()
	if month < c.month-monthsBack || month > c.month+1 {
		return nil
	}
	if c.months[month] == nil {
		c.months[month] = &tally.Sums{Most: maxCounts}
	}
	return c.months[month]
}

// now is the month, so that earlier ones can be forgotten.
func (c *counts) now(month int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.month = month
	for m := range c.months {
		if m < month-monthsBack || m > month+1 {
			delete(c.months, m)
		}
	}
}

// tellCounts says what has changed here, and puts all of it into Redis now and then.
func (f *Fleet) tellCounts(ctx context.Context, reached bool) {
	if f.cfg.Counted == nil {
		return
	}
	at, ring := &f.at.counts, f.ring.Load()
	if at.live == nil {
		at.live = tally.Counts{}
	}
	changed := tally.Counts{}
	for node, n := range f.cfg.Counted.Live() {
		m := tally.MarkOf(node)
		changed[m] = uint64(n)
		if at.live[m] = uint64(n); n == 0 {
			delete(at.live, m)
		}
	}
	hot := f.cfg.Counted.Used(f.here(), false)
	f.elsewhere.now(hot.Month)
	f.ledger.Store(&hot.Ledger)
	at.unput = at.unput || len(changed) > 0
	if len(changed) > 0 || len(hot.Nodes) > 0 || hot.Ledger != "" && hot.Bytes != at.sum {
		at.seq++
		at.sum = hot.Bytes
		s := share{Seq: at.seq, Live: changed.Encode(), Ledger: hot.Ledger, Month: hot.Month, Sum: hot.Bytes, Used: marked(hot.Nodes).Encode()}
		err := errTooMany
		if reached && len(changed)+len(hot.Nodes) <= mostSaid {
			text := news{From: f.boot, Share: &s}.seal(ring)
			err = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { p.Publish(ctx, newsChannel, text) })
		}
		at.behind = at.behind || err != nil
	}
	if !reached {
		at.behind = true
		return
	}
	other := at.in != f.at.generation
	at.beats++
	due := at.behind || other
	done := true
	if due || at.unput && at.beats%liveEvery == 1 {
		text := sealShare(ring, forLive+f.boot, share{Seq: at.seq, Live: at.live.Encode()})
		if done = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { p.HSet(ctx, liveKey, f.boot, text) }) == nil; done {
			at.unput = false
			f.liveAt.Store(at.seq)
		}
	}
	if hot.Ledger != "" && (due || at.beats%usedEvery == 1) {
		done = f.putUsed(ctx) && done
	}
	if other || at.beats%usedEvery == 2 { // others may have put in meanwhile what Redis had lost
		f.scanUsed(ctx, other)
	}
	if done {
		at.in, at.behind = f.at.generation, false
	}
}

// putUsed puts all that was used here this month into Redis, if it has changed.
func (f *Fleet) putUsed(ctx context.Context) bool {
	at := &f.at.counts
	u := f.cfg.Counted.Used(f.here(), true)
	if u.Ledger == "" || u.Bytes == at.put && at.in == f.at.generation && !at.behind {
		return true
	}
	s := share{Seq: at.seq, Ledger: u.Ledger, Month: u.Month, Sum: u.Bytes, Used: marked(u.Nodes).Encode()}
	text := sealShare(f.ring.Load(), forUsed+u.Ledger, s)
	if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { p.HSet(ctx, usedKey, u.Ledger, text) }) != nil {
		return false
	}
	at.put = u.Bytes
	f.usedAt.Add(1)
	return true
}

// errTooMany is why a message is not sent.
var errTooMany = errors.New("more than a message has room for")

// toldCounts is how far this machine has told its counts.
type toldCounts struct {
	live   tally.Counts // all
	seq    uint64       // of the last message
	sum    uint64       // bytes that were in it
	put    uint64       // bytes that stand in Redis …
	in     string       // … of this generation
	beats  uint64
	unput  bool // live is not in Redis as it is
	behind bool // others may have missed something: all is put into Redis
}

func sealShare(ring *seal.Ring, purpose string, s share) string {
	text, err := json.Marshal(s)
	if err != nil { // our own types: it cannot be
		return ""
	}
	return ring.Seal(purpose, text)
}

func marked(by map[string]uint64) tally.Counts {
	c := make(tally.Counts, len(by))
	for node, n := range by {
		c[tally.MarkOf(node)] = n
	}
	return c
}

// here is how many machines there are, this one too.
func (f *Fleet) here() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return 1 + f.others()
}

// others is how many machines there are without this one. f.mu is held.
func (f *Fleet) others() (n int) {
	for _, m := range f.machines {
		if f.up(m) {
			n++
		}
	}
	return n
}
