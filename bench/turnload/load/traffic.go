package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"
)

const (
	refreshEvery = 2 * time.Minute        // permissions last five
	drain        = 300 * time.Millisecond // what is under way at the end still counts as delivered
	settle       = 50 * time.Millisecond  // until the first datagram, so that all clients start by the same clock
)

// traffic runs the goroutines of all clients: one or two that receive, one that sends.
func (r *run) traffic(ctx context.Context, clients []*client, res *Result) error {
	begin := r.now() + int64(settle)
	r.from = begin + int64(r.Warmup)
	r.to = r.from + int64(r.Duration)
	var receivers, senders sync.WaitGroup
	turns := make([][]*sender, min(r.Senders, len(clients)))
	if r.crowd != nil {
		r.crowd.receive(clients, &receivers)
	}
	for i, c := range clients {
		if r.crowd == nil {
			r.receive(c, &receivers)
		}
		s := r.sender(c, i, begin)
		if n := len(turns); n > 0 {
			turns[i%n] = append(turns[i%n], s)
		} else {
			senders.Go(s.run)
		}
	}
	for i, all := range turns {
		pace := &sender{r: r, gap: all[0].gap / float64(len(all)), next: float64(begin)}
		if !r.Together {
			pace.next += pace.gap * float64(i) / float64(len(turns))
		}
		senders.Go(func() { pace.turns(all) })
	}
	r.Progress(fmt.Sprintf("%d clients, warm-up %v, measuring for %v", len(clients), r.Warmup, r.Duration))
	before, after, err := r.measure(ctx, clients)

	r.stopped.Store(true)
	for _, s := range r.sockets(clients) { // a sender may wait for a stream that takes no more
		_ = s.SetWriteDeadline(time.Now().Add(drain))
	}
	senders.Wait()
	if err == nil {
		err = wait(ctx, drain)
	}
	for _, s := range r.sockets(clients) {
		_ = s.SetReadDeadline(time.Now())
	}
	receivers.Wait()
	if err != nil {
		return err
	}
	res.traffic(r, before, after)
	if res.Delivered == 0 {
		return r.nothing()
	}
	return nil
}

// sockets are those of clients and peers.
func (r *run) sockets(clients []*client) (all []net.Conn) {
	if r.crowd != nil {
		for _, s := range slices.Concat(r.crowd.clients, r.crowd.peers) {
			all = append(all, s.conn)
		}
		return all
	}
	for _, c := range clients {
		all = append(all, c.conn, c.peer)
	}
	return all
}

// measure waits for the beginning and the end of the measurement and takes the server's cost at both. In between it
// keeps the allocations alive.
func (r *run) measure(ctx context.Context, clients []*client) (before, after snapshot, err error) {
	at := func(ns int64) error { return wait(ctx, time.Duration(ns-r.now())) }
	if err = at(r.from); err != nil {
		return
	}
	if before, err = r.snapshot(); err != nil {
		return
	}
	for next := r.now() + int64(refreshEvery); next < r.to; next += int64(refreshEvery) {
		if err = at(next); err != nil {
			return
		}
		for _, c := range clients {
			if err = c.refresh(); err != nil {
				return before, after, fmt.Errorf("keeping an allocation alive: %w", err)
			}
		}
	}
	if err = at(r.to); err != nil {
		return
	}
	after, err = r.snapshot()
	return
}

// nothing explains a run that delivered nothing.
func (r *run) nothing() error {
	if p := r.lastErr.Load(); p != nil {
		return fmt.Errorf("nothing was delivered; sending failed %d times, last: %w", r.sendErrs.Load(), *p)
	}
	return errors.New("nothing was delivered: the server takes the allocations but no datagram came through; " +
		"can the server reach this machine's peers, and they its relay ports (-peer, firewalls, NAT)?")
}

// failed counts an error of sending. Where it is more than a full buffer the sender pauses; false: the socket is gone.
func (r *run) failed(err error) bool {
	r.sendErrs.Add(1)
	r.lastErr.Store(&err)
	if r.stopped.Load() || errors.Is(err, net.ErrClosed) {
		return false
	}
	time.Sleep(time.Millisecond)
	return true
}
