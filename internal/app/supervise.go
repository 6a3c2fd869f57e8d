package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/listen"
	"github.com/crolang-p2p/crolang-aio/internal/plural"
	"github.com/crolang-p2p/crolang-aio/internal/systemd"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

const (
	statusEvery   = 5 * time.Second
	drainingEvery = time.Second
	// linger is what Brokers are given to let go of the connections that they keep, where another process goes on
	// listening for this one: Node.js keeps idle ones for 5 s.
	linger = 6 * time.Second
	// StopWithin is what the end takes at most beside drain_timeout.
	StopWithin = 25 * time.Second
)

// supervisor is this process's side of systemd, or of whatever supervises in its manner.
type supervisor struct {
	*parts
	life    *life
	log     *slog.Logger
	notify  *systemd.Notifier // nil: there is nobody to tell
	sockets *systemd.Sockets  // nil: none were passed

	mu      sync.Mutex
	failing bool // the last message could not be sent
}

// open looks for a supervisor and for the sockets that it passes.
func (s *supervisor) open() (err error) {
	var errNotify error
	s.notify, errNotify = systemd.NewNotifier()
	s.sockets, err = systemd.NewSockets()
	return errors.Join(errNotify, err)
}

// passed returns the socket that was passed for a listener, or nil if there is none and the address is to be bound. decided
// reports that the configuration has a secret for it, or wants none whatever the address.
func (s *supervisor) passed(name, key, address string, decided bool) (*net.TCPListener, error) {
	got := s.sockets.Take(name, address)
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
		s.log.Warn("the socket that was passed is at another address than the configured one, by which other commands go",
			"key", key, "configured", address, "passed", at)
	}
	return got[0], nil
}

// passedTURN returns the TCP sockets that were passed for the TURN server.
func (s *supervisor) passedTURN(t config.Turn) []*net.TCPListener {
	if !slices.Contains(t.Transports, "tcp") && !slices.Contains(t.Transports, "tls") {
		return nil
	}
	return append(s.sockets.Take(systemd.NameTURN, t.Listen...), s.sockets.Take(systemd.NameTURNTLS, t.ListenTLS...)...)
}

// closeUnused refuses sockets that nothing listens on: clients would wait there for ever.
func (s *supervisor) closeUnused() error { return s.sockets.Close() }

// tell sends a message to the supervisor. A failure is logged once.
func (s *supervisor) tell(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil && !s.failing {
		s.log.Warn("the supervisor is not told how this process is", "error", err)
	}
	s.failing = err != nil
}

// run tells the supervisor that all listeners are up, how the process is, and that it ends, until ctx ends.
func (s *supervisor) run(ctx context.Context) {
	n := s.notify
	if n == nil {
		return
	}
	said := s.statusLine()
	s.tell(n.Ready(said))
	var watching sync.WaitGroup
	watching.Go(func() { s.watchdog(ctx) })
	defer watching.Wait()
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	ending := s.life.ending
	for {
		select {
		case <-ctx.Done():
			return
		case <-ending:
			ending = nil
			tick.Reset(drainingEvery)
		case <-tick.C:
		}
		line := s.statusLine()
		if p, ok := s.turn.Draining(); ok {
			s.tell(n.Stopping(line, p.Left+StopWithin))
		} else if line != said {
			s.tell(n.Status(line))
		}
		said = line
	}
}

// statusLine is how the process is, in a line for a human.
func (s *supervisor) statusLine() string {
	if p, ok := s.turn.Draining(); ok {
		return fmt.Sprintf("Draining: %s, %.0f s left.", plural.Of(p.Allocations, "live allocation"), p.Left.Seconds())
	}
	return fmt.Sprintf("%s, %s connected.", plural.Of(s.turn.Live(), "live allocation"), plural.Of(s.nodes.Stats().Connected, "Node"))
}

// reloading tells the supervisor of a reload; the returned func says that it is over.
func (s *supervisor) reloading() (done func()) {
	if s.notify == nil || s.life.draining() {
		return func() {}
	}
	s.tell(s.notify.Reloading())
	return func() { s.tell(s.notify.Ready(s.statusLine())) }
}

// watchdog says that the process lives for as long as it answers clients, Brokers and Nodes.
func (s *supervisor) watchdog(ctx context.Context) {
	every := s.notify.Watchdog() / 2
	if every <= 0 {
		return
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		try, cancel := context.WithTimeout(ctx, every)
		err := s.alive(try)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.log.Error("the process does not answer itself: the supervisor will restart it if that lasts", "error", err)
		default:
			s.tell(s.notify.Alive())
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// alive asks the process over its own sockets, as clients, Brokers and Nodes do. What has ended in order is not asked.
func (s *supervisor) alive(ctx context.Context) error {
	if !s.life.served.Load() {
		if err := s.turnAnswers(ctx); err != nil {
			return fmt.Errorf("the TURN server: %w", err)
		}
	}
	if s.life.draining() { // the webhooks may close at any moment
		return nil
	}
	if err := s.hooks.Alive(ctx); err != nil && !s.life.draining() {
		return fmt.Errorf("the webhooks: %w", err)
	}
	if s.broker == nil {
		return nil
	}
	if err := s.broker.Alive(ctx); err != nil && !s.life.draining() {
		return fmt.Errorf("the Broker: %w", err)
	}
	return nil
}

// turnAnswers makes a Binding exchange with a listener, and tries again until ctx ends. Where clients on this machine use
// up the rate limit of its address, it is enough that the limit is being applied.
func (s *supervisor) turnAnswers(ctx context.Context) error {
	l := s.turn.Listeners()[0]
	at, _ := listen.Bound(l.Addr).Nearby()
	limited := s.turn.Stats().Limited
	for {
		err := binding(ctx, l.Transport, at.String())
		if err == nil || s.turn.Stats().Limited > limited || s.life.served.Load() {
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
