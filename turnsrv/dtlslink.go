package turnsrv

import (
	"bytes"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

const (
	maxDatagram    = 8192      // what package dtls reads at most
	usualDatagram  = 2048      // what fits into a buffer that is used again
	maxQueued      = 256       // datagrams waiting to be read
	moreQueued     = 8         // beyond that, if they are no data: the last one may say that the client is gone
	maxQueuedBytes = 256 << 10 // and their size
	controlBudget  = 64 << 10  // bytes that are no application data, over the life of an association
)

var linkBuffers = sync.Pool{New: func() any { return new([usualDatagram]byte) }}

// dtlsLink is the socket that package dtls sees for one association. What clients send is pushed into it, and what
// package dtls writes leaves through the [relay.Source]. Neither pushing nor writing ever waits.
type dtlsLink struct {
	src           relay.Source
	local, remote *net.UDPAddr
	guard         *guard

	record uint64 // the number of the ClientHello that made it
	cookie [cookieLen]byte

	mu      sync.Mutex
	server  *dtls.Conn // what reads and writes; nil at the very beginning
	hello   bool       // package dtls knows the cookie
	before  func()     // see beforeWrite
	filled  sync.Cond  // queue, expired or closed have changed
	queue   []queuedDatagram
	next    int // in queue
	bytes   int // in queue
	budget  int // what is left of controlBudget
	settled bool
	muted   bool
	expired bool
	closed  bool
}

type queuedDatagram struct {
	b      []byte
	pooled *[usualDatagram]byte // nil: b is its own
}

func newLink(src relay.Source, h *hello, guard *guard) *dtlsLink {
	l := &dtlsLink{
		src: src, guard: guard, local: net.UDPAddrFromAddrPort(src.Server), remote: net.UDPAddrFromAddrPort(src.Client),
		record: h.record, cookie: [cookieLen]byte(h.cookie), budget: controlBudget,
	}
	l.filled.L = &l.mu
	return l
}

// of tells the link which connection it serves, before the handshake begins.
func (l *dtlsLink) of(server *dtls.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.server = server
}

// push queues a copy of b. It drops b if the reader is behind, or if the client has sent more handshake data than any
// client has reason to: package dtls would keep up to 2 MB of that.
func (l *dtlsLink) push(b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	most := maxQueued
	if len(b) > 0 && b[0] != recordApplication {
		most += moreQueued
	}
	if l.closed || len(b) > maxDatagram || len(l.queue)-l.next >= most || l.bytes+len(b) > maxQueuedBytes {
		return
	}
	cost := len(b) // until the handshake is done it keeps application data too
	if l.settled {
		cost = controlBytes(b)
	}
	if cost > l.budget {
		return
	}
	l.budget -= cost
	if !l.hello {
		if first := withoutCookie(b); len(first) > 0 {
			l.enqueue(first)
		}
	}
	renumber(l.enqueue(b))
	l.filled.Signal()
}

// enqueue queues a copy of b and returns it. Called with the lock held.
func (l *dtlsLink) enqueue(b []byte) []byte {
	q := queuedDatagram{}
	if len(b) <= usualDatagram {
		q.pooled = linkBuffers.Get().(*[usualDatagram]byte)
		q.b = q.pooled[:copy(q.pooled[:], b)]
	} else {
		q.b = append([]byte(nil), b...)
	}
	if l.next > 0 && len(l.queue) == cap(l.queue) {
		l.queue = append(l.queue[:0], l.queue[l.next:]...)
		l.next = 0
	}
	l.queue = append(l.queue, q)
	l.bytes += len(b)
	return q.b
}

// settle notes that the handshake is done.
func (l *dtlsLink) settle() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.settled = true
}

// beforeWrite has f called once, before the next datagram is written or at the end of the link. What an earlier call left
// is called now, if it was not yet.
func (l *dtlsLink) beforeWrite(f func()) {
	l.mu.Lock()
	earlier := l.before
	l.before = f
	l.mu.Unlock()
	if earlier != nil {
		earlier()
	}
}

// mute drops everything that is written from now on.
func (l *dtlsLink) mute() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.muted = true
}

// ReadFrom waits for a datagram.
func (l *dtlsLink) ReadFrom(b []byte) (n int, from net.Addr, err error) {
	defer l.guard.contain(func() { n, from, err = 0, nil, errPanicked })
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		switch {
		case l.closed:
			return 0, nil, net.ErrClosed
		case l.expired:
			return 0, nil, os.ErrDeadlineExceeded
		case l.next < len(l.queue):
			q := l.queue[l.next]
			l.queue[l.next] = queuedDatagram{}
			if l.next++; l.next == len(l.queue) {
				l.queue, l.next = l.queue[:0], 0
			}
			l.bytes -= len(q.b)
			n = copy(b, q.b)
			if q.pooled != nil {
				linkBuffers.Put(q.pooled)
			}
			return n, l.remote, nil
		}
		l.filled.Wait()
	}
}

// WriteTo sends to the client, whatever the address. The HelloVerifyRequest is not sent: the client has had it.
func (l *dtlsLink) WriteTo(b []byte, _ net.Addr) (n int, err error) {
	defer l.guard.contain(func() { n, err = 0, errPanicked })
	l.beforeWrite(nil)
	l.mu.Lock()
	closed, muted := l.closed, l.muted
	if !closed && isVerifyRequest(b) {
		defer l.mu.Unlock()
		l.hello = true
		if !setCookie(l.server, l.cookie[:]) {
			return 0, errCookie
		}
		return len(b), nil
	}
	l.mu.Unlock()
	if closed {
		return 0, net.ErrClosed
	}
	out := b
	if isPlaintext(b) {
		// The first record after the HelloVerifyRequest, which was number 0, has the number of the client's hello
		// (RFC 6347 §4.2.1): the client has seen all below it, and drops what comes twice.
		out = bytes.Clone(b)
		eachPlaintext(out, func(n uint64) uint64 { return n + l.record - 1 })
	}
	if !muted {
		l.src.Send(out)
	}
	return len(b), nil
}

var errCookie = errors.New("package dtls does not keep its cookie where it did")

// Close ends reading and writing. The listener's socket stays.
func (l *dtlsLink) Close() error {
	l.beforeWrite(nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed, l.queue, l.next, l.bytes = true, nil, 0, 0
	l.filled.Broadcast()
	return nil
}

// SetReadDeadline supports only deadlines that have passed, and none: package dtls sets no others.
func (l *dtlsLink) SetReadDeadline(t time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.expired = !t.IsZero() && !t.After(time.Now())
	l.filled.Broadcast()
	return nil
}

// SetWriteDeadline does nothing: writing never waits.
func (l *dtlsLink) SetWriteDeadline(time.Time) error { return nil }

// SetDeadline is SetReadDeadline.
func (l *dtlsLink) SetDeadline(t time.Time) error { return l.SetReadDeadline(t) }

// LocalAddr returns the listener's address, as the client sees it.
func (l *dtlsLink) LocalAddr() net.Addr { return l.local }
