package turnsrv

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"sync"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"

	"github.com/crolang-p2p/crolang-aio/internal/places"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// associations are the DTLS clients of all UDP listeners, by 5-tuple. A ClientHello with the right cookie makes one:
// its sender receives what is sent to its address, and limits by address hold for it. Whoever has not shown that costs
// nothing.
type associations struct {
	cfg     streamsConfig
	counts  *streamCounters
	options []dtls.ServerOption
	cookies *cookies
	places  *places.Hall
	guard   *guard

	turnstile *turnstile

	ctx  context.Context // of every association
	stop context.CancelFunc

	mu      sync.Mutex
	tuples  map[relay.Tuple]*association
	running sync.WaitGroup
}

// association is one DTLS client. But for link, its fields belong to the lock of associations.
type association struct {
	link   *dtlsLink
	tuple  relay.Tuple // of UDP: its key
	random [32]byte    // of its ClientHello
	seat   *places.Seat
	cancel context.CancelCauseFunc
	gone   bool
}

// errAnew is why an association ends whose client has begun another one from the same port (RFC 6347 §4.2.8).
var errAnew = errors.New("the client began anew from the same port")

func newAssociations(cfg streamsConfig, counts *streamCounters, guard *guard, turnstile *turnstile) *associations {
	t := &associations{
		cfg: cfg, counts: counts, guard: guard, turnstile: turnstile, cookies: newCookies(), tuples: make(map[relay.Tuple]*association),
		places: places.New(cfg.Associations, cfg.DTLSStrangers, cfg.ConnectionsPerIP),
		options: []dtls.ServerOption{
			dtls.WithCipherSuites(cipherSuites...),
			dtls.WithExtendedMasterSecret(dtls.RequestExtendedMasterSecret),
			dtls.WithLoggerFactory(silence{logging.NewDefaultLeveledLoggerForScope("", logging.LogLevelDisabled, io.Discard)}),
		},
	}
	t.ctx, t.stop = context.WithCancel(context.Background())
	if !cfg.DTLS {
		t.stop()
	}
	return t
}

// silence keeps package dtls from logging: what strangers send is worth no line.
type silence struct{ logging.LeveledLogger }

func (s silence) NewLogger(string) logging.LeveledLogger { return s.LeveledLogger }

// close ends every association and waits for them. No new one begins.
func (t *associations) close() {
	t.mu.Lock()
	t.stop()
	t.mu.Unlock()
	t.running.Wait()
}

// datagram hands DTLS records to their association. b is not kept.
func (t *associations) datagram(src relay.Source, b []byte) {
	defer t.guard.contain(func() {})
	h, isHello := parseHello(b)
	switch {
	case isHello && h.sequence == 0:
		if t.ctx.Err() == nil {
			t.counts.hellos.Add(1)
			t.cookies.ask(src, &h)
		}
	case isHello && h.sequence == 1 && !t.cookies.valid(src, &h):
		// Whoever waited for longer than a cookie lasts has to begin anew: its numbers of messages have moved on.
		t.counts.staleCookies.Add(1)
	case isHello && h.sequence == 1:
		t.second(src, &h, b)
	default:
		if a := t.at(src.Tuple); a != nil {
			a.link.push(b)
		}
	}
}

func (t *associations) at(tuple relay.Tuple) *association {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.tuples[tuple]
}

// second handles a ClientHello with the right cookie: it makes an association, in the place of any that the client has
// forgotten, or is one that the client sends again.
func (t *associations) second(src relay.Source, h *hello, b []byte) {
	a, away := t.of(src, h, b)
	if away != nil {
		t.counts.displaced.Add(1)
		away.Leave()
	}
	if a != nil {
		a.link.push(b)
	}
}

// of is the association of a ClientHello, new or not; away has to leave for it.
func (t *associations) of(src relay.Source, h *hello, b []byte) (a *association, away *places.Seat) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a = t.tuples[src.Tuple]
	if a != nil && a.random == h.random() {
		return a, nil
	}
	if a != nil {
		a.link.mute() // the client would take an alert for one of its new handshake
		t.drop(a, errAnew)
	}
	return t.begin(src, h, b)
}

// begin makes an association for a ClientHello if it gets a place; away has to leave for it. Called with the lock held.
func (t *associations) begin(src relay.Source, h *hello, b []byte) (a *association, away *places.Seat) {
	if t.ctx.Err() != nil {
		return nil, nil
	}
	a = &association{link: newLink(src, h, t.guard), tuple: src.Tuple, random: h.random()}
	seat, away, v := t.places.Take(src.Client.Addr(), false, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.drop(a, nil)
	})
	if seat == nil {
		t.counts.refused(v)
		return nil, nil
	}
	var ctx context.Context
	ctx, a.cancel = context.WithCancelCause(t.ctx)
	a.seat = seat
	t.tuples[a.tuple] = a
	t.counts.accepted.Add(1)
	options := append(t.options[:len(t.options):len(t.options)], dtls.WithGetCertificate(
		func(h *dtls.ClientHelloInfo) (*tls.Certificate, error) { return t.certificate(a, h) }))
	if offersProtocol(b) {
		options = append(options, dtls.WithSupportedProtocols(protocols...))
	}
	t.running.Go(func() { t.run(ctx, a, options) })
	return a, away
}

// certificate is asked for before anything is computed for a ClientHello, on a goroutine of package dtls: it waits for
// the turn of a's client. The turn is over when the answer is written.
func (t *associations) certificate(a *association, h *dtls.ClientHelloInfo) (c *tls.Certificate, err error) {
	defer t.guard.contain(func() { c, err = nil, errPanicked })
	if !t.turnstile.enter(a.seat.Source(), t.cfg.HandshakeTimeout) {
		return nil, errGone
	}
	a.link.beforeWrite(t.turnstile.leave)
	return t.cfg.Certificate(tlsHello(h))
}

// drop takes a out and makes its goroutine end. Called with the lock held.
func (t *associations) drop(a *association, why error) {
	if a.gone {
		return
	}
	a.gone = true
	t.places.Release(a.seat)
	if t.tuples[a.tuple] == a {
		delete(t.tuples, a.tuple)
	}
	a.cancel(why)
}

// run is an association from the handshake to its end.
func (t *associations) run(ctx context.Context, a *association, options []dtls.ServerOption) {
	defer a.link.Close()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.drop(a, nil)
	}()
	defer t.guard.contain(func() {})
	conn, err := dtls.ServerWithOptions(a.link, a.link.remote, options...)
	if err != nil {
		t.counts.badHandshake.Add(1)
		return
	}
	a.link.of(conn)
	shaking, stop := context.WithTimeout(ctx, t.cfg.HandshakeTimeout)
	err = conn.HandshakeContext(shaking)
	stop()
	a.link.beforeWrite(nil)
	if err == nil && !t.places.Settle(a.seat) {
		err = context.Canceled // displaced
	}
	if err != nil {
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, context.DeadlineExceeded):
			t.counts.silent.Add(1)
		default:
			t.counts.badHandshake.Add(1)
		}
		_ = conn.Close()
		return
	}
	a.link.settle()
	tuple := a.tuple
	tuple.Transport = relay.DTLS
	// The data plane tells whoever has to know how it ended.
	_ = t.cfg.Plane.ServeMessages(ctx, conn, tuple, func(live bool) { t.places.Keep(a.seat, live) })
}
