package hooks

import (
	"context"
	"io"
	"sync"

	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

const (
	bodyFree   = 64 << 10 // bytes of a body that nobody has to ask for: nearly all are shorter
	bodyAtOnce = 16 << 20 // bytes of all bodies together beyond those
)

// budget bounds what the bodies of all requests take at once: bodyAtOnce, and one body more. That one may go on when
// the rest is used up, else large bodies that have all come half could wait for each other.
type budget struct {
	mu    sync.Mutex
	left  int64
	over  *share        // who may go beyond it
	freed chan struct{} // closed when something was given back
}

func newBudget() *budget { return &budget{left: bodyAtOnce, freed: make(chan struct{})} }

// share is what one request has of the budget.
type share struct {
	of    *budget
	taken int64
}

// take waits for n bytes. waited: it had to. The error is that of ctx.
func (s *share) take(ctx context.Context, n int64) (waited bool, _ error) {
	b := s.of
	for {
		b.mu.Lock()
		switch {
		case b.over == s:
			b.mu.Unlock()
			return waited, nil
		case b.left >= n:
			b.left -= n
			s.taken += n
			b.mu.Unlock()
			return waited, nil
		case b.over == nil:
			b.over = s
			b.mu.Unlock()
			return waited, nil
		}
		freed := b.freed
		b.mu.Unlock()
		waited = true
		select {
		case <-freed:
		case <-ctx.Done():
			return waited, ctx.Err()
		}
	}
}

// giveBack gives all of it back.
func (s *share) giveBack() {
	b := s.of
	b.mu.Lock()
	defer b.mu.Unlock()
	if s.taken == 0 && b.over != s {
		return
	}
	b.left += s.taken
	s.taken = 0
	if b.over == s {
		b.over = nil
	}
	close(b.freed)
	b.freed = make(chan struct{})
}

// counted is a body that is paid for from the budget as it comes.
type counted struct {
	share
	body   io.Reader
	credit int64 // bytes that were paid for and have not come
	call   *call
	guard  *webguard.Guard
}

// Read implements [io.Reader].
func (c *counted) Read(p []byte) (int, error) {
	n, err := c.body.Read(p)
	for c.credit -= int64(n); c.credit < 0; c.credit += bodyFree {
		waited, err := c.take(c.call.r.Context(), bodyFree)
		if err != nil {
			return 0, err
		}
		if waited {
			c.guard.Extend(c.call.w) // it was not the client that took so long
		}
	}
	return n, err
}
