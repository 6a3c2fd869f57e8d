package redisurl

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"
)

// keepAlive is the library's own choice for connections that it makes by itself.
var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 5 * time.Second, Count: 3}

// dial connects, over TLS where the URL says so, and has a [checker] read along. The library makes room for whatever a length
// says, which ends the process where it is hostile: so it never gets to see one.
func (at *location) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := &net.Dialer{Timeout: wait, KeepAliveConfig: keepAlive}
	if config := at.config(); config != nil {
		limited, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		conn, err := (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext(limited, network, addr)
		if err != nil {
			return nil, err
		}
		return &guarded{Conn: conn}, nil
	}
	conn, err := dialer.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	if raw, ok := conn.(syscall.Conn); ok {
		return &plain{guarded{Conn: conn}, raw}, nil
	}
	return &guarded{Conn: conn}, nil
}

// guarded is a connection whose peer's replies are checked. One goroutine at a time may read from it.
type guarded struct {
	net.Conn
	check checker
	bad   error
}

// Read ends the connection at the first reply that is refused.
func (g *guarded) Read(p []byte) (int, error) {
	if g.bad != nil {
		return 0, g.bad
	}
	n, err := g.Conn.Read(p)
	if bad := g.check.pass(p[:n]); bad != nil {
		g.bad = bad
		_ = g.Conn.Close() // the error that counts is the refusal
		return 0, bad
	}
	return n, err
}

// plain lets the library see whether an idle connection has been closed, as it does with a bare socket.
type plain struct {
	guarded
	raw syscall.Conn
}

// SyscallConn implements [syscall.Conn].
func (p *plain) SyscallConn() (syscall.RawConn, error) { return p.raw.SyscallConn() }

// Bounds of one reply. The longest texts that are asked for are a machine's list of its Nodes, and messages between machines; the
// longest lists are all bans at once, from the embedded Redis.
const (
	maxBulk     = 12 << 20
	maxReply    = 64 << 20 // bytes in all
	maxElements = 256 << 10
	maxDepth    = 8
	maxLine     = 8 << 10 // of a status or an error
	maxNumber   = 512     // digits
)

// errReply is why a connection to Redis is ended here.
var errReply = errors.New("what answers is no Redis, or sends replies that are too large: check the URL, and who can reach that server")

// checker follows a stream of replies in RESP 2 and 3. It keeps nothing of them. The zero value is at the start of a reply.
type checker struct {
	state    func(c *checker, p []byte) (rest []byte, err error) // nil: a line begins
	kind     byte
	last     byte // of the line so far
	n        int  // the line's length so far
	length   int  // the number in the line so far, or the bytes of a text that are still to come
	minus    bool
	depth    int
	left     [maxDepth]int // elements that are still to come
	bytes    int           // of this reply
	elements int           // likewise
}

// pass checks the next bytes.
func (c *checker) pass(p []byte) (err error) {
	for len(p) > 0 && err == nil {
		if c.state == nil {
			p, err = c.begin(p)
		} else {
			p, err = c.state(c, p)
		}
	}
	return err
}

// begin reads the type of a reply. Attributes are refused, and streamed types: no Redis sends them unasked.
func (c *checker) begin(p []byte) ([]byte, error) {
	c.kind, c.last, c.n, c.length, c.minus = p[0], 0, 0, 0, false
	switch c.kind {
	case '$', '=', '!', '*', '~', '>', '%':
		c.state = (*checker).lengthLine
	case '+', '-', ':', ',', '(', '#', '_':
		c.state = (*checker).line
	default:
		return nil, errReply
	}
	return p[1:], nil
}

// line passes over a reply of one line.
func (c *checker) line(p []byte) ([]byte, error) {
	most := maxNumber
	if c.kind == '+' || c.kind == '-' {
		most = maxLine
	}
	for i, b := range p {
		if b == '\n' {
			if c.last != '\r' {
				return nil, errReply
			}
			return p[i+1:], c.whole()
		}
		if c.n++; c.n > most {
			return nil, errReply
		}
		c.bytes++
		c.last = b
	}
	return nil, nil
}

// lengthLine reads how long a text or a list is.
func (c *checker) lengthLine(p []byte) ([]byte, error) {
	for i, b := range p {
		switch {
		case b == '\n' && c.last == '\r' && c.n > 0:
			return p[i+1:], c.measured()
		case c.last == '\r':
			return nil, errReply
		case b == '-' && c.n == 0 && !c.minus:
			c.minus = true
		case '0' <= b && b <= '9' && c.n < 9:
			c.length = 10*c.length + int(b-'0')
			c.n++
		case b != '\r':
			return nil, errReply
		}
		c.last = b
	}
	return nil, nil
}

// measured checks a length, and goes on to what is that long.
func (c *checker) measured() error {
	if c.minus {
		if c.length != 1 || c.kind != '$' && c.kind != '*' {
			return errReply
		}
		return c.whole() // nothing
	}
	switch c.kind {
	case '$', '=', '!':
		if c.bytes += c.length; c.length > maxBulk || c.bytes > maxReply {
			return errReply
		}
		c.state = (*checker).text
		return nil
	case '%':
		c.length *= 2
	}
	if c.elements += c.length; c.elements > maxElements || c.bytes > maxReply {
		return errReply
	}
	if c.length == 0 {
		return c.whole()
	}
	if c.depth == maxDepth {
		return errReply
	}
	c.left[c.depth] = c.length
	c.depth++
	c.state = nil
	return nil
}

// text passes over a text.
func (c *checker) text(p []byte) ([]byte, error) {
	n := min(len(p), c.length)
	if c.length -= n; c.length == 0 {
		c.last, c.state = 0, (*checker).end
	}
	return p[n:], nil
}

// end reads what comes after a text.
func (c *checker) end(p []byte) ([]byte, error) {
	switch {
	case c.last == 0 && p[0] == '\r':
		c.last = '\r'
		return p[1:], nil
	case c.last == '\r' && p[0] == '\n':
		return p[1:], c.whole()
	}
	return nil, errReply
}

// whole takes note that an element has ended, and those that it was the last of.
func (c *checker) whole() error {
	c.state = nil
	for ; c.depth > 0; c.depth-- {
		if c.left[c.depth-1]--; c.left[c.depth-1] > 0 {
			if c.bytes > maxReply {
				return errReply
			}
			return nil
		}
	}
	c.bytes, c.elements = 0, 0
	return nil
}
