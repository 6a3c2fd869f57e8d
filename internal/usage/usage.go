// Package usage keeps what Nodes use, by Node and month: bytes and time relayed, allocations, messages. It counts in memory
// and writes once a minute to a file in data_dir, so that a crash loses a minute at most. A file that cannot be used is a
// finding, and counting and limits go on without it.
//
// The months are those of UTC. A month that the clock goes back to is continued.
package usage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// DefaultMaxNodes is for the zero field of a Config.
const DefaultMaxNodes = 200_000

// Settings are what Prepare may change.
type Settings struct {
	Bytes        uint64        // limit of all Nodes together in a month; 0: none
	BytesPerNode uint64        // limit of each; 0: none
	Keep         time.Duration // how long after its end a month is kept
}

// Config configures a Keeper. DataDir is needed.
type Config struct {
	DataDir  string // where usage.db is kept
	Settings Settings
	MaxNodes int // Nodes with a record of their own in one month; 0: DefaultMaxNodes. What others use counts in the sum
	// Elsewhere returns how many bytes other machines have counted in a month for a Node, or with an empty id for all.
	// They count for limits. It must be quick; nil: there are no other machines.
	Elsewhere func(m Month, node string) uint64
	// Found is called with what is wrong, or near its limit. May be nil.
	Found func(now []findings.Finding)
	// Note adds to a Node's why-record that its limit is near. May be nil.
	Note   func(node, detail string)
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged

	alone bool // Elsewhere was nil
}

// How often what Run does is done.
const (
	tickEvery  = time.Second
	writeEvery = time.Minute
	pruneEvery = time.Hour
)

// Keeper keeps what Nodes use. Its methods may be called from any goroutine. Those that count, and Exhausted, never wait
// for a disk.
type Keeper struct {
	cfg     Config
	set     atomic.Pointer[Settings]
	now     func() time.Time
	steady  func() time.Duration // a clock that nobody sets
	current atomic.Pointer[book]
	crossed atomic.Bool // a limit, or nearly

	io      sync.Mutex
	store   store
	books   map[Month]*book
	unkept  error             // why the file does not have what it should
	damaged *findings.Finding // about the file
	traces  bool              // the file is to be compacted
	closed  bool
	pruned  time.Duration // steady time
	clock   reading
}

// reading is when the clock was last seen to go as it should.
type reading struct {
	wall          time.Time
	steady, since time.Duration
}

// New opens the file, or goes on without.
func New(cfg Config) (*Keeper, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("usage: no data directory given")
	}
	if cfg.MaxNodes <= 0 {
		cfg.MaxNodes = DefaultMaxNodes
	}
	if cfg.Elsewhere == nil {
		cfg.Elsewhere = func(Month, string) uint64 { return 0 }
		cfg.alone = true
	}
	if cfg.Found == nil {
		cfg.Found = func([]findings.Finding) {}
	}
	if cfg.Note == nil {
		cfg.Note = func(string, string) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	started := time.Now()
	k := &Keeper{
		cfg: cfg, now: cfg.Now, steady: func() time.Duration { return time.Since(started) },
		store: store{path: filepath.Join(cfg.DataDir, fileName)}, books: make(map[Month]*book),
	}
	k.set.Store(&cfg.Settings)
	k.clock = reading{wall: k.now()}
	k.roll(MonthOf(k.now()))
	k.find()
	return k, nil
}

// Run writes once a minute, until ctx ends, and then a last time. It returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	tick, write := time.NewTicker(tickEvery), time.NewTicker(writeEvery)
	defer tick.Stop()
	defer write.Stop()
	for {
		select {
		case <-ctx.Done():
			k.Close()
			return nil
		case <-tick.C:
			k.look()
		case <-write.C:
			k.write()
		}
	}
}

// Close writes what is not written yet and closes the file, for a Keeper that is not Run. What is counted after it is lost.
func (k *Keeper) Close() {
	k.write()
	k.io.Lock()
	defer k.io.Unlock()
	k.closed = true
	if err := k.store.close(); err != nil {
		k.cfg.Logger.Warn("the file of what Nodes use could not be closed", "error", err)
	}
}

// Prepare gets other settings ready.
func (k *Keeper) Prepare(next Settings) (change.Change, error) {
	return change.New(func() {
		if old := k.set.Swap(&next); old.BytesPerNode != next.BytesPerNode {
			k.current.Load().each(func(_ string, e *entry) { e.warned = false })
		}
		k.crossed.Store(true)
	}, nil), nil
}

// Limited reports whether there is any limit, so that what is used has to be looked at often.
func (k *Keeper) Limited() bool {
	s := k.set.Load()
	return s.Bytes > 0 || s.BytesPerNode > 0
}

// Opened counts an allocation of a Node.
func (k *Keeper) Opened(node string) { k.current.Load().add(node, Record{Allocations: 1}, 0) }

// Message counts a message that a Node has sent to another through a Broker.
func (k *Keeper) Message(node string) { k.current.Load().add(node, Record{Messages: 1}, 0) }

// Used counts bytes that a Node's allocation has relayed, up from client to peers and down, and how long that took.
func (k *Keeper) Used(node string, up, down uint64, took time.Duration) {
	set, b, near := k.set.Load(), k.current.Load(), uint64(0)
	if set.BytesPerNode > 0 {
		near = eighty(set.BytesPerNode)
		near -= min(near-1, k.cfg.Elsewhere(b.month, node))
	}
	if b.add(node, Record{Up: up, Down: down, Time: took}, near) {
		k.crossed.Store(true)
		k.cfg.Note(node, fmt.Sprintf("80 %% of the %s that a Node may relay this month are used (turn.limits.bytes_per_month_per_node)",
			size(set.BytesPerNode)))
	}
}

// eighty is 80 % of n, and at least 1.
func eighty(n uint64) uint64 { return max(1, n-n/5) }

// Limit is what keeps a Node from relaying more this month.
type Limit uint8

// The limits.
const (
	NoLimit Limit = iota
	ServerLimit
	NodeLimit
)

// Exhausted returns the limit that a Node has reached, and describes it in plain words.
func (k *Keeper) Exhausted(node string) (Limit, string) {
	set := k.set.Load()
	b := k.current.Load()
	if set.Bytes > 0 && b.total().Bytes()+k.cfg.Elsewhere(b.month, "") >= set.Bytes {
		return ServerLimit, fmt.Sprintf("%s relayed the %s of this month, see turn.limits.bytes_per_month", k.who("the server has", "the machines of the fleet have together"), size(set.Bytes))
	}
	if set.BytesPerNode > 0 {
		if r, _ := b.get(node); r.Bytes()+k.cfg.Elsewhere(b.month, node) >= set.BytesPerNode {
			return NodeLimit, fmt.Sprintf("the Node has relayed its %s of this month%s, see turn.limits.bytes_per_month_per_node", size(set.BytesPerNode), k.who("", " over all machines of the fleet"))
		}
	}
	return NoLimit, ""
}

// who chooses words.
func (k *Keeper) who(alone, together string) string {
	if k.cfg.alone {
		return alone
	}
	return together
}

// look goes over to the month that it is now, and finds what has come near a limit.
func (k *Keeper) look() {
	k.roll(MonthOf(k.now()))
	k.check()
	if k.crossed.Swap(false) {
		k.find()
	}
}

// roll makes m the month that is counted in.
func (k *Keeper) roll(m Month) {
	old := k.current.Load()
	if old != nil && old.month == m {
		return
	}
	k.io.Lock()
	defer k.io.Unlock()
	if old != nil {
		old.left = k.steady()
	}
	b := k.books[m]
	if b == nil {
		b = newBook(m, k.cfg.MaxNodes)
		k.books[m] = b
		k.load(b)
	}
	k.current.Store(b)
	k.crossed.Store(true)
}

// check notices that the clock was set.
func (k *Keeper) check() {
	k.io.Lock()
	defer k.io.Unlock()
	wall, steady := k.now().Round(0), k.steady()
	if jump := wall.Sub(k.clock.wall.Round(0)) - (steady - k.clock.steady); jump.Abs() > time.Minute {
		k.clock.since = steady
	}
	k.clock.wall, k.clock.steady = wall, steady
}

// Stats is this month in numbers.
type Stats struct {
	Month           Month
	Sum             Record
	Nodes           int // with a record of their own
	Near, Exhausted int // of them, at 80 % and at all of their limit
	Unkept          bool
}

// Stats visits every Node of this month if there is a limit for each: some milliseconds' work for 100 000.
func (k *Keeper) Stats() Stats {
	b, set := k.current.Load(), k.set.Load()
	st := Stats{Month: b.month, Sum: b.total(), Nodes: int(b.nodes.Load())}
	if n := set.BytesPerNode; n > 0 {
		st.Near, st.Exhausted = b.count(eighty(n)), b.count(n)
	}
	k.io.Lock()
	st.Unkept = k.unkept != nil
	k.io.Unlock()
	return st
}
