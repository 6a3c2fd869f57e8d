package relay

import (
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/peertcp"
)

const (
	// Bytes waiting for a client that does not read. Above, what is for it is dropped.
	maxBacklog      = 256 << 10
	strangerBacklog = 16 << 10 // of one that has not authenticated
	// Answers still fit in where data does not any more: over TCP a client asks but once.
	answerRoom = 32 << 10
	// Where a connection ends: package tls answers the client's KeyUpdates whether they are read or not. What is sent
	// at once fits in between.
	tooMuch         = maxBacklog + 2*bufferSize
	strangerTooMuch = 2 * strangerBacklog
	flushChunk      = 16 << 10
)

// bufferSize is that of buffer.
const bufferSize = 64 << 10

// Conn is a TCP connection whose writes never wait once it is served: what the kernel does not take is kept, and
// sent by a goroutine that lives only as long as there is something left. Until then, during the TLS handshake, it is
// an ordinary net.Conn. Make it with Plane.NonBlocking.
type Conn struct {
	*net.TCPConn
	plane *Plane
	raw   syscall.RawConn
	head  []byte // read by Peek and not yet by Read

	// How long the client may take nothing, and how long if it has a relay.
	timeout, away time.Duration
	relays, known atomic.Bool // it has a relay; it has authenticated
	data          atomic.Bool // it is a data connection, whose end may take its time

	client, server net.Addr // of the connection, if a proxy has told them; else nil
	before         func()   // see BeforeWrite

	serving bool   // set before the first concurrent use
	input   []byte // what Read gives out while serving; of the reading goroutine

	mu      sync.Mutex
	cork    []byte // where it is not nil, Write gathers there
	err     error  // the first of writing; sticky
	why     string // err in the words of a stream's cause
	backlog int    // bytes in pending and on their way out of the flusher
	pending []byte // waits for the flusher
	flusher bool
	flushed sync.WaitGroup
	idle    chan struct{} // closed when the flusher, if there is one, has ended
	broken  atomic.Bool   // err is set
	attempt attempt
}

// NonBlocking wraps an accepted connection, for ServeStream or to put a tls.Conn on top. Whoever gets the Conn
// closes it, and the wrapped connection no more.
func (p *Plane) NonBlocking(c *net.TCPConn) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Conn{TCPConn: c, plane: p, raw: raw, timeout: p.cfg.WriteTimeout, away: p.cfg.AwayTimeout}, nil
}

// Peek returns the first n bytes, which later reads return again. Set a read deadline before. It is called before
// anything is read.
func (c *Conn) Peek(n int) ([]byte, error) {
	for len(c.head) < n {
		b := make([]byte, n-len(c.head))
		got, err := c.TCPConn.Read(b)
		c.head = append(c.head, b[:got]...)
		if err != nil {
			return c.head, err
		}
	}
	return c.head[:n], nil
}

// Fill waits for more than Peek and Fill have had so far, and returns all of it, at most so many bytes. Later reads return
// it again. It is called before anything is read.
func (c *Conn) Fill(most int) ([]byte, error) {
	b := make([]byte, most-len(c.head))
	n, err := c.TCPConn.Read(b)
	c.head = append(c.head, b[:n]...)
	return c.head, err
}

// Skip forgets the first n bytes of those that Peek and Fill have had.
func (c *Conn) Skip(n int) { c.head = c.head[n:] }

// As has RemoteAddr and LocalAddr return what a proxy has told of the client's own connection.
func (c *Conn) As(client, server net.Addr) { c.client, c.server = client, server }

// RemoteAddr implements [net.Conn].
func (c *Conn) RemoteAddr() net.Addr {
	if c.client != nil {
		return c.client
	}
	return c.TCPConn.RemoteAddr()
}

// LocalAddr implements [net.Conn].
func (c *Conn) LocalAddr() net.Addr {
	if c.server != nil {
		return c.server
	}
	return c.TCPConn.LocalAddr()
}

// errNoInput is what a tls.Conn on top is told when the kernel has nothing more at the moment. crypto/tls keeps what
// it has of a record when an error is temporary, and goes on with it later.
var errNoInput net.Error = noInput{}

type noInput struct{}

func (noInput) Error() string   { return "nothing to read yet" }
func (noInput) Timeout() bool   { return true }
func (noInput) Temporary() bool { return true }

// Read reads as net.Conn has it. While the Conn is served it belongs to the serving goroutine.
func (c *Conn) Read(b []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(b, c.head)
		if c.head = c.head[n:]; len(c.head) == 0 {
			c.head = nil
		}
		return n, nil
	}
	if !c.serving {
		return c.TCPConn.Read(b)
	}
	if len(c.input) == 0 {
		return 0, errNoInput
	}
	n := copy(b, c.input)
	c.input = c.input[n:]
	return n, nil
}

// BeforeWrite has f called once, before the next Write. What an earlier call left is called now, if it was not yet. It is
// for a TLS handshake, on whose goroutine it is called: at the first answer most of the work is done.
func (c *Conn) BeforeWrite(f func()) {
	if c.before != nil {
		c.before()
	}
	c.before = f
}

// Write writes as net.Conn has it. While the Conn is served it takes everything and never waits.
func (c *Conn) Write(b []byte) (int, error) {
	if !c.serving {
		c.BeforeWrite(nil)
		return c.TCPConn.Write(b)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.cork != nil && c.err == nil {
		c.cork = append(c.cork, b...)
		return len(b), nil
	}
	return c.put(b)
}

// gather makes Write keep what it is given, in buf, until release sends it all with one system call.
func (c *Conn) gather(buf []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cork = buf[:0]
}

// release sends what has been gathered.
func (c *Conn) release() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.cork
	c.cork = nil
	_, err := c.put(b)
	return err
}

// put writes what the kernel takes and keeps the rest for the flusher. The caller holds mu.
func (c *Conn) put(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n := 0
	if !c.flusher {
		var err error
		if n, err = c.writeNow(b); err != nil {
			c.fail(err, "the connection cannot be written to")
			return n, err
		}
	}
	most := tooMuch
	if !c.known.Load() {
		most = strangerTooMuch
	}
	if c.backlog+len(b)-n > most {
		c.fail(errTooMuch, errTooMuch.Error())
		return n, c.err
	}
	if n < len(b) {
		c.pending = append(c.pending, b[n:]...)
		c.backlog += len(b) - n
		if !c.flusher {
			c.flusher = true
			c.flushed.Add(1)
			c.idle = make(chan struct{})
			go c.flush(c.idle)
		}
	}
	return len(b), nil
}

var errTooMuch = errors.New("the client does not read what its messages bring about")

// trust lets more be kept for the client from now on.
func (c *Conn) trust() {
	if !c.known.Swap(true) {
		c.keepInKernel(0)
	}
}

// full reports whether the client is too far behind for more data, or with more room for an answer.
func (c *Conn) full(room int) bool {
	most := maxBacklog + room
	if !c.known.Load() {
		most = strangerBacklog
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.backlog >= most || c.err != nil
}

// flush writes what is pending, piece by piece.
func (c *Conn) flush(idle chan struct{}) {
	defer c.flushed.Done()
	defer close(idle)
	defer func() {
		if cause := recover(); cause != nil {
			c.plane.panicked(cause)
			c.hasFlushed(0, 0, errPanicked)
			_ = c.TCPConn.Close() // which ends its reader, and so the stream
		}
	}()
	for b := c.toFlush(); len(b) > 0; b = c.toFlush() {
		for len(b) > 0 {
			n, silent, err := c.writePatiently(b[:min(len(b), flushChunk)])
			if b = b[n:]; err != nil {
				b = nil
			}
			c.hasFlushed(n, silent, err)
		}
	}
}

// drained waits until the kernel has taken everything, or the connection has ended.
func (c *Conn) drained() error {
	for {
		c.mu.Lock()
		err, waits, idle := c.err, c.flusher, c.idle
		c.mu.Unlock()
		if err != nil || !waits {
			return err
		}
		<-idle
	}
}

// toFlush returns what is pending. If it returns nothing, the flusher has ended.
func (c *Conn) toFlush() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.pending) == 0 || c.err != nil {
		c.pending, c.backlog, c.flusher = nil, 0, false
		_ = c.SetWriteDeadline(time.Time{})
		return nil
	}
	b := c.pending
	c.pending = nil
	return b
}

// hasFlushed notes what became of a piece: n bytes went, or nothing for as long as silent.
func (c *Conn) hasFlushed(n int, silent time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.backlog -= n
	if err == nil {
		return
	}
	why := "the connection cannot be written to"
	if errors.Is(err, os.ErrDeadlineExceeded) {
		why = c.silence(silent)
	}
	c.fail(err, why)
}

// writePatiently writes some of b. Where nothing goes it waits for as long as the client may take nothing: its network
// may be away, and TCP repairs that. While this process was stopped, the client was not silent: what counts is time
// that it could see pass, and in which the client's end acknowledged nothing either.
func (c *Conn) writePatiently(b []byte) (n int, silent time.Duration, err error) {
	queued := c.unacknowledged()
	for {
		patience := c.timeout
		if c.relays.Load() {
			patience = max(patience, c.away)
		}
		if c.data.Load() {
			patience = max(patience, 2*peertcp.Stalled) // which ends it before
		}
		step := max(min(time.Second, patience/8), time.Millisecond)
		begun := time.Now()
		_ = c.SetWriteDeadline(begun.Add(step))
		n, err = c.TCPConn.Write(b)
		if n > 0 && errors.Is(err, os.ErrDeadlineExceeded) {
			err = nil
		}
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, 0, err
		}
		silent += min(time.Since(begun), 2*step)
		if now := c.unacknowledged(); now < queued {
			queued, silent = now, 0
		}
		if silent >= patience {
			return 0, silent, err
		}
	}
}

// fail notes a writing error and wakes the reader, which ends the stream. Called with mu held.
func (c *Conn) fail(err error, why string) {
	if c.err == nil {
		c.err, c.why = err, why
		c.broken.Store(true)
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
}

// writeError is what ended writing, also in the words of a stream's cause.
func (c *Conn) writeError() (why string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.why, c.err
}

// silence says who was silent, and for how long, when a client has taken nothing of what it was sent.
func (c *Conn) silence(d time.Duration) string {
	d = d.Round(100 * time.Millisecond)
	if d > 10*time.Second {
		d = d.Round(time.Second)
	}
	switch away, ok := c.isAway(); {
	case !ok:
		return fmt.Sprintf("the client has taken nothing of what it was sent for %s", d)
	case away:
		return fmt.Sprintf("nothing has come from the client for %s, not even acknowledgements: its network is away", d)
	}
	return fmt.Sprintf("the client is there and has read nothing for %s", d)
}

// Close closes the connection and waits for the flusher.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.err == nil {
		c.err = net.ErrClosed
	}
	c.mu.Unlock()
	err := c.TCPConn.Close()
	c.flushed.Wait()
	return err
}
