package broker

import (
	"context"
	"sync"
	"time"
)

// slots of the wheel: with a tick of 100 ms they are 102 s, more than any wait.
const slots = 1024

// wheel calls connections at the times that they asked for, one goroutine for all of them. A connection has one time, and
// decides when it is called whether it is due: so pongs, which come often, move nothing here.
type wheel struct {
	tick time.Duration
	some chan struct{} // holds one after a first connection has come

	mu   sync.Mutex
	held int // connections
	at   int // the slot of now
	ring [slots]*conn
}

func newWheel(tick time.Duration) *wheel { return &wheel{tick: tick, some: make(chan struct{}, 1)} }

// timer is a connection's place in the wheel.
type timer struct {
	prev, next *conn
	slot       int // -1: none
}

// set has c called after d, in place of an earlier time.
func (w *wheel) set(c *conn, d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(c)
	w.link(c, d)
}

// Held: mu.
func (w *wheel) link(c *conn, d time.Duration) {
	ticks := int((d + w.tick - 1) / w.tick)
	slot := (w.at + min(max(ticks, 1), slots-1)) % slots
	c.timer = timer{next: w.ring[slot], slot: slot}
	if c.timer.next != nil {
		c.timer.next.timer.prev = c
	}
	w.ring[slot] = c
	if w.held++; w.held == 1 {
		select {
		case w.some <- struct{}{}:
		default:
		}
	}
}

// Held: mu.
func (w *wheel) unlink(c *conn) {
	t := &c.timer
	if t.slot < 0 {
		return
	}
	if t.prev != nil {
		t.prev.timer.next = t.next
	} else {
		w.ring[t.slot] = t.next
	}
	if t.next != nil {
		t.next.timer.prev = t.prev
	}
	*t = timer{slot: -1}
	w.held--
}

// stop forgets c. A call may be under way.
func (w *wheel) stop(c *conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.unlink(c)
}

func (w *wheel) empty() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.held == 0
}

// run turns the wheel until ctx ends. While it is empty it stands still, and costs nothing.
func (w *wheel) run(ctx context.Context) {
	ticker := time.NewTicker(w.tick)
	defer ticker.Stop()
	start, done := time.Now(), 0
	var due []*conn
	for {
		if w.empty() {
			ticker.Stop()
			select {
			case <-ctx.Done():
				return
			case <-w.some:
			}
			ticker.Reset(w.tick)
			start, done = time.Now(), 0
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		for target := int(time.Since(start) / w.tick); done < target; done++ {
			w.mu.Lock()
			w.at = (w.at + 1) % slots
			for c := w.ring[w.at]; c != nil; c = w.ring[w.at] {
				w.unlink(c)
				due = append(due, c)
			}
			w.mu.Unlock()
			for i, c := range due {
				due[i] = nil
				if again := c.contained(time.Now()); again > 0 {
					w.set(c, again)
				}
			}
			due = due[:0]
		}
	}
}
