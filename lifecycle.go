package main

import (
	"context"
	"errors"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
)

// part is what runs until its context ends, and returns when all that it started has ended.
type part func(context.Context) error

// Run serves until ctx ends or drain is called. Then the parts end one after the other: the TURN server drains, the admin
// listener closes, the webhooks close when nothing else is left that listens, and last what they stand on. reload, which
// may be nil, runs beside.
func (a *app) Run(ctx context.Context, reload func(context.Context) error) error {
	front := []part{a.guard.Run, a.admin.Run, a.certs.Run, a.peers.Run, a.watch}
	if a.redis != nil {
		front = append(front, a.redis.Run)
	}
	if reload != nil {
		front = append(front, reload)
	}
	begun, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, a.drain)()
	over, finish := context.WithCancel(context.WithoutCancel(ctx))
	defer finish()
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-a.ending:
			cancel()
		case <-begun.Done():
		}
	})
	turn := func(ctx context.Context) error {
		defer context.AfterFunc(ctx, a.drain)() // also where another part has failed
		defer a.served.Store(true)
		return a.turn.Run(ctx)
	}
	a.running.Store(true)
	waiting.Go(func() { a.supervise(over) })
	err := inOrder(begun, []part{turn}, front, []part{a.hooks.Run}, []part{a.policy.Run, a.nodes.Run})
	cancel()
	finish()
	waiting.Wait()
	return errors.Join(err, a.dir.Close())
}

// inOrder runs all parts of all stages until ctx ends; then the first stage is ended, and each further one when the parts
// of the one before it have ended. A part that fails ends them all at once.
func inOrder(ctx context.Context, stages ...[]part) error {
	g, failed := errgroup.WithContext(context.WithoutCancel(ctx))
	before := ctx
	for _, parts := range stages {
		run, end := context.WithCancel(failed)
		defer end()
		defer context.AfterFunc(before, end)()
		ended, done := context.WithCancel(failed)
		var running sync.WaitGroup
		for _, p := range parts {
			running.Add(1)
			g.Go(func() error {
				defer running.Done()
				return p(run)
			})
		}
		g.Go(func() error {
			running.Wait()
			done()
			return nil
		})
		before = ended
	}
	return g.Wait()
}

// drain begins the end: no new allocation is taken, live ones and the webhooks go on, and Run ends when none is left or
// drain_timeout is over. It returns at once, and does nothing when called again.
func (a *app) drain() {
	a.end.Do(func() {
		a.turn.Drain()
		a.hooks.LetGo()
		a.log.Info("draining: no new allocations are taken", "allocations", a.turn.Live(), "drain_timeout", a.cfg().DrainTimeout.String())
		close(a.ending)
	})
}

func (a *app) draining() bool {
	select {
	case <-a.ending:
		return true
	default:
		return false
	}
}

// drainProgress is for the admin API; nil where the server does not drain.
func (a *app) drainProgress() *adminapi.Drain {
	if !a.draining() {
		return nil
	}
	p, _ := a.turn.Draining()
	return &adminapi.Drain{Allocations: p.Allocations, SecondsLeft: p.Left.Seconds()}
}
