package peertcp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Conn is a connection with a peer. Its methods, but for Close and Interrupt, are for the goroutine that serves the client.
type Conn struct {
	e     *Endpoint
	id    uint32 // 0 until it waits for its client
	peer  netip.AddrPort
	local bool // the peer is a relay of this server

	cancel context.CancelFunc // of the attempt; of Endpoint.mu
	due    atomic.Int64       // when it must have got on; 0: never
	late   atomic.Bool        // Sweep has ended it

	mu     sync.Mutex
	sock   *net.TCPConn // nil while the attempt lasts
	taken  bool         // claimed for a client
	client Client       // nil until Start
	gone   bool
	over   chan struct{} // closed when gone

	// downOver is closed when nothing more comes from the peer, and started when a goroutine sees to that.
	downOver chan struct{}
	started  bool
	half     atomic.Int64    // directions that have ended
	heard    atomic.Int64    // when a piece last came
	blocked  [2]atomic.Int64 // since when a piece waits to be taken, up and down; 0: none does
	broken   atomic.Bool     // no clean end
}

// connect makes the connection.
func (c *Conn) connect(ctx context.Context, via *Endpoint, as netip.AddrPort) error {
	var sock *net.TCPConn
	var err error
	if via == nil {
		sock, err = dial(ctx, c.e.cfg.Addr, c.peer)
	} else {
		sock, err = c.e.reach(ctx, via, as)
	}
	switch {
	case err != nil && c.late.Load():
		return errTimeout
	case err != nil:
		return err
	case !c.made(sock):
		reset(sock)
		if c.late.Load() {
			return errTimeout
		}
		return ErrFiles
	}
	return nil
}

// reach makes a connection to another Endpoint of this process. What passes over it does not depend on how, or whether,
// this machine reaches the address under which others know it.
func (e *Endpoint) reach(ctx context.Context, via *Endpoint, as netip.AddrPort) (*net.TCPConn, error) {
	mine, other, err := loop(ctx)
	if err != nil {
		return nil, err
	}
	if !via.offer(other, as, true) {
		reset(mine)
		reset(other)
		return nil, errRefused
	}
	return mine, nil
}

// loop makes two ends of one connection.
func loop(ctx context.Context) (one, other *net.TCPConn, err error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		if l, err = net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv6loopback}); err != nil {
			return nil, nil, err
		}
	}
	defer l.Close()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	c, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	if err != nil {
		return nil, nil, err
	}
	one = c.(*net.TCPConn)
	for {
		other, err = l.AcceptTCP()
		if err != nil {
			one.Close()
			return nil, nil, err
		}
		if other.RemoteAddr().String() == one.LocalAddr().String() {
			return one, other, nil
		}
		other.Close() // somebody else on this machine was quicker
	}
}

// made notes that the connection is there and begins to wait for its client. It reports false, and leaves sock alone, if
// it may not stay.
func (c *Conn) made(sock *net.TCPConn) bool {
	if c.e.cfg.Files > 0 && descriptor(sock) >= c.e.cfg.Files {
		return false
	}
	prepare(sock)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return false
	}
	c.sock = sock
	c.due.Store(c.e.cfg.Now() + int64(Patience))
	c.e.cfg.Hub.add(c)
	return true
}

// claim takes the connection for a client.
func (c *Conn) claim() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone || c.taken || c.sock == nil {
		return false
	}
	c.taken = true
	return true
}

// Start lets bytes pass to the client. It is called once, when the client has been told of its success.
func (c *Conn) Start(client Client) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return ErrClosed
	}
	c.client, c.started = client, true
	c.heard.Store(c.e.cfg.Now())
	c.due.Store(0)
	c.e.work.Add(1) // not gone, so that Close has still to wait
	go c.down()
	return nil
}

// Write passes on what the client has sent. It waits until the peer has taken all of it. After an error the caller closes
// the Conn.
func (c *Conn) Write(b []byte) error {
	for len(b) > 0 {
		piece := b[:min(len(b), Piece)]
		b = b[len(piece):]
		if err := c.pass(true, piece, c.toPeer); err != nil {
			c.broken.Store(true)
			return err
		}
	}
	return nil
}

func (c *Conn) toPeer(b []byte) error {
	_, err := c.sock.Write(b)
	return err
}

// pass waits until a piece may pass, and has been taken.
func (c *Conn) pass(up bool, piece []byte, write func([]byte) error) error {
	c.heard.Store(c.e.cfg.Now())
	for {
		wait := c.e.cfg.Pace(up, len(piece))
		if wait <= 0 {
			break
		}
		select {
		case <-c.over:
			return errCut
		case <-time.After(wait):
			c.heard.Store(c.e.cfg.Now())
		}
	}
	blocked := &c.blocked[0]
	if !up {
		blocked = &c.blocked[1]
	}
	blocked.Store(max(1, c.e.cfg.Now()))
	err := write(piece)
	blocked.Store(0)
	if err == nil {
		c.e.cfg.Passed(up, len(piece))
	}
	return err
}

// End tells the peer that the client sends nothing more, and waits until the peer sends nothing more either.
func (c *Conn) End() {
	c.half.Add(1)
	c.heard.Store(c.e.cfg.Now())
	if c.sock.CloseWrite() != nil {
		return
	}
	select {
	case <-c.downOver:
	case <-c.over:
	}
}

// down passes on what the peer sends, to its end.
func (c *Conn) down() {
	defer c.e.work.Done()
	defer close(c.downOver)
	defer c.e.contain(func() { c.broken.Store(true); c.cut() })
	raw, err := c.sock.SyscallConn()
	for err == nil {
		err = c.receive(raw)
	}
	if errors.Is(err, io.EOF) {
		c.half.Add(1)
		c.heard.Store(c.e.cfg.Now())
		if c.client.CloseWrite() == nil {
			return
		}
	}
	c.broken.Store(true)
	c.cut()
}

// receive waits for something from the peer and passes it on. A buffer is held only while there is something in it.
func (c *Conn) receive(raw syscall.RawConn) error {
	piece, n, err := read(raw, c.sock)
	if piece == nil {
		return err
	}
	defer buffers.Put(piece)
	if err == nil {
		err = c.pass(false, piece[:n], c.client.Write)
	}
	return err
}

var buffers = sync.Pool{New: func() any { return new([Piece]byte) }}

// overdue reports whether the connection has taken too long for something.
func (c *Conn) overdue(now int64) bool {
	if due := c.due.Load(); due != 0 {
		return now > due
	}
	if c.half.Load() > 0 && now-c.heard.Load() > int64(Linger) {
		return true
	}
	for i := range c.blocked {
		if since := c.blocked[i].Load(); since != 0 && now-since > int64(Stalled) {
			return true
		}
	}
	return false
}

// Interrupt has the goroutine that serves the client come back from Write or End soon, with an error. It does not wait.
func (c *Conn) Interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.broken.Store(true)
	c.leave()
	if c.sock != nil {
		_ = c.sock.SetDeadline(time.Unix(1, 0))
	}
}

// leave ends what waits for nothing but time. Called with mu held.
func (c *Conn) leave() {
	if !c.gone {
		c.gone = true
		close(c.over)
	}
}

// Close ends the connection when its client's has ended, and waits for its goroutine. After two clean ends it lets the
// peer have all that was sent; else the peer's is cut.
func (c *Conn) Close() {
	c.mu.Lock()
	clean := c.half.Load() == 2 && !c.broken.Load()
	c.leave()
	sock, client := c.sock, c.client
	c.mu.Unlock()
	c.forget()
	if !clean {
		_ = sock.SetLinger(0)
	}
	sock.Close()
	if !clean && client != nil {
		client.Abort()
	}
	c.await()
}

// await waits until nothing more comes from the peer.
func (c *Conn) await() {
	c.mu.Lock()
	started := c.started
	c.mu.Unlock()
	if started {
		<-c.downOver
	}
}

// cut ends the connection at once, with its client's.
func (c *Conn) cut() {
	c.mu.Lock()
	c.leave()
	sock, client := c.sock, c.client
	c.mu.Unlock()
	c.forget()
	if sock != nil {
		reset(sock)
	}
	if client != nil {
		client.Abort()
	}
}

// forget gives up the connection's place and ends the attempt.
func (c *Conn) forget() {
	c.e.cfg.Hub.remove(c)
	c.e.mu.Lock()
	if c.e.conns[c.peer] == c {
		delete(c.e.conns, c.peer)
		c.e.cfg.Budget.Give(ConnCost)
	}
	cancel := c.cancel
	c.e.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}
