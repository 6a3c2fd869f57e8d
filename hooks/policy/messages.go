package policy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	messageAttempts   = 5
	messageMaxBackoff = 30 * time.Second
	messageAnswer     = 64 << 10 // bytes of an answer that are read to keep the connection
)

// notice is a message that is to be forwarded.
type notice struct {
	from string
	body []byte
}

// queue holds the messages that are to be forwarded. It outlives reloads.
type queue struct {
	counts *counters
	lost   func(node string) // see Config.Dropped
	wake   chan struct{}

	mu    sync.Mutex
	items []notice
	limit int
}

func newQueue(counts *counters, lost func(node string)) *queue {
	if lost == nil {
		lost = func(string) {}
	}
	return &queue{counts: counts, lost: lost, wake: make(chan struct{}, 1)}
}

// drop counts a message that is not forwarded, and tells whose it was.
func (q *queue) drop(n notice) {
	q.counts.dropped.Add(1)
	q.lost(n.from)
}

func (q *queue) resize(limit int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit = limit
}

// put queues a message, or counts it as dropped. It never waits.
func (q *queue) put(n notice) {
	q.mu.Lock()
	full := len(q.items) >= q.limit
	if !full {
		q.items = append(q.items, n)
	}
	q.mu.Unlock()
	if full {
		q.drop(n)
		return
	}
	q.poke()
}

func (q *queue) poke() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take waits for a message. false: ctx ended.
func (q *queue) take(ctx context.Context) (notice, bool) {
	for {
		q.mu.Lock()
		if len(q.items) > 0 {
			next := q.items[0]
			q.items[0] = notice{}
			q.items = q.items[1:]
			more := len(q.items) > 0
			if !more {
				q.items = nil // the array behind would grow for ever
			}
			q.mu.Unlock()
			if more {
				q.poke() // for the next worker
			}
			return next, true
		}
		q.mu.Unlock()
		select {
		case <-q.wake:
		case <-ctx.Done():
			return notice{}, false
		}
	}
}

func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)
}

// empty drops all messages and returns how many there were.
func (q *queue) empty() int {
	q.mu.Lock()
	items := q.items
	q.items = nil
	q.mu.Unlock()
	for _, n := range items {
		q.drop(n)
	}
	return len(items)
}

// forward is a worker: it posts messages one after the other until ctx ends.
func (u *upstream) forward(ctx context.Context, q *queue) {
	for {
		n, ok := q.take(ctx)
		if !ok {
			return
		}
		switch err := u.deliver(ctx, n.body); {
		case err == nil:
			u.counts.forwarded.Add(1)
		case ctx.Err() != nil:
			q.put(n) // for the workers after a reload
			return
		default:
			q.drop(n)
		}
	}
}

// deliver posts one message, and again after a while if that may help.
func (u *upstream) deliver(ctx context.Context, body []byte) (err error) {
	for attempt := 1; ; attempt++ {
		err = u.post(ctx, u.messages.url, body, passOver)
		u.note(&u.messages, err)
		if err == nil || attempt == messageAttempts || !worthRetrying(err) {
			return err
		}
		timer := time.NewTimer(backoff(attempt, messageMaxBackoff))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
	}
}

// passOver reads an answer that is of no interest: whoever gives it took the message. If it is short, its connection can be
// used again.
func passOver(answer io.Reader) error {
	if _, err := io.CopyN(io.Discard, answer, messageAnswer); err != nil && !errors.Is(err, io.EOF) {
		return plainError(err)
	}
	return nil
}

// worthRetrying reports whether the same message may be taken later.
func worthRetrying(err error) bool {
	var status statusError
	if !errors.As(err, &status) {
		return true
	}
	return status >= 500 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout
}

// Message forwards a message in mode upstream. It never waits.
func (p *Policy) Message(m Message) {
	if !p.engine.Load().forward {
		return
	}
	if m.Body == nil {
		p.queue.put(notice{m.From, encodeMessage(m)})
		return
	}
	p.queue.put(notice{m.From, bytes.Clone(m.Body)})
}
