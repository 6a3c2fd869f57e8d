package app

import (
	"sync"
	"sync/atomic"
)

// life is how far the process has come.
type life struct {
	running atomic.Bool // all parts have been started
	served  atomic.Bool // the TURN server has ended
	once    sync.Once
	ending  chan struct{} // closed when the end has begun
}

func newLife() *life { return &life{ending: make(chan struct{})} }

// end begins the end, after before has been called. Only the first call does anything.
func (l *life) end(before func()) {
	l.once.Do(func() {
		before()
		close(l.ending)
	})
}

// draining reports whether the end has begun.
func (l *life) draining() bool {
	select {
	case <-l.ending:
		return true
	default:
		return false
	}
}

// notReady names what is not ready. Listeners are bound before Run, so only the start and the end are not.
func (l *life) notReady() []string {
	switch {
	case l.draining():
		return []string{"draining"}
	case !l.running.Load():
		return []string{"starting"}
	}
	return nil
}
