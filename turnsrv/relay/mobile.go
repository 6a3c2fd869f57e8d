package relay

import (
	"sync"
	"time"
)

// AwaitLife is how long a client may take to send something from where it is awaited: RFC 8489 §6.2.1 has it send a request
// for 40 s. After that somebody else may have its address.
const AwaitLife = time.Minute

// path is how a relay reaches its client. It never changes: a client that moves is given another one.
type path struct {
	Source

	largest int      // message that can be sent, in bytes
	to      peerAddr // a client on UDP, in the engine's form
}

func newPath(src Source) *path {
	p := &path{Source: src, largest: largestTo(src.Tuple)}
	if src.udp != nil {
		p.to.set(src.Client)
	}
	return p
}

// away takes the place of a path whose stream has ended.
func (p *path) away() *path { return newPath(Source{Tuple: p.Tuple, plane: p.plane}) }

func (p *path) isAway() bool { return p.udp == nil && p.stream == nil }

// is reports whether src names this path.
func (p *path) is(src Source) bool { return p.Tuple == src.Tuple && p.stream == src.stream }

// Await lets the relay's client come over another path, with the other relay of a pair (RFC 8016 §3.2.2). The present path
// goes on in both directions until the client sends something at src: data, or what makes the Handler call
// [Source.Arrive]. Then the present path ends, and a stream with it. It has [AwaitLife] for that from the last Await on. Where it
// was awaited before, it is not any more. Where the present path has ended already, what peers send goes to src at once,
// and it has all the relay's time. Errors are [ErrClosed], and [ErrInUse] if src has
// a relay or another one's client is awaited there.
func (r *Relay) Await(src Source) error {
	defer r.lock().Unlock()
	r = r.atClient()
	if r.dead.Load() {
		return ErrClosed
	}
	former := r.awaited
	if former != nil && former.is(src) {
		r.await(former)
		return nil
	}
	if src.Relay() != nil {
		return ErrInUse
	}
	next := newPath(src)
	if err := next.expect(r); err != nil {
		return err
	}
	if now := r.path.Load(); now == former || now.isAway() {
		r.lead(next)
		r.plane.gate.wait()
	}
	r.await(next)
	return nil
}

// Awaited is the relay whose client is awaited at s, or nil.
func (s Source) Awaited() *Relay {
	switch {
	case s.stream != nil:
		return s.stream.awaited.Load()
	case s.udp != nil:
		return s.udp.awaited.get(s.Client, s.Server.Addr())
	}
	return nil
}

// Arrive says that the client awaited at s, if any is, has shown that it is there. When it returns, nothing more is sent
// to where the client was before. It calls Config.OnClientMoved.
func (s Source) Arrive() {
	if r := s.Awaited(); r != nil {
		r.arrive(s)
	}
}

func (r *Relay) arrive(src Source) {
	mu := r.lock()
	r = r.atClient()
	next := r.awaited
	if next == nil || !next.is(src) || r.dead.Load() {
		mu.Unlock()
		return
	}
	former := r.path.Load()
	r.await(nil)
	if next.attach(r) != nil { // the stream has just ended, or there is another allocation now
		if former == next {
			r.lead(former.away())
		}
		mu.Unlock()
		return
	}
	r.lead(next)
	if former != next {
		former.detach(r)
	}
	mu.Unlock()
	r.plane.gate.wait()
	if former != next && former.stream != nil {
		former.stream.end("its client has moved to "+src.Client.String(), nil)
	}
	if f := r.plane.cfg.OnClientMoved; f != nil {
		f(r, former.Tuple, src.Tuple)
	}
}

// clientGone ends what a stream that has ended leads to, or has it wait for its client.
func (p *Plane) clientGone(r *Relay, s *stream, cause string) {
	if r.mobile {
		if p.cfg.OnClientAway != nil {
			p.cfg.OnClientAway(r, cause)
		}
		r.left(s)
		return
	}
	if p.cfg.OnClientGone != nil {
		p.cfg.OnClientGone(r, cause)
	}
	r.closeBoth()
}

// left takes a stream that has ended from a mobile relay. Where the client is awaited, it has what peers send from now on.
func (r *Relay) left(s *stream) {
	mu := r.lock()
	r = r.atClient()
	if r.awaited != nil && r.awaited.stream == s {
		r.await(nil)
	}
	if p := r.path.Load(); p.stream == s {
		if r.awaited != nil {
			r.lead(r.awaited)
			r.await(r.awaited)
		} else {
			r.lead(p.away())
		}
		p.detach(r)
	}
	mu.Unlock()
	r.plane.gate.wait()
}

// lock locks what belongs to the client's paths, of r and of the other of its pair.
func (r *Relay) lock() *sync.Mutex {
	mu := &r.moving
	if r.pair != nil {
		mu = &r.pair.mu
	}
	mu.Lock()
	return mu
}

// atClient is r or the other of its pair: the one that the client's 5-tuple leads to.
func (r *Relay) atClient() *Relay {
	if r.pair == nil {
		return r
	}
	if first := r.pair.relays[0]; !first.dead.Load() {
		return first
	}
	return r.pair.relays[1]
}

func (r *Relay) both() []*Relay {
	if r.pair == nil {
		return []*Relay{r}
	}
	return r.pair.relays[:]
}

// lead makes p the way to the client. Nothing else changes that after the relay was opened. What must not be sent the old
// way any more has left when the gate was waited for: whoever sends looks, inside a lane, whether its path is still the
// relay's. The lock is held.
func (r *Relay) lead(p *path) {
	for _, one := range r.both() {
		one.path.Store(p)
		if k := r.plane.kernel; k != nil {
			k.moved(one)
		}
	}
}

// await makes p, which may be nil, the path on which the client is awaited, from now on; it is entered already. The lock is
// held.
func (r *Relay) await(p *path) {
	if former := r.awaited; former != nil && former != p {
		former.handAwaited(r, nil)
	}
	until := int64(0)
	if p != nil && p != r.path.Load() {
		until = r.plane.served() + int64(AwaitLife)
	}
	for _, one := range r.both() {
		one.awaited = p
		one.until.Store(until)
	}
}

// giveUp ends the waiting for a client that has not come by now.
func (r *Relay) giveUp(now int64) {
	defer r.lock().Unlock()
	r = r.atClient()
	if at := r.until.Load(); at != 0 && at <= now {
		r.await(nil)
	}
}

// expect enters that r's client is awaited at s.
func (s Source) expect(r *Relay) error {
	switch {
	case s.stream != nil:
		return s.stream.expect(r)
	case s.udp != nil:
		if !s.udp.awaited.put(s.Client, s.Server.Addr(), r) {
			return ErrInUse
		}
		return nil
	}
	return ErrClosed
}

// handAwaited makes it o's client that is awaited at s, or nobody's, if it was r's.
func (s Source) handAwaited(r, o *Relay) {
	switch {
	case s.stream != nil:
		s.stream.awaited.CompareAndSwap(r, o)
	case s.udp == nil:
	case o == nil:
		s.udp.awaited.remove(s.Client, s.Server.Addr(), r)
	default:
		s.udp.awaited.replace(s.Client, s.Server.Addr(), r, o)
	}
}

func (s *stream) expect(r *Relay) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return ErrClosed
	}
	if !s.awaited.CompareAndSwap(nil, r) {
		return ErrInUse
	}
	return nil
}

// arrived is the relay of a client that has sent data at src, where it was awaited, or nil.
func (t *tx) arrived(src *Source) *Relay {
	if src.Awaited() == nil {
		return nil
	}
	t.flush()
	t.leave()
	src.Arrive()
	t.enter()
	t.at = src.Relay()
	return t.at
}
