package control

import (
	"errors"
	"fmt"
	"net"
	"runtime"
	"sync"
	"time"

	"github.com/pion/logging"
	"github.com/pion/turn/v4"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// errEngineClosed is the error of a request that comes after the engine has ended.
var errEngineClosed = errors.New("the TURN engine has ended")

const (
	engineMTU   = 1 << 10 // more than a rebuilt Allocate or Refresh has
	engineUser  = "session"
	engineRealm = "engine"
)

// engine drives one pion/turn server through a net.PacketConn of its own. pion keeps the allocations and the timers
// that end them, and never sees a client's packet. Each request that reaches it has been decided on and is rebuilt
// here, with a name and key of this process and from an address that stands for one leg, so that a late timer can
// never hit the same client's next allocation. Permissions and channels are the data plane's alone: pion searches all
// channels for each ChannelBind.
//
// pion reads, handles and answers one request at a time, so the generator knows which leg it is asked for.
type engine struct {
	server *turn.Server
	key    []byte
	conn   *engineConn

	mu    sync.Mutex // held for the length of one request
	nonce []byte
	buf   []byte
	cur   *leg

	onPanic func(any)

	index sync.Mutex
	live  map[uint64]*leg
}

var errPanicked = errors.New("a panic was stopped")

func newEngine(log logging.LeveledLogger, onPanic func(any)) (*engine, error) {
	e := &engine{
		onPanic: onPanic,
		key:     turn.GenerateAuthKey(engineUser, engineRealm, "internal"),
		conn:    newEngineConn(),
		live:    make(map[uint64]*leg),
	}
	server, err := turn.NewServer(turn.ServerConfig{
		Realm:         engineRealm,
		LoggerFactory: oneLogger{log},
		InboundMTU:    engineMTU,
		AuthHandler:   func(string, string, net.Addr) ([]byte, bool) { return e.key, true },
		PacketConnConfigs: []turn.PacketConnConfig{{
			PacketConn: e.conn, RelayAddressGenerator: (*generator)(e), PermissionHandler: turn.DefaultPermissionHandler,
		}},
		EventHandler: turn.EventHandler{
			OnAllocationDeleted: func(src, _ net.Addr, _, _, _ string) {
				defer e.contain()
				if l := e.forget(src); l != nil {
					l.end(causeExpired)
				}
			},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("starting the TURN engine: %w", err)
	}
	e.server = server
	return e, nil
}

// do passes one rebuilt request of l to pion and returns the code of its error answer, or 0 for success. An error is
// errEngineClosed, or says that pion gave no answer, as it does for a leg that it has let go.
func (e *engine) do(l *leg, t stunmsg.Type, add func(*stunmsg.Builder)) (code int, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.cur = l
	defer func() { e.cur = nil }()
	for try := 0; ; try++ {
		var txid [12]byte
		w := stunmsg.Begin(e.buf, t, txid[:])
		add(w)
		if e.nonce != nil {
			w.String(stunmsg.AttrUsername, engineUser).String(stunmsg.AttrRealm, engineRealm).
				Attr(stunmsg.AttrNonce, e.nonce).Integrity(e.key)
		}
		raw := w.Bytes()
		if raw == nil {
			return 0, fmt.Errorf("%s: %w", t, w.Err())
		}
		e.buf = raw
		reply, err := e.conn.exchange(e.buf, &l.addr)
		if err != nil {
			return 0, err
		}
		var m stunmsg.Message
		if len(reply) == 0 || m.Parse(reply) != nil {
			return 0, fmt.Errorf("pion gave no answer to %s", t)
		}
		if m.Type == t.Success() {
			return 0, nil
		}
		v, ok := m.Get(stunmsg.AttrErrorCode)
		if !ok || len(v) < 4 {
			return 0, fmt.Errorf("pion refused %s without a code", t)
		}
		code = int(v[2])*100 + int(v[3])
		if nonce, ok := m.Get(stunmsg.AttrNonce); ok && try < 2 && (code == 401 || code == 438) {
			e.nonce = append(e.nonce[:0], nonce...)
			continue
		}
		return code, nil
	}
}

func (e *engine) add(l *leg) {
	e.index.Lock()
	defer e.index.Unlock()
	e.live[l.number()] = l
}

func (e *engine) forget(src net.Addr) *leg {
	e.index.Lock()
	defer e.index.Unlock()
	n := legNumber(src)
	l := e.live[n]
	delete(e.live, n)
	return l
}

// contain is deferred by what pion calls on its own goroutines. A panic in pion's own code there would end the process,
// as only pion could recover it; pion handles nothing but requests that control has rebuilt.
func (e *engine) contain() {
	if cause := recover(); cause != nil {
		e.onPanic(cause)
	}
}

// close ends the server and waits for its loop. Every session must have ended before.
func (e *engine) close() error {
	err := e.server.Close()
	<-e.conn.ended
	return err
}

// generator hands pion the relay that control has opened for the leg whose request is being handled.
type generator engine

// Validate is part of pion's interface.
func (g *generator) Validate() error { return nil }

// AllocatePacketConn is called by pion within do, which holds the lock.
func (g *generator) AllocatePacketConn(string, int) (conn net.PacketConn, addr net.Addr, err error) {
	err = errPanicked
	defer (*engine)(g).contain()
	if g.cur == nil || g.cur.relay == nil {
		return nil, nil, errors.New("no relay was opened for this request")
	}
	return relayConn{}, net.UDPAddrFromAddrPort(g.cur.relay.Addr()), nil
}

// AllocateConn is part of pion's interface; there are no TCP relays (RFC 6062).
func (g *generator) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, errors.New("no TCP relays")
}

// engineAddr stands for the server's end of every leg; pion only compares it.
var engineAddr = &net.UDPAddr{IP: net.IPv6loopback}

// relayConn is what pion has in place of a relay's socket, which belongs to the data plane. It neither reads nor
// writes.
type relayConn struct{}

// ReadFrom ends pion's reader of this relay, since the data plane does the reading. Without that goroutine and its
// buffer an idle allocation takes 4 kB less, and no stale reader can delete an allocation by its address.
func (relayConn) ReadFrom([]byte) (int, net.Addr, error) {
	runtime.Goexit()
	return 0, nil, net.ErrClosed
}

func (relayConn) WriteTo([]byte, net.Addr) (int, error) { return 0, net.ErrClosed }
func (relayConn) Close() error                          { return nil }
func (relayConn) LocalAddr() net.Addr                   { return engineAddr }
func (relayConn) SetDeadline(time.Time) error           { return nil }
func (relayConn) SetReadDeadline(time.Time) error       { return nil }
func (relayConn) SetWriteDeadline(time.Time) error      { return nil }

// engineConn is the net.PacketConn that pion reads requests from. pion's loop calls ReadFrom again when it has
// handled a request: that is how exchange knows that the answer, if any, is there.
type engineConn struct {
	in     chan engineRequest
	done   chan struct{}
	closed chan struct{}
	ended  chan struct{}
	once   sync.Once
	busy   bool   // pion's loop only
	reply  []byte // written by pion's loop between in and done
}

type engineRequest struct {
	raw  []byte
	from net.Addr
}

func newEngineConn() *engineConn {
	return &engineConn{
		in: make(chan engineRequest), done: make(chan struct{}),
		closed: make(chan struct{}), ended: make(chan struct{}),
	}
}

// exchange hands one request to pion and waits until it has been handled. The reply is valid until the next call, and
// empty if pion gave none. Calls must not overlap.
func (c *engineConn) exchange(raw []byte, from net.Addr) ([]byte, error) {
	select {
	case c.in <- engineRequest{raw, from}:
	case <-c.closed:
		return nil, errEngineClosed
	}
	<-c.done
	return c.reply, nil
}

// ReadFrom is called by pion's loop alone.
func (c *engineConn) ReadFrom(b []byte) (int, net.Addr, error) {
	if c.busy {
		c.busy = false
		c.done <- struct{}{}
	}
	select {
	case r := <-c.in:
		c.busy = true
		c.reply = c.reply[:0]
		return copy(b, r.raw), r.from, nil
	case <-c.closed:
		close(c.ended)
		return 0, nil, net.ErrClosed
	}
}

// WriteTo catches pion's answer; it is called within a request only, since pion never has data to relay.
func (c *engineConn) WriteTo(b []byte, _ net.Addr) (int, error) {
	c.reply = append(c.reply[:0], b...)
	return len(b), nil
}

// Close ends pion's loop once the request under way has been handled.
func (c *engineConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return nil
}

func (c *engineConn) LocalAddr() net.Addr              { return engineAddr }
func (c *engineConn) SetDeadline(time.Time) error      { return nil }
func (c *engineConn) SetReadDeadline(time.Time) error  { return nil }
func (c *engineConn) SetWriteDeadline(time.Time) error { return nil }
