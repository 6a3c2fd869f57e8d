package turnsrv

import (
	"container/list"
	"net/netip"
	"sync"
	"time"
)

// turnstile lets only so many handshakes compute at a time, and those that wait by turns of their sources: whoever sends
// ClientHellos without end waits for its own, the others for one of its, and relaying keeps its share of the processor.
// Its methods are safe for concurrent use.
type turnstile struct {
	mu    sync.Mutex
	free  int
	lines map[netip.Addr]*line // by source
	turns list.List            // of *line, the one whose turn it is first
}

// line is those of one source that wait.
type line struct {
	source  netip.Addr
	waiting list.List // of chan struct{}, closed when its owner is in
	at      *list.Element
}

func newTurnstile(atOnce int) *turnstile {
	return &turnstile{free: atOnce, lines: make(map[netip.Addr]*line)}
}

// enter waits for the turn of a client at source, but not for longer than patience. True: it is in, and calls leave.
func (t *turnstile) enter(source netip.Addr, patience time.Duration) bool {
	in, out := t.join(source)
	if in == nil {
		return true
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-in:
		return true
	case <-timer.C:
		return !out()
	}
}

// join enters at once, or stands in line: in is closed when it is in. out leaves the line, and reports whether it did: it
// may be in already.
func (t *turnstile) join(source netip.Addr) (in chan struct{}, out func() bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.free > 0 { // nobody waits then
		t.free--
		return nil, nil
	}
	l := t.lines[source]
	if l == nil {
		l = &line{source: source}
		l.at = t.turns.PushBack(l)
		t.lines[source] = l
	}
	in = make(chan struct{})
	at := l.waiting.PushBack(in)
	return in, func() bool {
		t.mu.Lock()
		defer t.mu.Unlock()
		select {
		case <-in:
			return false
		default:
		}
		l.waiting.Remove(at)
		t.tidy(l)
		return true
	}
}

// leave lets the next one in.
func (t *turnstile) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	next := t.turns.Front()
	if next == nil {
		t.free++
		return
	}
	l := next.Value.(*line)
	close(l.waiting.Remove(l.waiting.Front()).(chan struct{}))
	t.turns.MoveToBack(next)
	t.tidy(l)
}

// tidy forgets a line where nobody stands any more.
func (t *turnstile) tidy(l *line) {
	if l.waiting.Len() == 0 {
		t.turns.Remove(l.at)
		delete(t.lines, l.source)
	}
}
