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
	// beatEvery is how often the process gives a sign of life, of which the program waits a second for one, and looks for flows
	// to watch; proveEvery is how often it looks at those that it watches. An idle machine pays for each time.
	beatEvery  = 400 * time.Millisecond
	proveEvery = 100 * time.Millisecond
	// lookEvery is for what the kernel does not tell of, such as another MTU.
	lookEvery = 5 * time.Second
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
			case <-look.C:
				k.ask()
			}
			k.follow()
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
		case <-tick.C:
			k.mu.Lock()
			k.beat()
			k.prove(now())
			next := beatEvery
			if len(k.pairs) > 0 {
				next = proveEvery
			}
			k.mu.Unlock()
			if next != every {
				every = next
				tick.Reset(every)
			}
		}
	}
}

func (k *Kernel) beat() {
	if k.closed {
		return
	}
	for i, at := 0, now(); i < len(k.table.cpus); i++ {
		atomic.StoreUint64(&k.table.cpus[i].Alive, at)
	}
}

// refresh looks at the interfaces, lets go of those that are gone, and forgets what was seen of those that have changed.
func (k *Kernel) refresh() error {
	n, err := look()
	if err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	was := k.net
	k.net = n
	for i := range was.byIndex {
		link, addrs := was.changed(n, i)
		if link || k.ports[i].spent(addrs) {
			k.forget(i)
		}
	}
	for i, p := range k.ports {
		if _, ok := n.byIndex[i]; !ok {
			_ = p.close()
			delete(k.ports, i)
		}
	}
	return nil
}

// follow places every flow anew. Others have their turn in between.
func (k *Kernel) follow() {
	if err := k.refresh(); err != nil {
		return // the next look may fare better; until then routes are as they were
	}
	k.router.remember()
	defer k.router.forget()
	for slot := range k.flows {
		k.again(slot)
	}
}

// again places a flow anew.
func (k *Kernel) again(slot int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if f := k.flows[slot]; f != nil && !k.closed {
		_ = k.place(slot, f)
	}
}
