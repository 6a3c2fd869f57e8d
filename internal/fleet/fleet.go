// Package fleet is what machines share through Redis: bans, which machines there are and how much room each has, and questions
// that one machine asks all others. It knows neither TURN nor webhooks: who makes a [Fleet] says what this machine is like, and
// what holds its bans.
//
// Nothing waits for Redis but who bans, and that for a second at most. What a machine has been told before holds while Redis is
// away; what is decided here meanwhile is shared when it is back.
package fleet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/contain"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/fleet/banset"
	"github.com/crolang-p2p/crolang-aio/internal/fleet/seal"
	"github.com/crolang-p2p/crolang-aio/internal/fleet/ties"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// Format is the number of what stands in Redis. Machines of another format do not see each other.
const Format = 1

// The keys in Redis. No Node can have such an id, which is UTF-8: Brokers keep the bare ids of Nodes there.
const (
	prefix        = "\xffcrolang-aio/1/"
	machinesKey   = prefix + "machines"   // a hash: sealed heartbeats by boot id
	bansKey       = prefix + "bans"       // a hash: sealed records by ban id
	logKey        = prefix + "log"        // a stream: the same records as they came
	generationKey = prefix + "generation" // a text: which Redis this is
	newsChannel   = prefix + "news"       // to all machines
	toChannel     = prefix + "to/"        // and a boot id: to one
)

// What the sealed texts are for, see package seal.
const (
	forBans    = "ban"
	forMachine = "machine"
	forNews    = "news"
)

const (
	beatEvery = 2 * time.Second
	goneAfter = 10 * time.Second
	// patience is how long one exchange with Redis may take, and answerWait how long a ban waits for other machines.
	patience   = 2 * time.Second
	answerWait = time.Second
	maxName    = 64
)

// Bans is what holds this machine's bans; [nodes.Registry] does.
type Bans interface {
	Ban(node, reason string, lasting time.Duration) (nodes.Banned, error)
	Unban(node string) error
	Impose(all []nodes.Imposed)
	BanOf(node string) (nodes.Ban, bool)
	Bans() []nodes.Ban
}

// Settings are what Prepare may change later.
type Settings struct {
	Secrets []string // of credentials, that for new ones first
	Regions []Region // where Nodes are; of two equal prefixes the later one counts
}

// Config is what New needs.
type Config struct {
	Redis  redis.UniversalClient // the caller closes it when Run has returned
	Name   string                // of this machine, for people
	Region string                // may be empty
	Settings
	Dir  string // the data_dir: what cannot be shared yet is kept there
	Bans Bans
	// Self says what this machine is like now. It is called every 2 s, and must not block.
	Self func() Self
	// Write makes what [Fleet.Pick] returns of a machine's URLs. It is called when those have changed, and must not block.
	Write func(stun, turn []string) any
	// Relaying is told where the other machines that are there have their relays, when that has changed. It must not block, nor call
	// the Fleet. nil: nobody wants to know.
	Relaying func(all []Relaying)
	// Connected lists the Nodes that are connected to a Broker, as this machine knows; it is called every 10 s. nil: none.
	Connected func() []string
	// Counted is what limits over the fleet count; nil: nothing.
	Counted Counted
	// Ties is what machines know together of who may talk with whom; nil: nothing. TiesFor is for how long that counts, 0: nobody
	// asks for it, and it is not shared.
	Ties    *ties.Book
	TiesFor func() time.Duration
	// Answers are what answers the questions of other machines, by their kind; they are told which kinds these are. Each is called
	// from one goroutine.
	Answers map[string]Answerer
	// Found is called with what is wrong, and with nothing when all is well again. May be nil.
	Found  func(now []findings.Finding)
	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil: nothing is logged

	beat, gone time.Duration // for tests; 0: beatEvery, goneAfter
}

// Fleet is this machine's part in it. Make it with [New], then [Fleet.Run] it. Its methods may be called from any goroutine.
type Fleet struct {
	cfg            Config
	log            *slog.Logger
	boot           string // tells this process from all others
	ring           atomic.Pointer[seal.Ring]
	seq            atomic.Uint64
	places         atomic.Pointer[places]
	where          atomic.Pointer[regions]
	crowds         atomic.Pointer[map[string]crowd] // by boot id
	who            atomic.Uint64                    // number of the list of this machine's Nodes
	elsewhere      *counts
	ledger         atomic.Pointer[string] // of this machine
	liveAt, usedAt atomic.Uint64          // see heartbeat
	tiesAt         atomic.Uint64          // likewise
	toldTies       toldTies
	heardTies      heardTies
	wake           chan struct{} // has room for one: a beat is due now
	heard          chan news     // bans of other machines that are not in force here yet
	leave          atomic.Bool   // this machine drains

	questions chan news // of other machines, that are not answered yet

	settling sync.Mutex // held while records are put in force, one batch after the other

	mu        sync.Mutex
	set       *banset.Set
	unshared  map[string]struct{}      // ids of records that Redis may not have
	unsettled map[string]struct{}      // Nodes whose bans could not be brought into line
	dirty     bool                     // the file is behind
	machines  map[string]*machine      // by boot id, without this one
	strange   map[string]*machine      // those that have another secret
	departed  map[string]time.Duration // by boot id: when those were forgotten that are gone, by clock
	relaying  []Relaying               // as Config.Relaying was told
	told      *told                    // what Nodes are told of this machine
	clock     time.Duration            // how long Redis has been there
	beaten    time.Time                // when it last was
	waiting   map[uint64]*waiter
	asking    map[uint64]*asking
	state     redisState
	counts    Counts

	panics contain.Panics
	lastOp atomic.Uint64
	at     position // of the goroutine that beats
}

// Counts are totals since the start.
type Counts struct {
	Beats     uint64 // that reached Redis
	Failures  uint64 // exchanges with Redis that failed
	Received  uint64 // records of bans from other machines that were new here
	Sent      uint64 // records that Redis has taken
	Strangers uint64 // entries of machines that have another secret
	Forged    uint64 // entries that nobody who has the secret has written so
	Malformed uint64 // entries that are sealed well and cannot be read
	Rubbish   uint64 // entries in Redis that were no machine's, or too long to be read, and were deleted
	Compared  uint64 // how often all bans were compared with Redis

	Answered   uint64 // questions of other machines
	Unanswered uint64 // answers that other machines owed this one, and did not give in time
	Stale      uint64 // questions that were old, or were asked again: somebody may have kept them
	Busy       uint64 // questions that were not answered since there were too many
}

// New reads what is kept in cfg.Dir. It does not ask Redis anything.
func New(cfg Config) (*Fleet, error) {
	if cfg.Redis == nil || cfg.Bans == nil || cfg.Self == nil || cfg.Write == nil || cfg.Dir == "" {
		return nil, errors.New("fleet: Redis, Bans, Self, Write and Dir are needed")
	}
	if err := CheckName(cfg.Name); err != nil {
		return nil, fmt.Errorf("fleet.name: %w", err)
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
	if cfg.beat == 0 {
		cfg.beat = beatEvery
	}
	if cfg.gone == 0 {
		cfg.gone = goneAfter
	}
	f := &Fleet{
		cfg: cfg, log: cfg.Logger, boot: rand.Text(), elsewhere: newCounts(), wake: make(chan struct{}, 1), heard: make(chan news, batch), set: banset.NewSet(),
		unshared: map[string]struct{}{}, unsettled: map[string]struct{}{}, machines: map[string]*machine{},
		strange: map[string]*machine{}, departed: map[string]time.Duration{}, waiting: map[uint64]*waiter{}, asking: map[uint64]*asking{}, questions: make(chan news, maxAsked),
	}
	if err := CheckName(cfg.Region); err != nil {
		return nil, fmt.Errorf("fleet.region: %w", err)
	}
	f.heardTies.of = map[string]*follow[tieNews]{}
	first, err := f.Prepare(cfg.Settings)
	if err != nil {
		return nil, err
	}
	first.Apply()
	return f, f.recall()
}

// CheckName checks what a machine, or a region, is to be called.
func CheckName(name string) error {
	if len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl) {
		return errors.New("must be at most 64 bytes without control characters")
	}
	return nil
}

// Prepare gets ready for other settings.
func (f *Fleet) Prepare(s Settings) (change.Change, error) {
	ring, err := seal.NewRing(s.Secrets)
	if err != nil {
		return change.Change{}, fmt.Errorf("fleet: %w", err)
	}
	where, err := newRegions(s.Regions)
	if err != nil {
		return change.Change{}, err
	}
	return change.New(func() {
		f.ring.Store(ring)
		f.where.Store(where)
		f.hurry()
	}, nil), nil
}

// Drain takes this machine out of what other machines, and this one, tell Nodes from now on.
func (f *Fleet) Drain() {
	f.leave.Store(true)
	f.arrange()
	f.hurry()
}

// hurry has the next beat come now.
func (f *Fleet) hurry() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run takes part until ctx ends, then says goodbye. It returns nil: no failure of Redis ends it.
func (f *Fleet) Run(ctx context.Context) error {
	var listening sync.WaitGroup
	listening.Go(func() { f.listen(ctx) })
	listening.Go(func() { f.work(ctx) })
	listening.Go(func() { f.answer(ctx) })
	if f.cfg.Ties != nil {
		listening.Go(func() { f.tie(ctx) })
	}
	tick := time.NewTicker(f.cfg.beat)
	defer tick.Stop()
	for {
		if !f.contained(func() { f.beat(ctx) }) {
			f.at.log = "" // what it was about is not known: all is compared
		}
		select {
		case <-ctx.Done():
			f.contained(func() { f.goodbye(context.WithoutCancel(ctx)) })
			listening.Wait()
			return nil
		case <-tick.C:
		case <-f.wake:
		}
	}
}

// contained runs g, which reads from Redis, and reports whether it has come to its end: a panic in it counts as a failure of
// Redis, and ends nothing but this round.
func (f *Fleet) contained(g func()) (whole bool) {
	defer func() {
		if cause := recover(); cause != nil {
			f.panics.Stopped(f.log, "what the fleet's Redis has sent could not be handled, this goes on: please report this", cause)
			f.mu.Lock()
			f.counts.Failures++
			f.mu.Unlock()
		}
	}()
	g()
	return true
}

// within bounds one exchange with Redis.
func within(ctx context.Context, f func(ctx context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return f(limited)
}

// Name is what this machine is called.
func (f *Fleet) Name() string { return f.cfg.Name }

// Counts returns the totals since the start.
func (f *Fleet) Counts() Counts {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.counts
}
