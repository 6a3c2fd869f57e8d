//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/netwatch"
)

const (
	// beatEvery is how often the process gives a sign of life, of which the program waits two seconds for one, while there are
	// flows; watchEvery is how often it looks for some to watch, where there may be, and proveEvery how often it looks at those that it
	// watches. An idle machine pays for each time.
	beatEvery  = 800 * time.Millisecond
	watchEvery = 400 * time.Millisecond
	proveEvery = 100 * time.Millisecond
	// lookEvery is for what the kernel does not tell of, such as another MTU of a path. reviewed is how many flows are looked at then:
	// thousands have their turn one after the other, since each asks the kernel.
	lookEvery = 5 * time.Second
	reviewed  = 1024
)

// Run keeps the program going, and follows changed addresses, routes and interfaces, until ctx ends.
func (k *Kernel) Run(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		ended <- netwatch.Run(ctx, func() {
			select {
			case changed <- struct{}{}:
			default:
			}
		})
	}()
	var following sync.WaitGroup
	following.Go(func() { k.watchNeighbours(ctx) })
	following.Go(func() {
		look := time.NewTicker(lookEvery)
		defer look.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				k.follow(true)
			case <-look.C:
				k.ask()
				k.follow(false)
			}
		}
	})
	every := beatEvery
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			following.Wait()
			return <-ended
		case <-k.wake:
		case <-tick.C:
		}
		if next := k.turn(); next != every {
			if every = next; every == 0 {
				tick.Stop()
			} else {
				tick.Reset(every)
			}
		}
	}
}

// turn gives a sign of life and goes on with what is being tried. It returns when that is due again; 0: when there is a flow.
func (k *Kernel) turn() time.Duration {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.beat()
	k.prove(now())
	switch {
	case len(k.pairs) > 0:
		return proveEvery
	case len(k.look.flows) > 0:
		return watchEvery
	case len(k.free) < len(k.flows):
		return beatEvery
	}
	return 0
}

func (k *Kernel) beat() {
	if k.closed {
		return
	}
	for i, at := 0, now(); i < len(k.table.cpus); i++ {
		atomic.StoreUint64(&k.table.cpus[i].Alive, at)
	}
}

// refresh looks at the interfaces, lets go of those that are gone, and forgets what was seen of those that have changed. It
// reports whether flows may have other ways now.
func (k *Kernel) refresh() (changed bool, err error) {
	n, err := look()
	if err != nil {
		return false, err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.net
	k.net = n
	changed = len(was.byIndex) != len(n.byIndex)
	for i := range was.byIndex {
		link, addrs := was.changed(n, i)
		spent := k.ports[i].spent(addrs)
		if link || spent {
			k.forget(i)
		}
		changed = changed || link || addrs || spent
	}
	skipped := k.across
	k.across = make(map[int]bool, len(skipped))
	for i, yes := range skipped {
		changed = k.crosses(i) != yes || changed
	}
	for i, p := range k.ports {
		if _, ok := n.byIndex[i]; !ok {
			_ = p.close()
			delete(k.ports, i)
		}
	}
	return changed, nil
}

// follow places flows anew: all of them, if the kernel has told of a change, or there is one. Others have their turn in between.
func (k *Kernel) follow(told bool) {
	changed, err := k.refresh()
	if err != nil {
		return // the next look may fare better; until then routes are as they were
	}
	k.router.remember()
	defer k.router.forget()
	most := reviewed
	if told || changed {
		most = len(k.flows)
	}
	for range k.flows {
		if most == 0 {
			return
		}
		if k.again(k.next(), changed) {
			most--
		}
	}
}

// next is the slot whose turn it is.
func (k *Kernel) next() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.review = (k.review + 1) % len(k.flows)
	return k.review
}

// again places a flow anew, and reports whether there is one; changed: even if it would leave as it does.
func (k *Kernel) again(slot int, changed bool) (ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f := k.flows[slot]
	if f == nil || k.closed {
		return false
	}
	if !changed && f.placed {
		if r, err := k.route(f); err == nil && r == f.route {
			return true
		}
	}
	_ = k.place(slot, f)
	return true
}
