package relay

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math/bits"
	mrand "math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// reservationTime is how long the port of a token is kept (RFC 8656 §7.2).
const reservationTime = 30 * time.Second

// ports is one family's range of relay ports: which are taken, and whose they are.
type ports struct {
	places atomic.Pointer[places]
	min    uint16
	relays []atomic.Pointer[Relay] // by port - min

	mu        sync.Mutex
	taken     []uint64 // a bit per port; those beyond the range are set
	forbidden int      // of those taken
}

// places are the addresses of a family's relays. They are replaced as a whole.
type places struct {
	now     *place   // of new relays; its Bind is invalid where the family is off
	earlier []*place // of those that live on since it was another
}

type place struct {
	Family
	live atomic.Int32 // relays
}

func newPorts(f Family, lo, hi uint16) *ports {
	n := int(hi) - int(lo) + 1
	t := &ports{min: lo, relays: make([]atomic.Pointer[Relay], n), taken: make([]uint64, (n+63)/64)}
	t.places.Store(&places{now: &place{Family: f}})
	for i := n; i < len(t.taken)*64; i++ {
		t.taken[i/64] |= 1 << (i % 64)
	}
	return t
}

// at is the live relay on a port, or nil.
func (t *ports) at(port uint16) *Relay {
	i := int(port) - int(t.min)
	if i < 0 || i >= len(t.relays) {
		return nil
	}
	if r := t.relays[i].Load(); r != nil && !r.dead.Load() {
		return r
	}
	return nil
}

// has reports whether ip is one of the family's two addresses.
func (f *Family) has(ip netip.Addr) bool {
	return f.Bind.IsValid() && (ip == f.Advertise || ip == f.Bind && !ip.IsUnspecified())
}

// owns reports whether ip is an address of new relays, or of one that may live.
func (t *ports) owns(ip netip.Addr) bool {
	p := t.places.Load()
	return p.now.has(ip) || slices.ContainsFunc(p.earlier, func(f *place) bool { return f.has(ip) })
}

// hasRelay reports whether a live relay other than r has the address ip.
func (t *ports) hasRelay(ip netip.Addr, r *Relay) bool {
	p := t.places.Load()
	live := func(f *place) bool {
		n := f.live.Load()
		if r != nil && r.family == f && !r.dead.Load() {
			n--
		}
		return n > 0 && f.has(ip)
	}
	return live(p.now) || slices.ContainsFunc(p.earlier, live)
}

// relayAt is the live relay that has the address a, or nil.
func (t *ports) relayAt(a netip.AddrPort) *Relay {
	if r := t.at(a.Port()); r != nil && r.family.has(a.Addr()) {
		return r
	}
	return nil
}

// enter makes r findable. Its place then counts as this server's until move finds no relay there.
func (t *ports) enter(r *Relay) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.relays[r.port-t.min].Store(r)
	r.family.live.Add(1)
	if p := t.places.Load(); p.now != r.family && !slices.Contains(p.earlier, r.family) {
		t.places.Store(&places{p.now, append(slices.Clone(p.earlier), r.family)})
	}
}

// leave undoes enter. It may be called repeatedly, and for a relay that was not entered.
func (t *ports) leave(r *Relay) {
	if t.relays[r.port-t.min].CompareAndSwap(r, nil) {
		r.family.live.Add(-1)
	}
}

// move gives new relays the place f, and forgets earlier ones in which no relay lives. It returns every address that
// relays are told to have.
func (t *ports) move(f Family) (advertised []netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.places.Load()
	next := &places{now: old.now}
	if old.now.Family != f {
		next.now = &place{Family: f}
	}
	if next.now != old.now || len(old.earlier) > 0 {
		for i := range t.relays {
			if r := t.relays[i].Load(); r != nil && r.family != next.now && !slices.Contains(next.earlier, r.family) {
				next.earlier = append(next.earlier, r.family)
			}
		}
		t.places.Store(next)
	}
	for _, p := range append(slices.Clone(next.earlier), next.now) {
		if p.Bind.IsValid() && !slices.Contains(advertised, p.Advertise) {
			advertised = append(advertised, p.Advertise)
		}
	}
	return advertised
}

// take binds a free port with bind, which reports whether it worked. It passes over ports that somebody else on this
// machine holds, and marks those that may not be bound, so that they are not tried again. The search begins anywhere,
// so that ports cannot be guessed and a freed one does not go to the next client at once, and goes round the whole
// range. With pair the port is even and the one above is taken too.
func (t *ports) take(even, pair bool, bind func(port uint16) (bool, error)) error {
	n := len(t.relays)
	start := mrand.IntN(n)
	for tried := 0; tried < n; {
		i, skipped := t.claim((start+tried)%n, n-tried, even, pair)
		if i < 0 {
			return t.none()
		}
		tried += skipped + 1
		port := t.min + uint16(i)
		ok, err := bind(port)
		if ok {
			return nil
		}
		if errors.Is(err, errForbidden) {
			if err = nil; !pair {
				t.forbid()
				continue // it stays claimed
			}
		}
		t.release(port)
		if pair {
			t.release(port + 1)
		}
		if err != nil {
			return err
		}
	}
	return t.none()
}

// none is the error if no port is left.
func (t *ports) none() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.forbidden > 0 {
		return ErrPrivileged
	}
	return ErrNoPorts
}

// forbid notes that a claimed port may not be bound. It stays claimed.
func (t *ports) forbid() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forbidden++
}

// claim marks the first free port from index start on, looking at most at limit of them. It returns the port's index
// and how many were skipped before it, or -1.
func (t *ports) claim(start, limit int, even, pair bool) (index, skipped int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(t.relays)
	for skipped < limit {
		i := (start + skipped) % n
		word := t.taken[i/64] >> (i % 64)
		if word&1 != 0 {
			// Everything up to the next free bit of the word, or the rest of the word, but not across the range's end.
			skipped += min(bits.TrailingZeros64(^word), 64-i%64, n-i)
			continue
		}
		odd := (int(t.min)+i)%2 != 0
		if even && odd || pair && (i+1 >= n || t.taken[(i+1)/64]>>((i+1)%64)&1 != 0) {
			skipped++
			continue
		}
		t.taken[i/64] |= 1 << (i % 64)
		if pair {
			t.taken[(i+1)/64] |= 1 << ((i + 1) % 64)
		}
		return i, skipped
	}
	return -1, skipped
}

func (t *ports) release(port uint16) {
	i := int(port - t.min)
	t.mu.Lock()
	t.taken[i/64] &^= 1 << (i % 64)
	t.mu.Unlock()
}

// free is how many ports nobody holds.
func (t *ports) free() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, w := range t.taken {
		n += bits.OnesCount64(^w)
	}
	return n
}

// reservation keeps a bound socket for the client that has its token.
type reservation struct {
	ports   *ports
	family  *place
	port    uint16
	sock    relaySocket
	expires time.Time
}

func (v *reservation) drop() {
	v.sock.close()
	v.ports.release(v.port)
}

// reservations is the bounded table of tokens.
type reservations struct {
	mu     sync.Mutex
	limit  int
	closed bool
	byTok  map[[8]byte]*reservation
}

// add keeps v under a token that cannot be guessed. If it returns an error, v is still the caller's.
func (s *reservations) add(v *reservation) (token [8]byte, err error) {
	if _, err := rand.Read(token[:]); err != nil {
		return token, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return token, ErrClosed
	}
	if len(s.byTok) >= s.limit {
		return token, fmt.Errorf("%w: %d reservations are held", ErrNoPorts, s.limit)
	}
	if s.byTok == nil {
		s.byTok = make(map[[8]byte]*reservation)
	}
	s.byTok[token] = v
	return token, nil
}

// redeem takes the reservation of a token out of the table.
func (s *reservations) redeem(token [8]byte, now time.Time) (*reservation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.byTok[token]
	if v == nil || now.After(v.expires) {
		return nil, ErrToken
	}
	delete(s.byTok, token)
	return v, nil
}

// sweep drops what has expired; with all, everything, and no more is taken in.
func (s *reservations) sweep(now time.Time, all bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = s.closed || all
	for token, v := range s.byTok {
		if all || now.After(v.expires) {
			delete(s.byTok, token)
			v.drop()
		}
	}
}
