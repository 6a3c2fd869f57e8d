package turnsrv

import (
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync/atomic"
	"time"
)

// panicPause is how often a panic is logged at most: a stranger's message may have caused it.
const panicPause = time.Minute

// containment counts the panics that were stopped before they could end the process. Nothing should cause one. If
// something does, it ends the allocation and connection of the client in whose path it was, and nobody else loses a
// call. What cannot be stopped is a panic in pion/turn's own loop and timers, which handle nothing but Allocates and
// Refreshes that package control has rebuilt, and in the goroutines that pion/dtls starts itself.
type containment struct {
	count  atomic.Uint64
	logged atomic.Int64 // when, Unix nanoseconds
}

// stopped counts a panic, and logs it with its stack, once a minute at most. The deferred function that recovers calls
// it.
func (c *containment) stopped(log *slog.Logger, cause any) {
	c.count.Add(1)
	last, now := c.logged.Load(), time.Now().UnixNano()
	if now-last >= int64(panicPause) && c.logged.CompareAndSwap(last, now) {
		log.Error("a client was cut off by what should never fail: please report this",
			"panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
	}
}

// Panics returns how many panics were stopped before they could end the process: always 0, but for a mistake of ours.
func (s *Server) Panics() uint64 { return s.panics.count.Load() }
