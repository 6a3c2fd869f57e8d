// Package nodes keeps what is known of each Node: its bans, the credentials it was issued, the relays it has open, whether a
// Broker says that it is connected, whom it was authorised to talk to, from where it was seen, and the why-record: its last
// events in plain words, from which an operator learns why a connection failed.
//
// Everything but the bans, and who was connected at the end, is bounded memory and lost at a restart. Strangers may invent
// as many Node ids as they like: the least recently seen are forgotten first, ids known only from strangers before those
// that a Broker vouched for. A ban is never forgotten, and a Node that has live allocations, or is connected to the Broker
// in this process, is never dropped.
//
// The webhooks and the TURN server meet a *Registry through small interfaces of their own. It tells Nodes apart by their ids
// as they are: whoever calls it gives the canonical spelling (see [nodeid.Canonical]).
package nodes

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// Defaults for the zero fields of a Config.
const (
	DefaultMaxNodes = 1 << 17
	DefaultMaxBans  = 1_000_000
)

// ConnectedFor is how long a Node counts as connected after a Broker has shown that it is. Brokers check every 30 s.
const ConnectedFor = 90 * time.Second

const (
	maxShards    = 64
	minPerShard  = 1024
	logBudget    = 48 << 20 // bytes of why-records kept in full; beyond it each record is cut to squeezedLog
	maxAddresses = 8        // addresses remembered per Node
)

// Config is what New needs.
type Config struct {
	DataDir  string // where bans.json is kept; made with 0700 if it is missing
	MaxNodes int    // Nodes remembered besides those with live allocations; 0: DefaultMaxNodes
	MaxBans  int    // bans in force at once; 0: DefaultMaxBans
	// Found is called with what is wrong with the file of bans, and with nothing when it is in order again. May be nil.
	Found  func(now []findings.Finding)
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged
}

// Relays is what the registry asks of the TURN server. All methods may be called from any goroutine.
type Relays interface {
	// CloseNode closes every live allocation of node and returns how many it closed. When it returns nothing more is
	// relayed for them. cause is shown to operators.
	CloseNode(node, cause string) int
	// LiveByNode counts the live allocations of each Node that has some.
	LiveByNode() map[string]int
}

// Broker is what the registry asks of the Broker in this process. It may be called from any goroutine.
type Broker interface {
	// Disconnect ends the connection of node, if it has one, and reports whether it had. When it returns nothing that the
	// Node sends is handled any more. cause is shown to operators.
	Disconnect(node, cause string) bool
}

// Registry is what is known of each Node. All its methods may be called from any goroutine, and none but New, Ban and Unban
// waits for a disk.
type Registry struct {
	now    func() time.Time
	log    *slog.Logger
	seed   maphash.Seed
	shards []shard
	serial atomic.Uint64
	evicts atomic.Uint64
	kinds  kindCounts
	subs   subscribers
	told   told
	pairs  pairs
	seen   sightings
	bans   *banStore

	here presence

	mu     sync.Mutex
	relays Relays
	broker Broker
}

// New reads the bans in cfg.DataDir. A file that cannot be read is an error ([ErrBansFile]), never an empty list.
func New(cfg Config) (*Registry, error) {
	if cfg.DataDir == "" {
		return nil, errors.New("nodes: no data directory given")
	}
	if cfg.MaxNodes < 0 || cfg.MaxBans < 0 {
		return nil, fmt.Errorf("nodes: limits must not be negative (%d nodes, %d bans)", cfg.MaxNodes, cfg.MaxBans)
	}
	if cfg.MaxNodes == 0 {
		cfg.MaxNodes = DefaultMaxNodes
	}
	if cfg.MaxBans == 0 {
		cfg.MaxBans = DefaultMaxBans
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Found == nil {
		cfg.Found = func([]findings.Finding) {}
	}
	bans, err := openBans(cfg)
	if err != nil {
		return nil, err
	}
	n := 1
	for n < maxShards && cfg.MaxNodes/(2*n) >= minPerShard {
		n *= 2
	}
	r := &Registry{
		now:    cfg.Now,
		log:    cfg.Logger,
		seed:   maphash.MakeSeed(),
		shards: make([]shard, n),
		bans:   bans,
	}
	bans.inForce = r.cut
	for i := range r.shards {
		r.shards[i].init(cfg.MaxNodes/n, logBudget/n)
	}
	r.recallPresent(cfg.DataDir)
	return r, nil
}

// Attach sets the TURN server whose allocations a ban closes. Until then a ban closes none.
func (r *Registry) Attach(relays Relays) {
	r.mu.Lock()
	r.relays = relays
	r.mu.Unlock()
}

// AttachBroker names the Broker in this process, whose connection a ban ends. Until then a ban ends none.
func (r *Registry) AttachBroker(broker Broker) {
	r.mu.Lock()
	r.broker = broker
	r.mu.Unlock()
}

// attached returns what is attached, nil where nothing is.
func (r *Registry) attached() (Relays, Broker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.relays, r.broker
}

// How long it takes until what the disk did not take is written again: at first, and at most.
const (
	firstRetry = time.Second
	mostRetry  = 10 * time.Second
)

// Run ends timed bans, keeps the count of live allocations honest and brings bans to a disk that did not take them, until
// ctx ends. It returns nil.
func (r *Registry) Run(ctx context.Context) error {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	pause := firstRetry
	again := time.NewTimer(0)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			r.bans.catchUp()
			r.keepPresent()
			return nil
		case <-tick.C:
			r.tidy()
		case <-r.bans.late:
			again.Reset(pause)
		case <-again.C:
			if r.bans.catchUp() {
				pause = firstRetry
			} else {
				pause = min(2*pause, mostRetry)
			}
		}
	}
}

// tidy is what Run does now and then.
func (r *Registry) tidy() {
	for _, id := range r.bans.expire() {
		r.note(id, stranger, KindUnbanned, false, "the ban has ended: its time is over")
	}
	r.keepPresent()
	relays, _ := r.attached()
	if relays == nil {
		return
	}
	live := relays.LiveByNode()
	for i := range r.shards {
		r.shards[i].recount(live)
	}
}

func (r *Registry) shardOf(id string) *shard {
	return &r.shards[maphash.String(r.seed, id)&uint64(len(r.shards)-1)]
}

// with calls f on the Node under the lock of its shard, and moves the Node to the front. The Node is added if it is new;
// class is the least that it counts as from now on. An id that cannot be a Node's is ignored.
func (r *Registry) with(id string, class class, now time.Time, f func(s *shard, n *entry)) {
	if nodeid.Valid(id) != nil {
		return
	}
	s := r.shardOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	if n == nil {
		n = &entry{id: strings.Clone(id), serial: r.serial.Add(1), last: -1, class: class}
		s.nodes[n.id] = n
		s.lists[class].pushFront(n)
	}
	if n.class < class {
		s.move(n, class)
	} else {
		s.move(n, n.class)
	}
	n.seen = now.UnixNano()
	f(s, n)
	if over := s.evict(); over > 0 {
		r.evicts.Add(uint64(over))
	}
}

// serialOf returns the number under which pairs and sightings know a Node; 0 if the Node is unknown.
func (r *Registry) serialOf(id string) uint64 {
	s := r.shardOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.nodes[id]; n != nil {
		return n.serial
	}
	return 0
}

// Stats is the registry in numbers.
type Stats struct {
	Nodes     int // remembered
	Connected int // of them, see [Registry.Connected]
	Bans      int // in force
	Evicted   uint64
	Lost      uint64          // events that slow subscribers missed
	Events    map[Kind]uint64 // noted since the start, by kind
	Failed    map[Kind]uint64 // those of them in which something did not work
}

// Stats counts. It visits every Node, some milliseconds' work for 100 000.
func (r *Registry) Stats() Stats {
	st := Stats{
		Bans:    r.bans.count(),
		Evicted: r.evicts.Load(),
		Lost:    r.subs.lost.Load(),
	}
	st.Events, st.Failed = r.kinds.snapshot()
	now := r.now()
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		st.Nodes += len(s.nodes)
		for _, n := range s.nodes {
			if n.connected(now) {
				st.Connected++
			}
		}
		s.mu.Unlock()
	}
	return st
}
