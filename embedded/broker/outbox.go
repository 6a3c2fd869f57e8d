package broker

import (
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

// buffers are those that frames wait and leave in; a quiet connection has none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4<<10); return &b }}

// keptBuffer is the greatest that is kept for another use.
const keptBuffer = 64 << 10

// piece is what is written at once, and kernelBuffer what waits in the kernel, which asks for more when a third of it has gone:
// so a client that takes 20 kB a second is seen to get on.
const (
	piece        = 16 << 10
	kernelBuffer = 256 << 10
)

func takeBuffer() *[]byte { return buffers.Get().(*[]byte) }

func giveBuffer(b *[]byte) {
	if cap(*b) <= keptBuffer {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// outbox is the frames that a connection is still to be sent. Whoever finds nobody writing starts a goroutine that writes
// until nothing is left, so that a slow client holds up nobody.
type outbox struct {
	mu      sync.Mutex
	pending *[]byte
	waiting int // bytes of pending, and of what is being written
	writing bool
	refused bool          // something did not fit, and the writer has not got on since
	moved   time.Time     // when the writer last got on, or began
	last    bool          // nothing is taken any more; the connection's own half is closed after what waits
	idle    chan struct{} // closed when the writer has ended, where somebody waits for it
}

// verdict of put.
const (
	taken = iota
	full  // more would wait than may
	closed
)

// put queues a frame with msg, which it copies. The caller starts [conn.write] where start is true.
func (o *outbox) put(op ws.OpCode, msg []byte, most int, total *atomic.Int64) (result int, start bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.last:
		return closed, false
	case o.waiting+len(msg) > most:
		o.refused = true
		return full, false
	}
	start = o.append(op, msg, total)
	return taken, start
}

// finish queues the last frames; nothing is taken after them.
func (o *outbox) finish(total *atomic.Int64, frames func(put func(op ws.OpCode, msg []byte))) (start bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.last {
		return false
	}
	start = !o.writing
	frames(func(op ws.OpCode, msg []byte) { o.append(op, msg, total) })
	o.last, o.writing = true, true
	return start
}

// Held: mu.
func (o *outbox) append(op ws.OpCode, msg []byte, total *atomic.Int64) (start bool) {
	if o.pending == nil {
		o.pending = takeBuffer()
	}
	b := *o.pending
	before := len(b)
	b = append(b, 0x80|byte(op))
	switch n := len(msg); {
	case n < 126:
		b = append(b, byte(n))
	case n < 1<<16:
		b = append(b, 126, byte(n>>8), byte(n))
	default:
		b = append(b, 127, 0, 0, 0, 0, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	b = append(b, msg...)
	*o.pending = b
	o.waiting += len(b) - before
	total.Add(int64(len(b) - before))
	start = !o.writing
	if start {
		o.moved = time.Now()
	}
	o.writing = true
	return start
}

// moving reports whether something is being written, and the client has taken some of it within the last d.
func (o *outbox) moving(now time.Time, d time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writing && now.Sub(o.moved) < d
}

// stuck reports whether something was refused, and the client has taken nothing for d.
func (o *outbox) stuck(now time.Time, d time.Duration) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.writing && o.refused && now.Sub(o.moved) >= d
}

// write sends what waits until nothing is left. failed is called where the client does not take it.
func (o *outbox) write(nc net.Conn, total *atomic.Int64, failed func()) {
	done := 0
	for {
		o.mu.Lock()
		o.waiting -= done
		buf := o.pending
		o.pending = nil
		if buf == nil {
			o.writing = false
			last := o.last
			if o.idle != nil {
				close(o.idle)
				o.idle = nil
			}
			o.mu.Unlock()
			if half, ok := nc.(interface{ CloseWrite() error }); last && ok {
				_ = half.CloseWrite()
			}
			return
		}
		o.mu.Unlock()
		err := o.writeAll(nc, *buf)
		done = len(*buf)
		total.Add(-int64(done))
		giveBuffer(buf)
		if err != nil {
			failed()
		}
	}
}

// writeAll writes b piece by piece, so that it is seen whether a slow client takes it at all.
func (o *outbox) writeAll(nc net.Conn, b []byte) error {
	for len(b) > 0 {
		n, err := nc.Write(b[:min(len(b), piece)])
		if err != nil {
			return err
		}
		b = b[n:]
		o.mu.Lock()
		o.moved, o.refused = time.Now(), false
		o.mu.Unlock()
	}
	return nil
}

// close refuses what comes and waits for the writer, which the connection's end has woken.
func (o *outbox) close(total *atomic.Int64) {
	o.mu.Lock()
	o.last = true
	if o.pending != nil && !o.writing {
		total.Add(-int64(len(*o.pending)))
		giveBuffer(o.pending)
		o.pending = nil
	}
	var idle chan struct{}
	if o.writing {
		idle = make(chan struct{})
		o.idle = idle
	}
	o.mu.Unlock()
	if idle != nil {
		<-idle
	}
}
