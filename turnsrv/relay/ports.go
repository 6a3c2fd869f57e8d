package relay

import (
	"crypto/rand"
	"fmt"
	"math/bits"
	mrand "math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// reservationTime is how long the port of a token is kept (RFC 8656 §7.2).
const reservationTime = 30 * time.Second

// ports is one family's range of relay ports: which are taken, and whose they are.
type ports struct {
	family Family
	min    uint16
	relays []atomic.Pointer[Relay] // by port - min

	mu    sync.Mutex
	taken []uint64 // a bit per port; those beyond the range are set
}

func newPorts(f Family, lo, hi uint16) *ports {
	n := int(hi) - int(lo) + 1
	t := &ports{family: f, min: lo, relays: make([]atomic.Pointer[Relay], n), taken: make([]uint64, (n+63)/64)}
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

// owns says whether ip is an address of this family's relays.
func (t *ports) owns(ip netip.Addr) bool {
	return ip == t.family.Advertise || ip == t.family.Bind && !ip.IsUnspecified()
}

// take binds a free port with bind, which reports whether it worked; a port that somebody else on this machine holds
// is passed over. The search begins anywhere, so that ports are not to be guessed and a freed one is not at once the
// next client's, and goes round the whole range. With pair the port is even and the one above is taken too.
func (t *ports) take(even, pair bool, bind func(port uint16) (bool, error)) error {
	n := len(t.relays)
	start := mrand.IntN(n)
	for tried := 0; tried < n; {
		i, skipped := t.claim((start+tried)%n, n-tried, even, pair)
		if i < 0 {
			return ErrNoPorts
		}
		tried += skipped + 1
		port := t.min + uint16(i)
		ok, err := bind(port)
		if ok {
			return nil
		}
		t.release(port)
		if pair {
			t.release(port + 1)
		}
		if err != nil {
			return err
		}
	}
	return ErrNoPorts
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

// reservation keeps a bound socket for the one who has its token.
type reservation struct {
	ports   *ports
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

// add keeps v under a token that cannot be guessed. It takes v over only without an error.
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
