package relay

import (
	"errors"
	"fmt"
	"runtime/debug"
)

// A panic in the path of somebody's data ends that client's relay and connection, and nothing else: the goroutines that
// serve clients stop it, give it to Config.OnPanic and go on. What Go itself ends the process for, such as a stack that
// overflows or a map written to from two sides, cannot be stopped.

var errPanicked = errors.New("a mistake in the program ended the connection")

// panicked reports what recover returned. It is called from the deferred function, so that the stack is still there.
func (p *Plane) panicked(cause any) {
	if p.cfg.OnPanic != nil {
		p.cfg.OnPanic(cause)
		return
	}
	p.cfg.Logger.Error("relay: a panic was stopped", "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
}

// contain is to be deferred around what belongs to no client.
func (p *Plane) contain() {
	if cause := recover(); cause != nil {
		p.panicked(cause)
	}
}

// fail ends a relay and its client's connection because of a panic. No lane may be held.
func (p *Plane) fail(r *Relay) {
	if r == nil {
		return
	}
	defer func() {
		if cause := recover(); cause != nil {
			p.panicked(cause)
		}
	}()
	if s := r.src.stream; s != nil {
		defer s.end(errPanicked.Error(), errPanicked)
	}
	defer r.Close()
	if p.cfg.OnClientGone != nil {
		p.cfg.OnClientGone(r, errPanicked.Error())
	}
}

// recovered brings t into order after a panic: what it has gathered is lost, and the relay that it was at work for ends. It
// is in no lane then.
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

// guard calls f, which is part of the stream's serving, and makes a panic in it the stream's end.
func (s *stream) guard(f func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			s.plane.panicked(cause)
			err = errPanicked
		}
	}()
	return f()
}
