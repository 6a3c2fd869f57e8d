package broker

import (
	"errors"
	"io"
	"time"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/engineio"
)

const (
	// maxStranger bounds a message before the Node has joined.
	maxStranger = 64 << 10
	// maxFrames bounds the frames of a message, and the control frames before it and between them.
	maxFrames = 4096
	// step is by how much a buffer grows for a message that is announced and has not come yet.
	step = 16 << 10
)

// violation ends a connection with a close code; 0 is none.
type violation ws.StatusCode

func (v violation) Error() string { return "protocol violated" }

// readAll handles message after message until the connection ends.
func (c *conn) readAll() {
	defer c.contain()
	for !c.ended.Load() {
		if c.in.Buffered() == 0 {
			c.handled.Store(c.heard.Load())
		}
		_, err := c.in.Peek(1) // a quiet connection holds no buffer
		if err == nil {
			buf := takeBuffer()
			err = c.readOne(buf)
			giveBuffer(buf)
		}
		if err == nil {
			continue
		}
		var v violation
		switch {
		case !errors.As(err, &v):
			c.finish("the connection was lost")
		case v == violation(ws.StatusMessageTooBig):
			c.end(ws.StatusMessageTooBig, "it sent too long a message")
		default:
			c.end(ws.StatusCode(v), "it broke the protocol")
		}
		return
	}
}

// readOne reads a message into buf, which is empty, and handles it.
func (c *conn) readOne(buf *[]byte) error {
	op, err := c.message(buf)
	if err != nil || c.ended.Load() {
		return err
	}
	c.readAt.Store(int64(time.Since(c.b.start)))
	c.b.counts.received.Add(uint64(len(*buf)))
	var p engineio.Packet
	var kind engineio.Kind
	if op == ws.OpBinary {
		p, kind, err = c.decoder.Binary()
	} else {
		if !utf8.Valid(*buf) {
			return violation(ws.StatusInvalidFramePayloadData)
		}
		p, kind, err = c.decoder.Text(*buf)
	}
	if err != nil {
		return violation(0)
	}
	switch kind {
	case engineio.Pong:
		now := int64(time.Since(c.b.start))
		if ping := c.pingAt.Load(); ping != 0 && c.pongAt.Load() < ping { // the first pong after it
			c.trip.Store(max(1, now-ping))
		}
		c.pongAt.Store(now)
	case engineio.Message:
		c.slowDown()
		return c.packet(p)
	}
	c.slowDown()
	return nil
}

// message collects the frames of one message; control frames between them are answered.
func (c *conn) message(buf *[]byte) (ws.OpCode, error) {
	state := ws.StateServerSide
	var op ws.OpCode
	for frames := 0; ; frames++ {
		if frames > maxFrames {
			return 0, violation(ws.StatusPolicyViolation)
		}
		h, err := ws.ReadHeader(c.in)
		if err != nil {
			return 0, readError(err)
		}
		if ws.CheckHeader(h, state) != nil {
			return 0, violation(ws.StatusProtocolError)
		}
		if h.OpCode.IsControl() {
			if err := c.control(h); err != nil {
				return 0, err
			}
			continue
		}
		most := int64(engineio.MaxPayload)
		if !c.member.Load() {
			most = maxStranger
		}
		if h.Length > most-int64(len(*buf)) {
			return 0, violation(ws.StatusMessageTooBig)
		}
		if err := c.payload(h, buf); err != nil {
			return 0, err
		}
		if h.OpCode != ws.OpContinuation {
			op = h.OpCode
		}
		if h.Fin {
			return op, nil
		}
		state = state.Set(ws.StateFragmented)
	}
}

// payload appends what a frame carries. The buffer grows with what has come, not with what is announced.
func (c *conn) payload(h ws.Header, buf *[]byte) error {
	b, from := *buf, len(*buf)
	for left := int(h.Length); left > 0; {
		n := min(left, max(step, len(b)))
		if cap(b)-len(b) < n {
			grown := make([]byte, len(b), len(b)+n)
			copy(grown, b)
			b = grown
		}
		if _, err := io.ReadFull(c.in, b[len(b):len(b)+n]); err != nil {
			return err
		}
		b = b[:len(b)+n]
		left -= n
	}
	ws.Cipher(b[from:], h.Mask, 0)
	*buf = b
	return nil
}

// control answers a ping, passes over a pong, and ends at a close.
func (c *conn) control(h ws.Header) error {
	var body [125]byte
	b := body[:h.Length]
	if _, err := io.ReadFull(c.in, b); err != nil {
		return err
	}
	ws.Cipher(b, h.Mask, 0)
	switch h.OpCode {
	case ws.OpPing:
		_, start := c.out.put(ws.OpPong, b, strangersWaiting, &c.b.waiting) // one that does not read gets none
		if start {
			go c.write()
		}
		c.slowDown()
	case ws.OpPong:
		c.slowDown()
	case ws.OpClose:
		return c.closed(b)
	}
	return nil
}

// closed answers a close frame in kind.
func (c *conn) closed(body []byte) error {
	if len(body) == 1 {
		return violation(ws.StatusProtocolError)
	}
	if len(body) > 1 {
		code, reason := ws.ParseCloseFrameData(body)
		if ws.CheckCloseFrameData(code, reason) != nil {
			return violation(ws.StatusProtocolError)
		}
	}
	answer := body[:min(len(body), 2)]
	if c.finish(causeLeft) {
		c.lastWords(c.out.finish(&c.b.waiting, func(put func(ws.OpCode, []byte)) { put(ws.OpClose, answer) }))
	}
	return io.EOF
}

func readError(err error) error {
	if errors.Is(err, ws.ErrHeaderLengthMSB) || errors.Is(err, ws.ErrHeaderLengthUnexpected) {
		return violation(ws.StatusProtocolError)
	}
	return err
}

// pace is when the next message is due at the rate that is allowed.
type pace struct{ next time.Duration }

// slowDown waits where the Node has sent more than it may: a second's worth at once, and then at the rate.
func (c *conn) slowDown() {
	rate := c.b.set.Load().Limits.MessagesPerSecond
	now := time.Since(c.b.start)
	c.pace.next = max(c.pace.next, now-time.Second) + time.Second/time.Duration(rate)
	wait := c.pace.next - now
	if wait <= 0 {
		return
	}
	c.b.counts.slowed.Add(1)
	c.slowed.Store(int64(now))
	c.occupied.Store(true)
	timer := time.NewTimer(wait)
	select {
	case <-timer.C:
	case <-c.ctx.Done():
		timer.Stop()
	}
	c.occupied.Store(false)
	c.slowed.Store(int64(time.Since(c.b.start)))
}
