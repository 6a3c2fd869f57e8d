package publicaddr

import (
	"context"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// How often a Watcher looks unless its Config says otherwise.
const (
	LookEvery = 5 * time.Second // at the default routes: no packet is sent
	AskEvery  = time.Minute     // STUN servers, and the resolver for public.host
)

// WatcherConfig is what a Watcher is made of.
type WatcherConfig struct {
	Settings  Settings
	Look, Ask time.Duration // default LookEvery and AskEvery
}

// Sink is told what a Watcher finds. Its methods are called one at a time, never during a reload: see [Watcher.Prepare].
type Sink interface {
	// Exposed reports whether a TURN listener is on more than loopback.
	Exposed() bool
	// Moved makes p hold, which may be the one that holds already. With an error the one before stays.
	Moved(p Public) error
	// Found is told everything that looks wrong with the addresses now.
	Found([]findings.Finding)
}

// Watcher keeps the addresses of this machine up to date: it looks at the default routes often, and asks the STUN servers
// now and then and when a route has changed. Its methods may be called from any goroutine.
type Watcher struct {
	look, ask time.Duration
	wake      chan struct{}

	mu      sync.Mutex // held while addresses or settings change
	set     Settings
	changes int // of set
	seen    Seen
	current Public
}

// NewWatcher finds the addresses for the start. STUN servers that are silent hold it up for a few seconds at most.
func NewWatcher(ctx context.Context, cfg WatcherConfig) (*Watcher, error) {
	w := &Watcher{look: cfg.Look, ask: cfg.Ask, wake: make(chan struct{}, 1), set: cfg.Settings}
	if w.look <= 0 {
		w.look = LookEvery
	}
	if w.ask <= 0 {
		w.ask = AskEvery
	}
	if servers := cfg.Settings.STUN; len(servers) > 0 {
		w.seen = w.seen.Learn(servers, Ask(ctx, servers))
	}
	var err error
	w.current, err = Find(cfg.Settings, w.known(w.seen))
	return w, err
}

// Current returns the addresses that hold.
func (w *Watcher) Current() Public {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.current
}

// Prepare finds the addresses for other settings; if the STUN servers are others, it asks them. The addresses are the
// caller's to make known. Nothing else changes an address until the change has been applied or dropped.
func (w *Watcher) Prepare(ctx context.Context, set Settings) (Public, change.Change, error) {
	w.mu.Lock()
	same := slices.Equal(set.STUN, w.set.STUN)
	w.mu.Unlock()
	var answers []Answer
	if !same {
		answers = Ask(ctx, set.STUN)
	}
	w.mu.Lock()
	seen := w.seen.Learn(set.STUN, answers)
	p, err := Find(set, w.known(seen))
	if err != nil {
		w.mu.Unlock()
		return p, change.Change{}, err
	}
	return p, change.New(func() {
		w.set, w.seen, w.current = set, seen, p
		w.changes++
		w.mu.Unlock()
		w.Look()
	}, w.mu.Unlock), nil
}

// Look makes Run look at once: something about this machine's network may have changed.
func (w *Watcher) Look() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// known is what Find goes by. Held: mu.
func (w *Watcher) known(seen Seen) Known {
	return Known{Mapped: seen.Mapped, Bind: w.current.IPv4.Bind}
}

// Run watches until ctx ends, and tells to what it finds.
func (w *Watcher) Run(ctx context.Context, to Sink) error {
	tick := time.NewTicker(w.look)
	defer tick.Stop()
	route := routes()
	asked := time.Now()
	w.refresh(ctx, to, false)
	for {
		woken := false
		select {
		case <-ctx.Done():
			return nil
		case <-w.wake:
			woken = true
		case <-tick.C:
		}
		now := routes()
		if due := now != route || time.Since(asked) >= w.ask; due || woken {
			w.refresh(ctx, to, due)
			if route = now; due {
				asked = time.Now()
			}
		}
	}
}

// routes are the addresses that the default routes of both families use; invalid without one.
func routes() (both [2]netip.Addr) {
	both[0], _ = Route4()
	both[1], _ = Route6()
	return both
}

// refresh finds the addresses again, asking the STUN servers too if ask is set, and makes known what has changed.
func (w *Watcher) refresh(ctx context.Context, to Sink, ask bool) {
	w.mu.Lock()
	set, changes := w.set, w.changes
	w.mu.Unlock()
	var answers []Answer
	if ask && len(set.STUN) > 0 {
		answers = Ask(ctx, set.STUN)
	}
	host, errHost := resolve(ctx, set.Host)
	if ctx.Err() != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.changes != changes {
		w.Look() // there were other settings meanwhile
		return
	}
	w.seen = w.seen.Learn(set.STUN, answers)
	p, err := Find(set, w.known(w.seen))
	if err != nil {
		to.Found([]findings.Finding{{ID: "public.address", Detail: err.Error(), Remedy: "the addresses from before stay"}})
		return
	}
	if err := to.Moved(p); err == nil {
		w.current = p
	}
	to.Found(judge(set, p, situation{
		exposed: to.Exposed(), container: Container(p.IPv4.Bind), seen: w.seen, host: host, errHost: errHost, local: IsLocal,
	}))
}
