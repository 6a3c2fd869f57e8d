package redis

import (
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// writeChunk is written under one deadline, so that a slow client is told from one that does not read.
	writeChunk = 256 << 10
	// busyOutput is how much unread output makes a client's next command wait.
	busyOutput = 1 << 20
	// freeFrame is not counted against the shared room.
	freeFrame = 16 << 10
	// goodbye is how long the last reply may take.
	goodbye = 5 * time.Second
)

// frame is a reply, or a message that several clients are sent. Its bytes are never changed. Its room is given back
// when the last holder lets go.
type frame struct {
	data    []byte
	taken   int // of buffers
	buffers *budget
	holders atomic.Int32
}

func (f *frame) hold() { f.holders.Add(1) }

func (f *frame) release() {
	if f.holders.Add(-1) == 0 {
		f.buffers.give(f.taken)
	}
}

// outbox holds what is still to be sent to a client. put never waits: publishers must not depend on a subscriber. One
// goroutine, write, empties it.
type outbox struct {
	conn    net.Conn
	timeout time.Duration
	most    int // bytes

	mu      sync.Mutex
	changed sync.Cond // frames come or go, or ended
	frames  []*frame
	offset  int // of frames[0], sent already
	bytes   int
	ended   bool
}

func newOutbox(conn net.Conn, timeout time.Duration, most int) *outbox {
	o := &outbox{conn: conn, timeout: timeout, most: most}
	o.changed.L = &o.mu
	return o
}

// put queues f and holds it. It returns false if this client has too much unread.
func (o *outbox) put(f *frame) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended || len(f.data) == 0 {
		return true // nobody is there to miss it
	}
	if o.bytes+len(f.data) > o.most {
		return false
	}
	f.hold()
	o.frames = append(o.frames, f)
	o.bytes += len(f.data)
	o.changed.Broadcast()
	return true
}

// pending is how much is queued.
func (o *outbox) pending() (bytes, frames int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.bytes, len(o.frames)
}

// waitFree waits until little enough is pending for another command.
func (o *outbox) waitFree() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.bytes > busyOutput && !o.ended {
		o.changed.Wait()
	}
}

// end stops put; write returns when what is queued has gone out.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.changed.Broadcast()
}

// drop stops put and forgets what is queued.
func (o *outbox) drop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	o.sent(o.bytes)
}

// sent lets go of n bytes. Held: mu.
func (o *outbox) sent(n int) {
	n = min(n, o.bytes) // drop may have come before
	o.bytes -= n
	for n += o.offset; len(o.frames) > 0 && n >= len(o.frames[0].data); o.frames = o.frames[1:] {
		n -= len(o.frames[0].data)
		o.frames[0].release()
		o.frames[0] = nil
	}
	o.offset = n
	o.changed.Broadcast()
}

// write sends until the outbox has ended and is empty, or the client is gone or does not read.
func (o *outbox) write() {
	defer o.drop()
	for {
		chunk, n, ended := o.next()
		if n == 0 {
			return
		}
		wait := o.timeout
		if ended {
			wait = min(wait, goodbye)
		}
		if o.conn.SetWriteDeadline(time.Now().Add(wait)) != nil {
			return
		}
		if _, err := chunk.WriteTo(o.conn); err != nil {
			return
		}
		o.mu.Lock()
		o.sent(n)
		o.mu.Unlock()
	}
}

// next waits for frames and returns up to a chunk of them. They stay queued.
func (o *outbox) next() (chunk net.Buffers, n int, ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.frames) == 0 && !o.ended {
		o.changed.Wait()
	}
	skip := o.offset
	for _, f := range o.frames {
		b := f.data[skip:]
		b, skip = b[:min(len(b), writeChunk-n)], 0
		chunk, n = append(chunk, b), n+len(b)
		if n == writeChunk {
			break
		}
	}
	return chunk, n, o.ended
}
