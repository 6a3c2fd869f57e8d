// Package contain keeps account of panics that were stopped before they could end the process.
package contain

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// pause is how often a panic is logged at most: a stranger's message may have caused it.
const pause = time.Minute

// Panics counts panics. Nothing should cause one. If something does, it ends the connection in whose path it was, and
// nobody else notices. The zero value is ready; any goroutine may use it.
type Panics struct {
	count  atomic.Uint64
	logged atomic.Int64 // when, Unix nanoseconds
}

// Stopped counts a panic, and logs it with its stack, once a minute at most. message says what it has ended, and what to do. The deferred
// function that recovers must call it, since the stack is that of the panic until then.
func (p *Panics) Stopped(log *slog.Logger, message string, cause any) {
	p.count.Add(1)
	last, now := p.logged.Load(), time.Now().UnixNano()
	if now-last >= int64(pause) && p.logged.CompareAndSwap(last, now) {
		log.Error(message, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	}
}

// Count is how many panics were stopped.
func (p *Panics) Count() uint64 { return p.count.Load() }
