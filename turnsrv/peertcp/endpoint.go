package peertcp

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Endpoint is a TCP relayed transport address. Make it with [Listen], then [Endpoint.Serve] it, and Close it. It is safe
// for concurrent use.
type Endpoint struct {
	cfg   Config
	l     *net.TCPListener
	ended chan struct{} // closed by Close
	work  sync.WaitGroup

	mu     sync.Mutex
	conns  map[netip.AddrPort]*Conn
	closed bool
}

// Listen binds an Endpoint. ok is false without an error if somebody else has the port.
func Listen(cfg Config) (e *Endpoint, ok bool, err error) {
	l, ok, err := listen(cfg.Addr)
	if !ok || err != nil {
		return nil, false, err
	}
	if cfg.Files > 0 && descriptor(l) >= cfg.Files {
		l.Close()
		return nil, false, ErrFiles
	}
	return &Endpoint{cfg: cfg, l: l, ended: make(chan struct{}), conns: make(map[netip.AddrPort]*Conn)}, true, nil
}

// Serve begins to take connections. It does not wait.
func (e *Endpoint) Serve() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return ErrClosed
	}
	e.work.Add(1)
	go e.accept()
	return nil
}

// The pauses after an accept that failed.
const (
	firstPause   = 5 * time.Millisecond
	longestPause = time.Second
)

func (e *Endpoint) accept() {
	defer e.work.Done()
	pause := time.Duration(0)
	for {
		sock, err := e.l.AcceptTCP()
		if err == nil {
			pause = 0
			e.came(sock)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		pause = min(max(2*pause, firstPause), longestPause)
		select {
		case <-e.ended:
			return
		case <-time.After(pause):
		}
	}
}

func (e *Endpoint) came(sock *net.TCPConn) {
	defer e.contain(func() { reset(sock) })
	from := unmapped(sock.RemoteAddr())
	if !e.offer(sock, from, false) {
		reset(sock)
	}
}

// offer takes a connection that a peer has made, and reports whether it may stay.
func (e *Endpoint) offer(sock *net.TCPConn, from netip.AddrPort, local bool) bool {
	if !e.cfg.Accept(from, local) {
		return false
	}
	e.mu.Lock()
	c, err := e.enter(from, local)
	e.mu.Unlock()
	if err == nil && !c.made(sock) {
		c.cut()
		err = ErrFiles
	}
	if err != nil {
		e.cfg.Refused()
		return false
	}
	e.cfg.Came(from, c.id)
	return true
}

// enter gives a connection its place. Called with mu held.
func (e *Endpoint) enter(peer netip.AddrPort, local bool) (*Conn, error) {
	switch {
	case e.closed:
		return nil, ErrClosed
	case e.conns[peer] != nil:
		return nil, ErrExists
	case len(e.conns) >= MaxConns:
		return nil, ErrFull
	case !e.cfg.Budget.Take(ConnCost):
		return nil, ErrBudget
	}
	c := &Conn{e: e, peer: peer, local: local, over: make(chan struct{}), downOver: make(chan struct{})}
	c.due.Store(e.cfg.Now() + int64(Patience))
	e.conns[peer] = c
	return c, nil
}

// Connect connects to a peer, from this address. If it returns no error, done is called once, from another goroutine, when
// the connection is there or could not be made. via is the peer if that is an Endpoint of this process, which then sees
// the connection come from the address as; else it is nil.
func (e *Endpoint) Connect(peer netip.AddrPort, via *Endpoint, as netip.AddrPort, done func(id uint32, err error)) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, err := e.enter(peer, via != nil)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	e.work.Add(1)
	go func() {
		defer e.work.Done()
		defer cancel()
		defer e.contain(c.cut)
		err := c.connect(ctx, via, as)
		if err != nil {
			c.cut()
		}
		done(c.id, err)
	}()
	return nil
}

// Close ends every connection and attempt, and waits for all goroutines. When it returns, no byte passes any more, and
// the port is free. It must not be called from a function of the Config.
func (e *Endpoint) Close() {
	e.mu.Lock()
	if !e.closed {
		e.closed = true
		close(e.ended)
	}
	e.mu.Unlock()
	e.l.Close()
	for _, c := range e.all() {
		c.cut()
	}
	e.work.Wait()
}

// Restrict ends the connections and attempts whose peers may not be reached any more, and waits until nothing of theirs
// passes. may must be quick; local: the peer is a relay of this server.
func (e *Endpoint) Restrict(may func(peer netip.AddrPort, local bool) bool) {
	for _, c := range e.all() {
		if !may(c.peer, c.local) {
			c.cut()
			c.await()
		}
	}
}

// Sweep ends what has taken too long by now.
func (e *Endpoint) Sweep(now int64) {
	for _, c := range e.all() {
		if c.overdue(now) {
			c.late.Store(true)
			c.cut()
		}
	}
}

// Len is how many connections there are, whatever has become of them.
func (e *Endpoint) Len() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.conns)
}

// Reaches reports whether there is a connection with a peer at ip.
func (e *Endpoint) Reaches(ip netip.Addr) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for peer := range e.conns {
		if peer.Addr() == ip {
			return true
		}
	}
	return false
}

func (e *Endpoint) all() []*Conn {
	e.mu.Lock()
	defer e.mu.Unlock()
	all := make([]*Conn, 0, len(e.conns))
	for _, c := range e.conns {
		all = append(all, c)
	}
	return all
}

// contain is to be deferred: after a panic it calls end.
func (e *Endpoint) contain(end func()) {
	if cause := recover(); cause != nil {
		e.cfg.Panicked(cause)
		end()
	}
}

// reset closes a connection at once; what has not left this machine is dropped.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	c.Close()
}

func unmapped(a net.Addr) netip.AddrPort {
	t, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	p := t.AddrPort()
	return netip.AddrPortFrom(p.Addr().Unmap(), p.Port())
}
