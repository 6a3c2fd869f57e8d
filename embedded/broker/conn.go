package broker

import (
	"bufio"
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/engineio"
	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/replicas"
	"github.com/crolang-p2p/crolang-aio/internal/places"
)

// causeLeft is the end of a connection that the Node itself meant.
const causeLeft = "it left"

// strangersWaiting is what may wait for a connection that has not joined.
const strangersWaiting = 256 << 10

// readBuffer is what a quiet connection keeps for reading; longer messages are read past it.
const readBuffer = 512

// conn is a connection of a Node, from its handshake to its end. Its goroutine reads, decides and answers, one message after
// the other; others may send to it, end it, and look at what is atomic.
type conn struct {
	b      *Broker
	place  *places.Seat
	from   netip.Addr
	opened time.Time
	join   Join
	lacks  string // the parameter that was not given exactly once

	nc     net.Conn // nil before the handshake has ended; set under b.mu
	in     *bufio.Reader
	out    outbox
	ctx    context.Context //nolint:containedctx // ends with the connection, for the Decider
	cancel context.CancelFunc

	timer    timer        // the wheel's
	pongAt   atomic.Int64 // since b.start; at first when the connection opened
	pingAt   atomic.Int64 // 0: no pong is waited for
	trip     atomic.Int64 // from the last ping to its pong, in nanoseconds; 0: none was answered yet
	readAt   atomic.Int64 // the last message that was read whole
	heard    atomic.Int64 // bytes
	handled  atomic.Int64 // of them, when the reader last had nothing left to do
	occupied atomic.Bool  // the Broker itself is not reading on: a policy takes its time, or the Node is slowed down
	slowed   atomic.Int64 // when that was so last

	// Guarded by b.mu: what this connection holds of its id.
	sid      string        // socket id; empty: it holds nothing
	freed    chan struct{} // closed when it holds it no more
	joinedAt time.Time     // zero: not joined

	proven  bool         // guarded by b.mu
	member  atomic.Bool  // it has joined, and not left since
	strange atomic.Int64 // since b.start: when it opened, or left
	ended   atomic.Bool
	// dismissed: Disconnect has ended it.
	dismissed atomic.Bool
	endOnce   sync.Once
	cause     string // why it ended; set once, before ctx ends
	stats     traffic

	// The reader's own.
	decoder  engineio.Decoder
	prepared *outcome // of joining, found before the handshake ended
	pace     pace
}

// Read counts what comes, for the reader's buffer.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.nc.Read(b)
	if n > 0 {
		c.heard.Add(int64(n))
	}
	return n, err
}

// send queues a text message of the Broker's own. A client that leaves too much of what it asked for unread is let go.
func (c *conn) send(msg []byte) bool {
	result := c.queue(msg, c.most())
	if result == full {
		c.unread()
	}
	return result == taken
}

// pass queues an event of another Node. What does not fit is refused, and it is for the sender to try again: nobody may end a
// Node by sending faster than its line is. A quarter of the room is for the Broker's own messages. One that takes nothing at
// all any more is let go.
func (c *conn) pass(msg []byte) bool {
	result := c.queue(msg, c.most()/4*3)
	if result == full {
		c.b.counts.behind.Add(1)
		if c.out.stuck(time.Now(), c.b.cfg.timing.stall) {
			c.unread()
		}
	}
	return result == taken
}

// most is how many bytes may wait.
func (c *conn) most() int {
	if !c.member.Load() {
		return strangersWaiting
	}
	return c.b.set.Load().Limits.WaitingBytes
}

func (c *conn) queue(msg []byte, most int) (result int) {
	result, start := c.out.put(ws.OpText, msg, most, &c.b.waiting)
	if start {
		go c.write()
	}
	if c.b.waiting.Load() > maxWaiting && result == taken {
		c.b.relieve()
	}
	return result
}

func (c *conn) unread() {
	if !c.ended.Load() {
		c.b.counts.unread.Add(1)
	}
	c.drop("it did not read what it was sent")
}

// compose hands what build appends to the buffer that it is given to deliver, which is send or pass.
func compose(deliver func([]byte) bool, build func(dst []byte) []byte) bool {
	buf := takeBuffer()
	defer giveBuffer(buf)
	*buf = build(*buf)
	return deliver(*buf)
}

func (c *conn) write() {
	c.out.write(c.nc, &c.b.waiting, func() { c.drop("writing to it failed") })
}

// drop ends the connection at once, without a word.
func (c *conn) drop(cause string) {
	c.finish(cause)
	if nc := c.net(); nc != nil {
		nc.Close()
	}
}

// net is the connection's, nil before its handshake has ended.
func (c *conn) net() net.Conn {
	c.b.mu.RLock()
	defer c.b.mu.RUnlock()
	return c.nc
}

// finish marks the end: no message of the client is handled any more, and none is sent to it but what the caller sends.
func (c *conn) finish(cause string) bool {
	first := false
	c.endOnce.Do(func() {
		first = true
		c.cause = cause
		c.ended.Store(true)
		c.cancel()
	})
	return first
}

// end tells the client that it is over, and ends TCP. Code 0 is a close frame without one; a Node that has joined is told by
// 41 as well, since JVM Nodes do not notice a close frame.
func (c *conn) end(code ws.StatusCode, cause string) {
	if !c.finish(cause) || c.net() == nil {
		return
	}
	joined := c.isJoined()
	start := c.out.finish(&c.b.waiting, func(put func(ws.OpCode, []byte)) {
		if joined {
			put(ws.OpText, []byte(engineio.Disconnect))
		}
		var body []byte
		if code != 0 {
			body = ws.NewCloseFrameBody(code, "")
		}
		put(ws.OpClose, body)
	})
	c.lastWords(start)
}

// hangUp ends TCP without a close frame: a Node tries again after that.
func (c *conn) hangUp(cause string) {
	if c.finish(cause) {
		c.lastWords(c.out.finish(&c.b.waiting, func(func(ws.OpCode, []byte)) {}))
	}
}

func (c *conn) lastWords(start bool) {
	_ = c.nc.SetDeadline(time.Now().Add(c.b.cfg.timing.linger))
	if start {
		go c.write()
	}
}

func (c *conn) isJoined() bool {
	c.b.mu.RLock()
	defer c.b.mu.RUnlock()
	return !c.joinedAt.IsZero()
}

// due is called by the wheel; it returns after how long again, 0 for never.
func (c *conn) due(now time.Time) time.Duration {
	if c.ended.Load() {
		return 0
	}
	t := &c.b.cfg.timing
	if c.out.stuck(now, t.stall) {
		c.unread()
		return 0
	}
	joinLeft := t.join
	if !c.member.Load() {
		if joinLeft = t.join - now.Sub(c.b.start) + time.Duration(c.strange.Load()); joinLeft <= 0 {
			c.end(0, "it did not join in time")
			return 0
		}
	}
	since := int64(now.Sub(c.b.start))
	ping, pong := c.pingAt.Load(), c.pongAt.Load()
	if ping != 0 && pong >= ping {
		c.pingAt.Store(0)
		ping = 0
	}
	if ping == 0 {
		left := time.Duration(pong) + t.pingInterval - time.Duration(since)
		if left > 0 {
			return min(left, joinLeft)
		}
		c.pingAt.Store(since)
		c.send([]byte(engineio.Ping))
		return min(t.pingTimeout, joinLeft)
	}
	if left := time.Duration(ping) + t.pingTimeout - time.Duration(since); left > 0 {
		return min(left, joinLeft)
	}
	if c.out.moving(now, t.stall) { // the ping is still behind what a slow line takes
		return min(t.pingTimeout, joinLeft)
	}
	// Where it is the Broker that does not read on, the pong may be among what waits.
	if c.occupied.Load() || c.slowed.Load() >= ping {
		if last := max(c.readAt.Load(), c.slowed.Load()); since-last < int64(t.pingTimeout) {
			return min(t.pingTimeout, joinLeft)
		}
	}
	c.end(0, "it did not answer a ping")
	return 0
}

// serve reads until the connection ends, and gives back all that it held. It owns the connection.
func (c *conn) serve() {
	defer c.b.conns.Done()
	defer c.b.places.Release(c.place)
	t := &c.b.cfg.timing
	c.pongAt.Store(int64(time.Since(c.b.start)))
	c.send(engineio.AppendOpen(nil, replicas.NewSID("")))
	c.b.wheel.set(c, min(t.pingInterval, t.join))
	c.readAll()
	c.finish("the connection was lost")
	c.b.wheel.stop(c)
	c.drain()
	c.nc.Close()
	c.out.close(&c.b.waiting)
	c.b.leave(c)
}

// drain takes what the client still sends until it ends or the deadline comes, so that the last words reach it: closing with
// data unread would reset the connection.
func (c *conn) drain() {
	c.out.mu.Lock()
	told := c.out.last
	c.out.mu.Unlock()
	if !told {
		return
	}
	var sink [512]byte
	for {
		if _, err := c.nc.Read(sink[:]); err != nil {
			return
		}
	}
}
