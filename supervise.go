package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
	"github.com/crolang-p2p/crolang-aio/internal/systemd"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

const (
	statusEvery   = 5 * time.Second
	drainingEvery = time.Second
	// linger is what Brokers are given to let go of the connections that they keep, where another process goes on
	// listening for this one: Node.js keeps idle ones for 5 s.
	linger = 6 * time.Second
	// stopWithin is what the end takes at most beside drain_timeout.
	stopWithin = 25 * time.Second
)

// supervision is what systemd, or whatever supervises in its manner, has to do with the process.
type supervision struct {
	notify  *systemd.Notifier // nil: none is told
	sockets *systemd.Sockets  // nil: none were passed
	failing bool              // the last message could not be sent
	mu      sync.Mutex
}

func (a *app) openSupervision() (err error) {
	var errNotify error
	a.super.notify, errNotify = systemd.NewNotifier()
	a.super.sockets, err = systemd.NewSockets()
	return errors.Join(errNotify, err)
}

// passed is the socket that was passed for a listener; nil: there is none, and the address is to be bound. decided says
// that the configuration has a secret for it, or wants none whatever the address.
func (a *app) passed(name, key, address string, decided bool) (*net.TCPListener, error) {
	got := a.super.sockets.Take(name, address)
	switch {
	case len(got) == 0:
		return nil, nil
	case len(got) > 1:
		return nil, fmt.Errorf("%w: %d are for %s, which is one address: pass one", systemd.ErrSockets, len(got), key)
	}
	want, err := listen.Parse(address)
	if at := got[0].Addr().String(); err == nil && !want.Is(got[0].Addr().(*net.TCPAddr).AddrPort()) {
		if !decided && listen.Exposed(at) && !listen.Exposed(address) {
			return nil, fmt.Errorf("%w: %s is on %s, but %s is loopback, where no secret is asked for: set it to that address",
				systemd.ErrSockets, name, at, key)
		}
		a.log.Warn("the socket that was passed is at another address than the configured one, by which other commands go",
			"key", key, "configured", address, "passed", at)
	}
	return got[0], nil
}

// passedTURN are the TCP sockets that were passed for the TURN server.
func (a *app) passedTURN() []*net.TCPListener {
	t := a.cfg().Turn
	if !slices.Contains(t.Transports, "tcp") && !slices.Contains(t.Transports, "tls") {
		return nil
	}
	return append(a.super.sockets.Take(systemd.NameTURN, t.Listen...), a.super.sockets.Take(systemd.NameTURNTLS, t.ListenTLS...)...)
}

// closePassed refuses sockets that nothing listens on: clients would wait there for ever.
func (a *app) closePassed() error { return a.super.sockets.Close() }

// tell sends a message to the supervisor. A failure is logged once.
func (a *app) tell(err error) {
	a.super.mu.Lock()
	defer a.super.mu.Unlock()
	if err != nil && !a.super.failing {
		a.log.Warn("the supervisor is not told how this process is", "error", err)
	}
	a.super.failing = err != nil
}

// supervise tells the supervisor that all listeners are up, how the process is, and that it ends, until ctx ends.
func (a *app) supervise(ctx context.Context) {
	n := a.super.notify
	if n == nil {
		return
	}
	said := a.statusLine()
	a.tell(n.Ready(said))
	var watching sync.WaitGroup
	watching.Go(func() { a.watchdog(ctx) })
	defer watching.Wait()
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	ending := a.ending
	for {
		select {
		case <-ctx.Done():
			return
		case <-ending:
			ending = nil
			tick.Reset(drainingEvery)
		case <-tick.C:
		}
		line := a.statusLine()
		if p, ok := a.turn.Draining(); ok {
			a.tell(n.Stopping(line, p.Left+stopWithin))
		} else if line != said {
			a.tell(n.Status(line))
		}
		said = line
	}
}

// statusLine is how the process is, in a line for a human.
func (a *app) statusLine() string {
	if p := a.drainProgress(); p != nil {
		return fmt.Sprintf("Draining: %d live allocations, %.0f s left.", p.Allocations, p.SecondsLeft)
	}
	return fmt.Sprintf("%d live allocations, %d Nodes connected.", a.turn.Live(), a.nodes.Stats().Connected)
}

// reloading tells the supervisor of a reload; the returned func says that it is over.
func (a *app) reloading() (done func()) {
	if a.super.notify == nil || a.draining() {
		return func() {}
	}
	a.tell(a.super.notify.Reloading())
	return func() { a.tell(a.super.notify.Ready(a.statusLine())) }
}

// watchdog says that the process lives for as long as it answers clients and Brokers.
func (a *app) watchdog(ctx context.Context) {
	every := a.super.notify.Watchdog() / 2
	if every <= 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, every)
		err := a.alive(try)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			a.log.Error("the process does not answer itself: the supervisor will restart it if that lasts", "error", err)
		default:
			a.tell(a.super.notify.Alive())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// alive asks the process over its own sockets, as clients and Brokers do. What has ended in order is not asked.
func (a *app) alive(ctx context.Context) error {
	if !a.served.Load() {
		if err := a.turnAnswers(ctx); err != nil {
			return fmt.Errorf("the TURN server: %w", err)
		}
	}
	if a.draining() { // the webhooks may close at any moment
		return nil
	}
	if err := a.hooks.Alive(ctx); err != nil && !a.draining() {
		return fmt.Errorf("the webhooks: %w", err)
	}
	return nil
}

// turnAnswers makes a Binding exchange with a listener, and tries again until ctx ends. Where clients on this machine use
// up the rate limit of its address, it is enough that the limit is being applied.
func (a *app) turnAnswers(ctx context.Context) error {
	l := a.turn.Listeners()[0]
	ip := l.Addr.Addr()
	switch {
	case ip == netip.IPv6Unspecified():
		ip = netip.IPv6Loopback()
	case ip.IsUnspecified():
		ip = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	limited := a.turn.Stats().Limited
	for {
		err := binding(ctx, l.Transport, netip.AddrPortFrom(ip, l.Addr.Port()).String())
		if err == nil || a.turn.Stats().Limited > limited || a.served.Load() {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func binding(ctx context.Context, transport, addr string) error {
	c, err := turnclient.Dial(ctx, turnclient.Options{Transport: transport, Addr: addr, Timeout: 2 * time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Binding(ctx)
	return err
}
