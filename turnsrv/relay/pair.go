package relay

import (
	"net/netip"
	"sync"
	"sync/atomic"
)

// pair are the relays of a client that has one in each address family (RFC 8656 §7.2, ADDITIONAL-ADDRESS-FAMILY). Each has
// its own port, permissions and channels, by the family of the peers, and they end with it. The client and what it may
// send at all are common to both. One of them, the first as long as it lives, is what the client's 5-tuple leads to. A
// pair is complete before either of its relays can be found, and never changes: relays without one pay nothing for it.
type pair struct {
	relays [2]*Relay
	mu     sync.Mutex      // of ending one against ending the other, and of moving both
	full   [2]atomic.Int64 // as meter.full, of both together: up and down
}

// OpenPair is Open in both address families at once; o.Family, HasToken and Reserve do not count. Where only one can be had
// it opens that, and failed says why there is no other, by family: IPv4, IPv6. Where none can be had, r is nil.
func (p *Plane) OpenPair(src Source, o OpenOptions) (r *Relay, failed [2]error) {
	fail := func(err error) (*Relay, [2]error) { return nil, [2]error{err, err} }
	if p.closed.Load() {
		return fail(ErrClosed)
	}
	if src.Relay() != nil {
		return fail(ErrInUse)
	}
	o.HasToken, o.Reserve = false, false
	var both [2]*Relay
	for i, family := range [2]int{4, 6} {
		o.Family = family
		both[i], failed[i] = p.prepare(src, o)
	}
	if both[0] != nil && both[1] != nil {
		both[0].pair = &pair{relays: both}
		both[1].pair = both[0].pair
		both[1].path.Store(both[0].path.Load())
	}
	if r = both[0]; r == nil {
		r = both[1]
	}
	if r == nil {
		return nil, failed
	}
	if err := r.publish(); err != nil {
		r.closeBoth()
		return fail(err)
	}
	return r, failed
}

// Other is the other live relay of the client, in the other address family, or nil if it has none.
func (r *Relay) Other() *Relay {
	p := r.pair
	if p == nil {
		return nil
	}
	o := p.other(r)
	if o.dead.Load() {
		return nil
	}
	return o
}

// For is the client's live relay in the address family of ip, be it r or the other, or nil if it has none there.
func (r *Relay) For(ip netip.Addr) *Relay {
	if ip.Is4() != r.family.Bind.Is4() {
		return r.Other()
	}
	if r.dead.Load() {
		return nil
	}
	return r
}

func (p *pair) other(r *Relay) *Relay {
	if p.relays[0] == r {
		return p.relays[1]
	}
	return p.relays[0]
}

// leaveClient marks r as ended and takes it from its client, whose 5-tuples then lead to the other of the pair, if that
// lives.
func (r *Relay) leaveClient() {
	defer r.lock().Unlock()
	p, next := r.path.Load(), r.awaited
	if o := r.Other(); o != nil {
		p.hand(r, o)
		if next != nil {
			next.handAwaited(r, o)
		}
		r.dead.Store(true)
		return
	}
	r.dead.Store(true)
	p.detach(r)
	r.await(nil)
}

// closeBoth ends all that the client has.
func (r *Relay) closeBoth() {
	if r.pair != nil {
		r.pair.other(r).Close()
	}
	r.Close()
}

// permit is [Relay.Permit].
func (p *pair) permit(grants []Grant) error {
	var by [2][]Grant
	for _, g := range grants {
		i := 0
		if !g.Addr.Is4() {
			i = 1
		}
		by[i] = append(by[i], g)
	}
	for i, r := range p.relays {
		if len(by[1-i]) == 0 {
			return r.permitHere(by[i])
		}
	}
	return p.relays[0].change(func(four *access, now int64) error {
		until := now + int64(PermissionLife)
		fresh, err := four.enter(by[0], until)
		if err != nil {
			return err
		}
		// Nobody else holds both locks, so this order is no danger.
		err = p.relays[1].change(func(six *access, _ int64) error { return six.permit(by[1], until) })
		if err != nil {
			four.dropAll(fresh)
			return err
		}
		four.confirm(by[0], until)
		return nil
	})
}
