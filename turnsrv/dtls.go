package turnsrv

import (
	"bytes"
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"sync"

	"github.com/pion/dtls/v3"
	"github.com/pion/logging"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// associations are the DTLS clients of all UDP listeners, by 5-tuple. A first ClientHello makes one. Until its sender
// has shown with the cookie that it receives what is sent to it, an association counts for little: the oldest of those
// gives way when there are too many unfinished handshakes. Only then do limits by address hold, for before it anybody
// may have written that address.
type associations struct {
	cfg     streamsConfig
	counts  *streamCounters
	options []dtls.ServerOption

	ctx  context.Context // of every association
	stop context.CancelFunc

	mu        sync.Mutex
	perSource int // proven ones that one address may have; 0: no limit
	tuples    map[relay.Tuple]*association
	sources   map[netip.Addr]int // proven ones
	proven    int
	fresh     list.List // half-open and not proven, the oldest first
	half      list.List // proven and half-open, the oldest first
	running   sync.WaitGroup
}

// association is one DTLS client. But for link, its fields belong to the lock of associations.
type association struct {
	link   *dtlsLink
	tuple  relay.Tuple // of UDP: its key
	source netip.Addr
	cancel context.CancelFunc
	// A client that has begun anew on the same port is told from a forger by its cookie: until then it has an
	// association of its own beside the old one (RFC 6347 §4.2.8).
	older, newer *association

	place  *list.Element // in fresh or half
	proven bool
	done   bool // the handshake is
	gone   bool
}

var (
	errDisplaced = errors.New("gave way to a newer handshake")
	errTooMany   = errors.New("too many connections")
)

func newAssociations(cfg streamsConfig, counts *streamCounters) *associations {
	t := &associations{
		cfg: cfg, counts: counts, perSource: cfg.ConnectionsPerIP, tuples: make(map[relay.Tuple]*association), sources: make(map[netip.Addr]int),
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

func (t *associations) size() (open, half int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	half = t.fresh.Len() + t.half.Len()
	return t.fresh.Len() + t.proven, half
}

// datagram hands DTLS records to their association. b is not kept.
func (t *associations) datagram(src relay.Source, b []byte) {
	hello := isFirstHello(b)
	t.mu.Lock()
	a := t.tuples[src.Tuple]
	var also *association
	switch {
	case a == nil:
		if hello {
			a = t.begin(src, nil, b)
		}
	case a.done && hello:
		if a.newer == nil {
			a.newer = t.begin(src, a, b)
		}
		a = a.newer
	case a.newer != nil && isPlaintext(b):
		// Of the new handshake, or the end of the old one that the client sends again.
		also = a.newer
	}
	t.mu.Unlock()
	if a != nil {
		a.link.push(b)
	}
	if also != nil {
		also.link.push(b)
	}
}

// begin makes an association for a ClientHello, or nil where there is no DTLS, or no more. Called with the lock held.
func (t *associations) begin(src relay.Source, older *association, hello []byte) *association {
	if t.ctx.Err() != nil {
		return nil
	}
	if t.fresh.Len()+t.half.Len() >= t.cfg.HalfOpen {
		t.displace()
	}
	ctx, cancel := context.WithCancel(t.ctx)
	a := &association{link: newLink(src), tuple: src.Tuple, source: sourceOf(src.Client.Addr()), cancel: cancel, older: older}
	a.place = t.fresh.PushBack(a)
	if older == nil {
		t.tuples[a.tuple] = a
	}
	options := append(t.options[:len(t.options):len(t.options)], dtls.WithGetCertificate(
		func(h *dtls.ClientHelloInfo) (*tls.Certificate, error) {
			// Package dtls asks for it when the cookie was right.
			if err := t.prove(a); err != nil {
				return nil, err
			}
			return t.cfg.Certificate(tlsHello(h))
		}))
	if offersProtocol(hello) {
		options = append(options, dtls.WithSupportedProtocols(protocols...))
	}
	t.counts.accepted.Add(1)
	t.running.Go(func() { t.run(ctx, a, options) })
	return a
}

// displace ends the oldest unfinished handshake.
func (t *associations) displace() {
	e := t.fresh.Front()
	if e == nil {
		e = t.half.Front()
	}
	t.drop(e.Value.(*association))
	t.counts.displaced.Add(1)
}

// prove says that a's client receives what is sent to it.
func (t *associations) prove(a *association) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.gone {
		return errDisplaced
	}
	if a.proven {
		return nil
	}
	if a.older != nil {
		a.older.link.mute() // the client has forgotten it
		t.drop(a.older)
	}
	if t.perSource > 0 && t.sources[a.source] >= t.perSource || t.proven >= t.cfg.Associations {
		t.counts.overShare.Add(1)
		t.drop(a)
		return errTooMany
	}
	t.fresh.Remove(a.place)
	a.place = t.half.PushBack(a)
	a.proven = true
	t.proven++
	t.sources[a.source]++
	return nil
}

// settle says that a's handshake is done. False: it has had to give way.
func (t *associations) settle(a *association) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a.gone || !a.proven {
		return false
	}
	t.half.Remove(a.place)
	a.done = true
	a.link.settle()
	return true
}

// drop takes a out and makes its goroutine end. Called with the lock held.
func (t *associations) drop(a *association) {
	if a.gone {
		return
	}
	a.gone = true
	switch {
	case a.done:
	case a.proven:
		t.half.Remove(a.place)
	default:
		t.fresh.Remove(a.place)
	}
	if a.proven {
		t.proven--
		if t.sources[a.source]--; t.sources[a.source] == 0 {
			delete(t.sources, a.source)
		}
	}
	switch {
	case a.older != nil:
		a.older.newer = nil
	case a.newer != nil:
		a.newer.older = nil
		t.tuples[a.tuple] = a.newer
	default:
		delete(t.tuples, a.tuple)
	}
	a.older, a.newer = nil, nil
	a.cancel()
}

// run is an association from the handshake to its end.
func (t *associations) run(ctx context.Context, a *association, options []dtls.ServerOption) {
	defer a.link.Close()
	defer func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.drop(a)
	}()
	conn, err := dtls.ServerWithOptions(a.link, a.link.remote, options...)
	if err != nil {
		t.counts.badHandshake.Add(1)
		return
	}
	shaking, stop := context.WithTimeout(ctx, t.cfg.HandshakeTimeout)
	err = conn.HandshakeContext(shaking)
	stop()
	if err != nil || !t.settle(a) {
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
	tuple := a.tuple
	tuple.Transport = relay.DTLS
	_ = t.cfg.Plane.ServeMessages(ctx, conn, tuple, nil) // it has told whoever has to know
}

// The layout of a DTLS record with a handshake message, RFC 6347 §4.1 and §4.2.2.
const (
	recordHeader      = 13
	handshakeHeader   = 12
	recordApplication = 23
	helloMessage      = 1
)

// isFirstHello says whether a datagram begins with a ClientHello that opens a handshake, or its first fragment.
func isFirstHello(b []byte) bool {
	if len(b) < recordHeader+handshakeHeader || b[0] != recordHandshake || b[1] != 0xfe || !isPlaintext(b) {
		return false
	}
	size := int(b[11])<<8 | int(b[12])
	m := b[recordHeader:]
	return size >= handshakeHeader && size <= len(m) && m[0] == helloMessage &&
		m[4] == 0 && m[5] == 0 && // message_seq
		m[6] == 0 && m[7] == 0 && m[8] == 0 // fragment_offset
}

// isPlaintext says whether the first record is of epoch 0: of a handshake that has not agreed on keys.
func isPlaintext(b []byte) bool { return len(b) >= recordHeader && b[3] == 0 && b[4] == 0 }

// offersProtocol says whether a ClientHello has one of our ALPN names, by looking for its bytes: package dtls refuses
// a client that knows other names only, so it may know of ours only where the client does too.
func offersProtocol(hello []byte) bool {
	for _, p := range protocols {
		if bytes.Contains(hello, append([]byte{byte(len(p))}, p...)) {
			return true
		}
	}
	return false
}

// controlBytes is how much of a datagram is not application data: what package dtls keeps for a handshake.
func controlBytes(b []byte) int {
	n := 0
	for len(b) >= recordHeader {
		size := recordHeader + (int(b[11])<<8 | int(b[12]))
		if b[0] != recordApplication {
			n += min(size, len(b))
		}
		b = b[min(size, len(b)):]
	}
	return n + len(b)
}
