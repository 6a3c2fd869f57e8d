package app

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/netwatch"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/publicaddr"
	"github.com/crolang-p2p/crolang-aio/internal/stages"
)

// touchEvery is how often the data_dir is marked as in use, by which the next start judges the clock.
const touchEvery = time.Minute

// Run serves until ctx ends or [App.Drain] is called. Then the parts end one after the other: the Broker lets its Nodes go
// while the TURN server drains, Broker and admin listener close, the webhooks close when nothing else listens any more, and
// last what they stand on. reload, which
// may be nil, runs beside them.
func (a *App) Run(ctx context.Context, reload stages.Part) error {
	front := []stages.Part{a.guard.Run, a.front.Run, a.admin.Run, a.certs.Run, a.peers.Run, a.watch, a.watchNetwork, a.clock.Run, a.touch, a.account, a.report.watchLosses, a.report.watchRelayPorts}
	if a.redis != nil {
		front = append(front, a.redis.Run)
	}
	if a.broker != nil {
		front = append(front, a.broker.Run, a.leavers.Run)
	}
	if reload != nil {
		front = append(front, reload)
	}
	last := []stages.Part{a.policy.Run, a.nodes.Run, a.usage.Run, a.history.Run, a.audit.Run}
	if a.fleet != nil {
		last = append(last, a.fleet.Run)
	}
	begun, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, a.drainAsked)()
	over, finish := context.WithCancel(context.WithoutCancel(ctx))
	defer finish()
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-a.life.ending:
			cancel()
		case <-begun.Done():
		}
	})
	turn := func(ctx context.Context) error {
		defer context.AfterFunc(ctx, a.Drain)() // also if another part has failed
		defer a.life.served.Store(true)
		return a.turn.Run(ctx)
	}
	a.life.running.Store(true)
	waiting.Go(func() { a.supervisor.run(over) })
	err := stages.Run(begun, []stages.Part{turn}, front, []stages.Part{a.hooks.Run}, last)
	cancel()
	finish()
	waiting.Wait()
	return errors.Join(err, a.closeShared(), a.closeFleet(), a.audit.Close(), a.dir.Close())
}

// Drain begins the end: no new allocation is taken, Nodes are told to join again, live allocations and the webhooks go on, and
// Run ends when none is left or
// drain_timeout is over. It returns at once, and does nothing if called again.
func (a *App) Drain() {
	a.life.end(func() {
		if a.fleet != nil {
			a.fleet.Drain()
		}
		a.turn.Drain()
		a.letNodesGo()
		a.hooks.LetGo()
		a.front.LetGo()
		a.log.Info("draining: no new allocations are taken, and Nodes are told to join again", "allocations", a.turn.Live(), "drain_timeout", a.cfg().DrainTimeout.String())
	})
}

// watch follows the addresses of this machine.
func (a *App) watch(ctx context.Context) error { return a.addresses.Run(ctx, a) }

// watchNetwork has the addresses looked at when the kernel says that they have changed.
func (a *App) watchNetwork(ctx context.Context) error {
	return netwatch.Run(ctx, func() {
		a.peers.Look()
		a.addresses.Look()
	})
}

// touch marks the data_dir as in use now and then, and looks whether the log is being written.
func (a *App) touch(ctx context.Context) error {
	tick := time.NewTicker(touchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			a.dir.Touch()
			a.found.Replace("log.file", untakenLog(a.log.Trouble()))
		}
	}
}

// untakenLog is the finding that log.file does not take what it should.
func untakenLog(err error) []findings.Finding {
	if err == nil {
		return nil
	}
	return []findings.Finding{{
		ID: "log.file", Detail: fmt.Sprintf("the log goes to standard error, since log.file cannot be written: %v", err),
		Remedy: "make room, or see who may write there; nothing has to be restarted",
	}}
}

// Exposed implements [publicaddr.Sink].
func (a *App) Exposed() bool {
	for _, l := range a.turn.Listeners() {
		if !l.Addr.Addr().IsLoopback() {
			return true
		}
	}
	return false
}

// Found implements [publicaddr.Sink].
func (a *App) Found(all []findings.Finding) { a.found.Replace("public.", all) }

// Moved implements [publicaddr.Sink].
func (a *App) Moved(p publicaddr.Public) error {
	move, err := a.prepareMove(p)
	if err != nil {
		a.part("public").Error("the public address stays as it was", "err", err)
		return err
	}
	move.Apply()
	hold := *a.now.Load()
	if hold.public == p {
		return nil // earlier addresses were given up if the last allocation that had one has ended
	}
	was := hold.public
	hold.public = p
	a.hold(&hold)
	a.turn.Recheck()
	if names := certSettings(hold.cfg, p); names.PublicHost != certSettings(hold.cfg, was).PublicHost {
		if err := a.certs.SetNames(names.PublicHost, names.Hosts); err != nil {
			a.part("certs").Error("the certificate stays as it was", "err", err)
		}
	}
	a.part("public").Warn("the address of this server has changed: new credentials and allocations carry the new one", "from", was.String(), "to", p.String())
	a.nodes.Tell(nodes.KindAddress, "the address of this server has changed from "+was.String()+" to "+p.String()+": new credentials and allocations carry it")
	return nil
}
