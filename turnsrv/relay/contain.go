package relay

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// A panic in the path of a client's data ends that client's relay and connection and nothing else: the goroutines that
// serve clients recover it, call Config.OnPanic and go on. It cannot be done for what Go ends the process for, such as
// a stack overflow or concurrent writes to a map.

var errPanicked = errors.New("a mistake in the program ended the connection")

// panicked passes on what recover returned. The deferred function calls it, so that the stack is still that of the
// panic.
func (p *Plane) panicked(cause any) {
	if p.cfg.OnPanic != nil {
		p.cfg.OnPanic(cause)
		return
	}
	p.cfg.Logger.Error("relay: a panic was stopped", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
}

// contain is deferred around work that belongs to no client.
func (p *Plane) contain() {
	if cause := recover(); cause != nil {
		p.panicked(cause)
	}
}

// fail ends a relay and its client's connection because of a panic. The caller must be in no lane.
func (p *Plane) fail(r *Relay) {
	if r == nil {
		return
	}
	defer func() {
		if cause := recover(); cause != nil {
			p.panicked(cause)
		}
	}()
	if s := r.path.Load().stream; s != nil {
		defer s.end(errPanicked.Error(), errPanicked)
	}
	defer r.closeBoth()
	if p.cfg.OnClientGone != nil {
		p.cfg.OnClientGone(r, errPanicked.Error())
	}
}

// recovered makes t usable again after a panic. It drops what t had gathered, leaves the lane, and ends the relay that
// t was working for.
func (t *tx) recovered(cause any) {
	t.plane.panicked(cause)
	t.forget()
	if t.inside {
		t.leave()
	}
	r := t.at
	t.at = nil
	t.plane.fail(r)
}

// guard calls f, a part of serving the stream, and turns a panic in it into an error.
func (s *stream) guard(f func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.plane.panicked(cause)
			err = errPanicked
		}
	}()
	return f()
}
