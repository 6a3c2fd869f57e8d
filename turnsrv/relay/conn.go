package relay

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

const (
	maxBacklog = 256 << 10 // bytes waiting for a client that does not read; above, its data is dropped
	mostWaits  = 512 << 10 // bytes that may wait in all; above, the connection ends
	flushChunk = 16 << 10  // bytes that must go within the write timeout
)

// Conn is a TCP connection whose writes never wait once it is served: what the kernel does not take is kept, and
// sent by a goroutine that lives only as long as there is something left. Until then, during the TLS handshake, it is
// an ordinary net.Conn. Make it with Plane.NonBlocking.
type Conn struct {
	*net.TCPConn
	plane   *Plane
	raw     syscall.RawConn
	timeout time.Duration
	head    []byte // read by Peek and not yet by Read

	serving bool   // set before the first concurrent use
	input   []byte // what Read gives out while serving; of the reading goroutine

	mu      sync.Mutex
	cork    []byte // where it is not nil, Write gathers there
	err     error  // the first of writing; sticky
	backlog int    // bytes in pending and on their way out of the flusher
	pending []byte // waits for the flusher
	flusher bool
	flushed sync.WaitGroup
	attempt attempt
}

// NonBlocking wraps an accepted connection, for ServeStream or to put a tls.Conn on top. Whoever gets the Conn
// closes it, and the wrapped connection no more.
func (p *Plane) NonBlocking(c *net.TCPConn) (*Conn, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	return &Conn{TCPConn: c, plane: p, raw: raw, timeout: p.cfg.WriteTimeout}, nil
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

// Write writes as net.Conn has it. While the Conn is served it takes everything and never waits.
func (c *Conn) Write(b []byte) (int, error) {
	if !c.serving {
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
			c.fail(err)
			return n, err
		}
	}
	// Data is dropped long before. What is left is what crypto/tls writes of its own accord, such as its answers to
	// KeyUpdates: a client that asks for them without end and does not read them is cut off.
	if c.backlog+len(b)-n > mostWaits {
		c.fail(errBacklog)
		return n, errBacklog
	}
	if n < len(b) {
		c.pending = append(c.pending, b[n:]...)
		c.backlog += len(b) - n
		if !c.flusher {
			c.flusher = true
			c.flushed.Add(1)
			go c.flush()
		}
	}
	return len(b), nil
}

var errBacklog = errors.New("too much waits to be written")

// full reports whether the client is too far behind for more data.
func (c *Conn) full() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.backlog >= maxBacklog || c.err != nil
}

// flush writes what is pending, piece by piece, each with a deadline of its own.
func (c *Conn) flush() {
	defer c.flushed.Done()
	defer func() {
		if cause := recover(); cause != nil {
			c.plane.panicked(cause)
			_ = c.TCPConn.Close() // which ends its reader, and so the stream
		}
	}()
	for b := c.toFlush(); len(b) > 0; b = c.toFlush() {
		for len(b) > 0 {
			_ = c.SetWriteDeadline(time.Now().Add(c.timeout))
			n, err := c.TCPConn.Write(b[:min(len(b), flushChunk)])
			if b = b[n:]; err != nil {
				b = nil
			}
			c.hasFlushed(n, err)
		}
	}
}

// toFlush is what is pending. When it is nothing, the flusher has ended.
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

func (c *Conn) hasFlushed(n int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.backlog -= n
	if err != nil {
		c.fail(err)
	}
}

// fail notes a writing error and wakes the reader, which ends the stream.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	_ = c.SetReadDeadline(time.Unix(1, 0))
}

// writeError is what ended writing, in the words of a stream's cause.
func (c *Conn) writeError() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err == nil:
		return ""
	case errors.Is(c.err, os.ErrDeadlineExceeded), errors.Is(c.err, errBacklog):
		return "the client does not read"
	}
	return "the connection cannot be written to"
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
