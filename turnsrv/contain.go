package turnsrv

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// panicPause is how often a contained panic is logged at most: a stranger's message may have caused it.
const panicPause = time.Minute

// containment keeps a panic in the handling of one message from ending the process. No message should cause one; should
// one do so all the same, it is dropped and counted, and nobody else loses a call.
type containment struct {
	count  atomic.Uint64
	logged atomic.Int64 // when, Unix nanoseconds
}

// contain is to be deferred.
func (c *containment) contain(log *slog.Logger) {
	cause := recover()
	if cause == nil {
		return
	}
	c.count.Add(1)
	last, now := c.logged.Load(), time.Now().UnixNano()
	if now-last >= int64(panicPause) && c.logged.CompareAndSwap(last, now) {
		log.Error("a message was dropped that should never fail: please report this",
			"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	}
}

// Panics is how many messages were dropped because handling them panicked: always 0, but for a mistake of ours.
func (s *Server) Panics() uint64 { return s.panics.count.Load() }
