package relay

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// buffer is what a stream reads into. It is larger than any frame, and is held only while there is input.
type buffer [bufferSize]byte

const (
	// maxUnproven is the largest frame taken from a client that has not authenticated: with larger ones strangers
	// could make the server keep a lot.
	maxUnproven = 4 << 10
	maxMessage  = 16<<10 + 256 // more than the largest DTLS record
)

// maxEmpty is how many empty records in a row a DTLS client may send.
const maxEmpty = 16

// stream is one client on TCP, TLS or DTLS, and one goroutine: that of ServeStream or ServeMessages.
type stream struct {
	src   Source
	plane *Plane
	conn  net.Conn  // what clear text is written to
	tcp   *Conn     // nil for messages
	tls   *tls.Conn // nil but for TLS
	lane  *lane
	rest  []byte // of an unfinished frame; of the reading goroutine

	relaying      func(bool) // nil: nobody wants to know
	relay         atomic.Pointer[Relay]
	awaited       atomic.Pointer[Relay] // whose client is awaited here
	authenticated atomic.Bool
	opened        int64        // these three in the Plane's coarse time
	heard         atomic.Int64 // last whole frame
	unfinished    atomic.Int64 // since when the frame in rest is; 0: there is none

	ended atomic.Bool
	mu    sync.Mutex // of what follows, and of attaching against the end
	cause string
	err   error
	gone  bool
	write sync.Mutex // of conn, so that frames are not mixed up
}

// Begun is a TLS connection of which some clear text was read already, to find out what the client speaks.
type Begun struct {
	*tls.Conn

	Head []byte // what was read
}

// ServeStream serves a client on TCP or TLS until the connection ends, and closes it. conn is a *net.TCPConn, a *Conn,
// or a *tls.Conn or *Begun over a *Conn whose handshake is done. The stream's relay ends with it. relaying, where it is not nil,
// is called with true when the client gets a relay and with false when it has lost it; it must not block. The error
// says why the stream ended; it is nil if the client or ctx ended it.
func (p *Plane) ServeStream(ctx context.Context, conn net.Conn, t Tuple, relaying func(bool)) error {
	s := &stream{conn: conn, relaying: relaying}
	var err error
	switch c := conn.(type) {
	case *net.TCPConn:
		s.tcp, err = p.NonBlocking(c)
		s.conn = s.tcp
	case *Conn:
		s.tcp = c
	case *tls.Conn:
		s.tls = c
		s.tcp, _ = c.NetConn().(*Conn)
	case *Begun:
		s.conn, s.tls, s.rest = c.Conn, c.Conn, c.Head
		s.tcp, _ = c.NetConn().(*Conn)
	}
	if err == nil && s.tcp == nil {
		err = fmt.Errorf("relay: cannot serve a %T", conn)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = conn.Close()
		return err
	}
	s.tcp.serving = true
	s.tcp.keepInKernel(strangerBacklog)
	return p.serve(ctx, s, t, func() error {
		if err := s.leftover(); err != nil {
			return err
		}
		return s.receive()
	})
}

// ServeMessages serves a client whose connection keeps message boundaries: one DTLS record is one message. Writing to
// conn must not wait. Otherwise it is as ServeStream.
func (p *Plane) ServeMessages(ctx context.Context, conn net.Conn, t Tuple, relaying func(bool)) error {
	s := &stream{conn: conn, relaying: relaying}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		_ = conn.Close()
		return err
	}
	return p.serve(ctx, s, t, s.receiveMessages)
}

// serve is what both have in common: the stream's life around its reading.
func (p *Plane) serve(ctx context.Context, s *stream, t Tuple, receive func() error) error {
	s.plane, s.opened = p, p.served()
	s.src = Source{Tuple: t, plane: p, stream: s}
	s.heard.Store(s.opened)
	p.mu.Lock()
	if p.closed.Load() {
		p.mu.Unlock()
		_ = s.conn.Close()
		return ErrClosed
	}
	s.lane = &p.gate.lanes[p.cfg.Workers+len(p.streams)%p.cfg.Workers]
	p.streams[s] = struct{}{}
	p.serving.Add(1)
	p.mu.Unlock()
	defer p.serving.Done()

	stop := context.AfterFunc(ctx, func() {
		why := "the server ends"
		if err := context.Cause(ctx); !errors.Is(err, context.Canceled) {
			why = err.Error()
		}
		s.end(why, nil)
	})
	err := s.guard(receive)
	stop()
	p.mu.Lock()
	delete(p.streams, s)
	p.mu.Unlock()
	return s.guard(func() error { return s.finish(err) })
}

func (s *stream) attach(r *Relay) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return ErrClosed
	}
	if !s.relay.CompareAndSwap(nil, r) {
		return ErrInUse
	}
	s.changed(true)
	return nil
}

func (s *stream) detach(r *Relay) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.relay.CompareAndSwap(r, nil) {
		return
	}
	s.heard.Store(s.plane.coarse.Load())
	s.changed(false)
}

// changed tells whoever wants to know that the client has a relay now, or has none any more.
func (s *stream) changed(relays bool) {
	if s.tcp != nil {
		s.tcp.relays.Store(relays)
		s.tcp.trust()
	}
	if s.relaying != nil {
		s.relaying(relays)
	}
}

// authenticate notes that the client has shown who it is.
func (s *stream) authenticate() {
	s.authenticated.Store(true)
	if s.tcp != nil {
		s.tcp.trust()
	}
}

// leftover handles what was read from the connection before it was served: by Peek, or by TLS behind the handshake.
func (s *stream) leftover() error {
	if s.tls != nil {
		if err := s.decrypt(); !errors.Is(err, errNoInput) {
			return err
		}
		return nil
	}
	head := s.tcp.head
	s.tcp.head = nil
	return s.consume(head)
}

// decrypt handles the clear text of what has come in over TLS. It ends with errNoInput or something worse.
func (s *stream) decrypt() error {
	buf := s.plane.buffers.Get().(*buffer)
	defer s.plane.buffers.Put(buf)
	n := copy(buf[:], s.rest)
	for {
		// A record is at most 16 KiB: take in several before handling them together.
		got, err := s.tls.Read(buf[n:])
		n += got
		if err == nil && n < len(buf)-(16<<10) {
			continue
		}
		if fault := s.consume(buf[:n]); fault != nil {
			return fault
		}
		if err != nil {
			return err
		}
		n = copy(buf[:], s.rest)
	}
}

// consume handles the whole frames in b and keeps what is behind them.
func (s *stream) consume(b []byte) error {
	all := len(b)
	t, whole := s.plane.borrow(s.lane), false
	defer func() { s.leave(t, whole) }()
	t.enter()
	var fault error
	for fault == nil && len(b) >= stunmsg.ChannelHeader {
		size, err := stunmsg.FrameSize(b)
		if err == nil && size > maxUnproven && !s.authenticated.Load() {
			err = fmt.Errorf("%w: %d bytes from a client that has not authenticated", stunmsg.ErrFrame, size)
		}
		if err != nil {
			fault = err
			break
		}
		if size > len(b) {
			break
		}
		fault = s.frame(t, b[:size])
		b = b[size:]
	}
	t.flush()
	whole = true
	if fault != nil {
		return fault
	}
	s.keep(b, len(b) < all)
	return nil
}

// keep stores the beginning of an unfinished frame. The clock of such a frame starts anew with each one.
func (s *stream) keep(b []byte, progress bool) {
	now := max(s.plane.coarse.Load(), 1)
	if progress {
		s.heard.Store(now)
	}
	switch {
	case len(b) == 0:
		s.unfinished.Store(0)
		if s.rest = s.rest[:0]; cap(s.rest) > 4<<10 {
			s.rest = nil
		}
		return
	case progress || s.unfinished.Load() == 0:
		s.unfinished.Store(now)
	}
	s.rest = append(s.rest[:0], b...)
}

func (s *stream) frame(t *tx, b []byte) error {
	r := s.relay.Load()
	if b[0] < 4 {
		if !stunmsg.IsSTUN(b) {
			return stunmsg.ErrFrame
		}
		t.stun(&s.src, r, b)
		if s.ended.Load() {
			return errStop
		}
		return nil
	}
	if r == nil {
		r = t.arrived(&s.src)
	}
	if r != nil {
		t.channelUp(r, b)
	}
	return nil
}

// receiveMessages is the reading of a DTLS client.
func (s *stream) receiveMessages() error {
	buf := make([]byte, maxMessage)
	for empty := 0; empty <= maxEmpty; {
		n, err := s.conn.Read(buf)
		switch {
		case s.ended.Load():
			return errStop
		case err != nil:
			return err
		case n == 0:
			empty++
			continue
		}
		empty = 0
		s.heard.Store(s.plane.coarse.Load())
		s.messageCame(buf[:n])
	}
	return errors.New("empty records only")
}

func (s *stream) messageCame(b []byte) {
	t, whole := s.plane.borrow(s.lane), false
	defer func() { s.leave(t, whole) }()
	t.enter()
	t.fromClient(&s.src, s.relay.Load(), b)
	t.flush()
	whole = true
}

// leave gives t back; not after a panic, which may have left anything in it.
func (s *stream) leave(t *tx, whole bool) {
	if t.inside {
		t.leave()
	}
	if whole {
		s.plane.giveBack(t)
	}
}
