package webguard

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/household"
)

// connSet is the listener as the server sees it, and every connection that came over it. Beyond the limit the newest is
// never the one refused: of those that have not carried an authorised request the oldest goes of the source that has most
// of them, else the one that is idle longest, so that a stranger who opens connections and says nothing cannot lock a
// Broker out, nor other strangers. If all are busy with authorised requests, the new one waits.
type connSet struct {
	net.Listener
	limit  int
	closed chan struct{}
	freed  chan struct{} // poked when a connection ends or becomes idle
	once   sync.Once

	mu        sync.Mutex
	conns     map[*conn]struct{}
	sources   map[netip.Prefix]*source
	displaced uint64
}

// source is where strangers come from.
type source struct {
	at        netip.Prefix
	strangers int // connections without an authorised request; guarded by the set's lock
}

// conn is one connection.
type conn struct {
	net.Conn
	set     *connSet
	from    *source // nil: it has left the set, or is no stranger's; guarded by the set's lock
	opened  time.Time
	trusted atomic.Bool  // an authorised request came over it
	state   atomic.Int32 // http.ConnState
	since   atomic.Int64 // when state was set, UnixNano
	once    sync.Once
}

func newConnSet(listener net.Listener, limit int) *connSet {
	return &connSet{
		Listener: listener,
		limit:    limit,
		closed:   make(chan struct{}),
		freed:    make(chan struct{}, 1),
		conns:    map[*conn]struct{}{},
		sources:  map[netip.Prefix]*source{},
	}
}

// Accept makes room for the connection that it returns.
func (s *connSet) Accept() (net.Conn, error) {
	accepted, err := s.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: accepted, set: s, opened: time.Now()}
	for !s.add(c) {
		select {
		case <-s.freed:
		case <-s.closed:
			_ = accepted.Close()
			return nil, net.ErrClosed
		}
	}
	return c, nil
}

// add takes c in if there is room, or room can be made.
func (s *connSet) add(c *conn) bool {
	s.mu.Lock()
	var victim *conn
	if len(s.conns) >= s.limit {
		if victim = s.victim(); victim == nil {
			s.mu.Unlock()
			return false
		}
		s.forget(victim)
		s.displaced++
	}
	s.conns[c] = struct{}{}
	s.enter(c)
	s.mu.Unlock()
	if victim != nil {
		victim.abort()
	}
	return true
}

// enter counts c as a stranger of its source. Called with mu held, as the following are.
func (s *connSet) enter(c *conn) {
	at, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	key := household.Of(at.Addr())
	if c.from = s.sources[key]; c.from == nil {
		c.from = &source{at: key}
		s.sources[key] = c.from
	}
	c.from.strangers++
}

// withdraw undoes enter.
func (s *connSet) withdraw(c *conn) {
	if c.from == nil {
		return
	}
	if c.from.strangers--; c.from.strangers == 0 {
		delete(s.sources, c.from.at)
	}
	c.from = nil
}

// forget takes c out of the set.
func (s *connSet) forget(c *conn) {
	s.withdraw(c)
	delete(s.conns, c)
}

// victim returns the connection to close in favour of a new one, nil if none may be closed.
func (s *connSet) victim() *conn {
	var stranger, idle *conn
	for c := range s.conns {
		switch {
		case c.from != nil:
			if stranger == nil || c.from.strangers > stranger.from.strangers ||
				c.from.strangers == stranger.from.strangers && c.opened.Before(stranger.opened) {
				stranger = c
			}
		case http.ConnState(c.state.Load()) == http.StateIdle:
			if idle == nil || c.since.Load() < idle.since.Load() {
				idle = c
			}
		}
	}
	if stranger != nil {
		return stranger
	}
	return idle
}

// Close ends accepting; connections stay.
func (s *connSet) Close() error {
	err := error(nil)
	s.once.Do(func() {
		close(s.closed)
		err = s.Listener.Close()
	})
	return err
}

// firstRequest is how long a new connection may take to send its request when the listener closes.
const firstRequest = 250 * time.Millisecond

// closeUnused closes each connection over which nothing has come for firstRequest.
func (s *connSet) closeUnused() {
	for {
		wait := time.Duration(0)
		s.mu.Lock()
		for c := range s.conns {
			if http.ConnState(c.state.Load()) != http.StateNew {
				continue
			}
			if age := time.Since(c.opened); age < firstRequest {
				wait = 5 * time.Millisecond
			} else {
				_ = c.Conn.Close() // its own goroutine then calls Close, which wants the lock
			}
		}
		s.mu.Unlock()
		if wait == 0 {
			return
		}
		time.Sleep(wait)
	}
}

// kept reports whether there is a connection that carried authorised requests.
func (s *connSet) kept() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.trusted.Load() {
			return true
		}
	}
	return false
}

func (s *connSet) poke() {
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// Close closes the connection and gives its place back.
func (c *conn) Close() error {
	c.leave()
	return c.Conn.Close()
}

// leave gives the place back.
func (c *conn) leave() {
	c.once.Do(func() {
		c.set.mu.Lock()
		c.set.forget(c)
		c.set.mu.Unlock()
		c.set.poke()
	})
}

// abort ends the connection without waiting for anything.
func (c *conn) abort() {
	if hard, ok := c.Conn.(interface{ Abort() }); ok {
		hard.Abort() // what serves it closes it then
		return
	}
	_ = c.Close()
}

// NetConn is the connection below.
func (c *conn) NetConn() net.Conn { return c.Conn }

// CloseWrite lets the server end its half of a connection first, so that an answer sent before the request's body was
// read is not lost to a reset.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, underTLS(c))
}

// Accepted is the connection of a request that a Guard serves, as its listener has returned it; nil elsewhere.
func Accepted(r *http.Request) net.Conn {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		return c.Conn
	}
	return nil
}

// trust notes that an authorised request came over r's connection.
func trust(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok && !c.trusted.Load() {
		c.trusted.Store(true)
		c.set.mu.Lock()
		c.set.withdraw(c)
		c.set.mu.Unlock()
	}
}

// abandonTime is how long an abandoned connection stays open for its client to read the answer.
const abandonTime = 500 * time.Millisecond

// Abandon ends r's connection after an answer that was sent already, for a handler that cannot find the end of the
// request. It does not return. The client is left some time to read the answer, which a reset would take from it.
func Abandon(r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		_ = c.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(abandonTime))
		_, _ = io.Copy(io.Discard, c.Conn)
	}
	panic(http.ErrAbortHandler)
}

func (g *Guard) connState(nc net.Conn, state http.ConnState) {
	c, ok := underTLS(nc).(*conn)
	if !ok {
		return
	}
	g.countHandshake(nc, state)
	c.state.Store(int32(state))
	switch state {
	case http.StateNew:
		g.open.Add(1)
	case http.StateIdle:
		c.since.Store(time.Now().UnixNano())
		g.conns.poke()
	case http.StateClosed:
		g.open.Done()
	case http.StateHijacked: // it is the handler's to bound now
		c.leave()
		g.open.Done()
	case http.StateActive:
	}
}
