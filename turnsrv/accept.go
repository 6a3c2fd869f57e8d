package turnsrv

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/household"
	"github.com/crolang-p2p/crolang-aio/internal/places"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

const (
	firstPause     = 5 * time.Millisecond // after an accept that failed; doubled each time
	longestPause   = time.Second
	complaintPause = time.Minute
)

// accept takes connections until the listener is closed. Nothing else ends it: if descriptors run out, it waits.
func (s *streams) accept(ctx context.Context, l *port) {
	pause := time.Duration(0)
	for {
		c, err := l.AcceptTCP()
		if err == nil {
			pause = 0
			if !s.admit(ctx, l, c) {
				s.drain(ctx, l)
			}
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		s.complain(err)
		// Without descriptors the kernel says so before it looks whether anybody waits.
		if isExhausted(err) && isWaiting(l.TCPListener) && s.displace() {
			continue
		}
		pause = min(max(2*pause, firstPause), longestPause)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
	}
}

// displace ends a stranger's connection, and reports whether there was one.
func (s *streams) displace() (done bool) {
	defer s.guard.contain(func() {})
	if done = s.places.Displace(); done {
		s.counts.displaced.Add(1)
	}
	return done
}

// complain logs an error of accept, at most once a minute.
func (s *streams) complain(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now := time.Now(); now.Sub(s.warned) >= complaintPause {
		s.warned = now
		s.log.Warn("cannot accept connections, trying again: if files run out, raise the limit of open files", "error", err)
	}
}

// arrival is a client that has come over TCP and has a place.
type arrival struct {
	c    *net.TCPConn
	t    relay.Tuple
	seat *places.Seat
	to   *port
	// proxied: a proxy has told where it comes from.
	proxied bool
}

// admit starts a connection if it gets a place; it reports whether it did.
func (s *streams) admit(ctx context.Context, to *port, c *net.TCPConn) (admitted bool) {
	defer s.guard.contain(func() { reset(c) })
	seat := s.seat(unmapped(c.RemoteAddr()).Addr(), descriptor(c), func() { reset(c) })
	if seat == nil {
		reset(c)
		return false
	}
	s.start(ctx, to, c, seat)
	return true
}

// start serves a connection that has a place.
func (s *streams) start(ctx context.Context, to *port, c *net.TCPConn, seat *places.Seat) {
	a := &arrival{c: c, seat: seat, to: to}
	s.conns.Go(func() {
		defer func() { s.places.Release(a.seat) }()
		defer s.guard.contain(func() { reset(c) })
		a.t = relay.Tuple{Transport: relay.TCP, Client: unmapped(c.RemoteAddr()), Server: unmapped(c.LocalAddr())}
		s.serve(ctx, a)
	})
}

// seat gets a place for a connection with that descriptor; nil: there is none.
func (s *streams) seat(client netip.Addr, descriptor int, leave func()) *places.Seat {
	seat, away, v := s.places.Take(client, s.cfg.Files > 0 && descriptor >= s.cfg.Files, leave)
	if seat == nil {
		s.counts.refused(v)
		return nil
	}
	s.counts.accepted.Add(1)
	if away != nil {
		s.counts.displaced.Add(1)
		away.Leave()
	}
	return seat
}

// serve finds out what the client speaks and hands the connection on. It returns when the connection has ended, or is
// somebody else's.
func (s *streams) serve(ctx context.Context, a *arrival) {
	// The whole handshake has to fit in this time.
	_ = a.c.SetDeadline(time.Now().Add(s.cfg.HandshakeTimeout))
	first, conn, err := peekFirst(s.cfg.Plane, a.c)
	if err == nil && mayBeHeader(first) {
		first, conn, err = s.unwrap(a, conn)
	}
	switch {
	case errors.Is(err, errTurnedAway):
		reset(a.c) // it is counted already
	case err != nil:
		s.fail(a.c, &s.counts.silent)
	case first == recordHandshake && s.cfg.TLS:
		s.serveTLS(ctx, a, conn)
	case (first < 4 || stunmsg.IsChannel(first)) && s.cfg.TCP:
		s.handOn(ctx, a, conn)
	default:
		s.fail(a.c, &s.counts.unserved)
	}
}

// serveTLS does the handshake on conn and hands the connection on.
func (s *streams) serveTLS(ctx context.Context, a *arrival, conn net.Conn) {
	p, ok := conn.(*relay.Conn)
	if !ok {
		var err error
		if p, err = s.cfg.Plane.NonBlocking(a.c); err != nil {
			s.fail(a.c, &s.counts.silent)
			return
		}
	}
	how := s.tls
	if a.to.shared {
		how = s.shared
	}
	secure := tls.Server(p, how)
	err := s.shake(secure, p)
	var timeout net.Error
	switch {
	case err == nil:
		a.t.Transport = relay.TLS
		s.decrypted(ctx, a, secure)
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, errGone):
		s.fail(a.c, &s.counts.silent)
	default:
		s.counts.badHandshake.Add(1)
		_ = a.c.Close() // not reset: the client should get the alert
	}
}

// shake does a handshake. Whatever happens in it, its turn is over then.
func (s *streams) shake(secure *tls.Conn, p *relay.Conn) error {
	defer p.BeforeWrite(nil)
	return secure.Handshake()
}

var errGone = errors.New("the client did not wait for its handshake")

// begin waits for the turn of a ClientHello to be computed for. The turn is over when the answer is written.
func (s *streams) begin(h *tls.ClientHelloInfo) error {
	p, ok := h.Conn.(*relay.Conn)
	if !ok {
		return nil
	}
	if !s.turnstile.enter(household.Of(unmapped(p.RemoteAddr()).Addr()).Addr(), s.cfg.HandshakeTimeout) {
		return errGone
	}
	if isGone(p.TCPConn) {
		s.turnstile.leave()
		return errGone
	}
	p.BeforeWrite(s.turnstile.leave)
	return nil
}

// handOn has the data plane serve conn to its end.
func (s *streams) handOn(ctx context.Context, a *arrival, conn net.Conn) {
	if !s.places.Settle(a.seat) {
		return // reset already
	}
	_ = a.c.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true})
	// The data plane tells whoever has to know how it ended.
	seat := a.seat
	_ = s.cfg.Plane.ServeStream(ctx, conn, a.t, func(live bool) { s.places.Keep(seat, live) })
}

func (s *streams) fail(c *net.TCPConn, counter *atomic.Uint64) {
	counter.Add(1)
	reset(c)
}

// reset closes a connection at once and leaves nothing behind, not even TIME-WAIT.
func reset(c *net.TCPConn) {
	_ = c.SetLinger(0)
	_ = c.Close()
}
