package relay

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Config.TotalBitsPerSecond is divided among Shares so that none gets more as long as another wants more and has less
// (max-min fairness): there is one level, and each Share may have as much as that. Now and then the level is set to where
// what all take comes to the total, so that what one leaves is there for the others. Each Share has a token bucket that
// fills at the level; none but its own datagrams touch it. A bucket of all holds the total while the level is still
// behind, such as when many begin at once. Workers take from it in lumps, lest all cores write to it for each datagram.

const (
	balanceEvery = 100 * time.Millisecond
	// What comes at once may be a quarter of a second's worth.
	shareBurst = int64(250 * time.Millisecond)
	// aimed is the part of the total to which the level is set. Were it all, the bucket of all would be empty at each
	// moment, and would refuse datagrams of those who want little.
	aimed = 0.97
)

// Share is what the relays of one Node take of Config.TotalBitsPerSecond. A Share belongs to one Plane.
type Share struct {
	full   atomic.Int64 // as meter.full
	wanted atomic.Int64 // bytes that came since the last balance, whatever became of them

	relays int     // of fair.mu
	demand float64 // bits per second, smoothed; of the balance
	_      [24]byte
}

// NewShare makes one.
func NewShare() *Share { return new(Share) }

// limits are what datagrams are measured against. They are replaced as a whole.
type limits struct {
	each  rate // of each relay and direction
	all   rate // of all together
	level rate // of each Share
}

func (l *limits) none() bool { return l.each.bitsPerSecond == 0 && l.all.bitsPerSecond == 0 }

// fair has the Shares of live relays.
type fair struct {
	full atomic.Int64  // of the bucket of all
	set  chan struct{} // has room for one; filled when there may be another total

	mu     sync.Mutex // also of those who replace Plane.limits
	shares map[*Share]struct{}
	last   int64 // when it was balanced
}

func (f *fair) enter(s *Share) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s.relays++
	f.shares[s] = struct{}{}
}

func (f *fair) leave(s *Share) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s.relays--; s.relays == 0 {
		delete(f.shares, s)
	}
}

// SetBitsPerSecond replaces Config.BitsPerSecond, for live relays too.
func (p *Plane) SetBitsPerSecond(n int64) {
	p.fair.mu.Lock()
	next := *p.limits.Load()
	next.each = newRate(max(0, n))
	p.limits.Store(&next)
	p.fair.mu.Unlock()
	p.limited()
}

// SetTotalBitsPerSecond replaces Config.TotalBitsPerSecond, for live relays too.
func (p *Plane) SetTotalBitsPerSecond(n int64) {
	p.fair.mu.Lock()
	next := *p.limits.Load()
	if n = max(0, n); n != next.all.bitsPerSecond {
		next.all, next.level = newRate(n), newRate(n)
		p.limits.Store(&next)
	}
	p.fair.mu.Unlock()
	p.limited()
	select {
	case p.fair.set <- struct{}{}:
	default:
	}
}

// Limited reports whether there is a limit of bits per second. While there is, nothing is relayed by Config.Kernel.
func (p *Plane) Limited() bool { return !p.limits.Load().none() }

// limited follows other limits: the kernel knows none.
func (p *Plane) limited() {
	if p.kernel != nil {
		p.kernel.limit()
	}
}

// balancer balances until ctx ends, while there is a total.
func (p *Plane) balancer(ctx context.Context) {
	defer p.serving.Done()
	tick := time.NewTicker(balanceEvery)
	defer tick.Stop()
	for {
		c := tick.C
		if p.limits.Load().all.bitsPerSecond == 0 {
			tick.Stop()
			c = nil
		}
		select {
		case <-ctx.Done():
			return
		case <-p.fair.set:
			tick.Reset(balanceEvery)
		case <-c:
			func() {
				defer p.contain()
				p.balance()
			}()
		}
	}
}

// balance sets the level by what has come since the last time.
func (p *Plane) balance() {
	f := &p.fair
	f.mu.Lock()
	defer f.mu.Unlock()
	now := p.since(p.cfg.Now())
	took := now - f.last
	next := *p.limits.Load()
	if took <= 0 || next.all.bitsPerSecond == 0 {
		return
	}
	f.last = now
	total := float64(next.all.bitsPerSecond)
	demands := make([]float64, 0, len(f.shares))
	for s := range f.shares {
		// To want more than there is means nothing, and would only be remembered for longer.
		s.smooth(min(total, float64(s.wanted.Swap(0))*8e9/float64(took)), time.Duration(took))
		if s.demand >= 1 {
			demands = append(demands, s.demand)
		}
	}
	next.level = newRate(max(1, int64(level(demands, aimed*total))))
	p.limits.Store(&next)
}

// smooth follows what is wanted now: more of it soon, less of it within half a second, since what is sent comes in bursts.
func (s *Share) smooth(now float64, took time.Duration) {
	within := 300 * time.Millisecond
	if now > s.demand {
		within = 150 * time.Millisecond
	}
	s.demand += (now - s.demand) * (1 - math.Exp(-float64(took)/float64(within)))
}

// level is how much each may have so that all together take the total: none that wants less gets less than it wants. If
// there is enough, one may have what is left on top of the most that any wants. It sorts demands.
func level(demands []float64, total float64) float64 {
	slices.SortFunc(demands, cmp.Compare[float64])
	left := total
	for i, d := range demands {
		if even := left / float64(len(demands)-i); d > even {
			return even
		}
		left -= d
	}
	if len(demands) == 0 {
		return total
	}
	return demands[len(demands)-1] + left
}

// pay takes n bytes out of an allowance of which no more than shareBurst is owed, at the time now. Unlike allow it lets the
// last datagram overdraw it: at a low level the largest would never pass otherwise.
func (r rate) pay(full *atomic.Int64, now int64, n int) bool {
	for {
		old := full.Load()
		from := max(old, now)
		if from-now > shareBurst {
			return false
		}
		if full.CompareAndSwap(old, from+r.cost(n)) {
			return true
		}
	}
}

// admit applies the limits to one datagram of a relay with so many bytes of payload. The datagram counts with its headers, as
// on the wire between relay and peer, so that empty ones are not free.
func (t *tx) admit(r *Relay, m *meter, bytes int) bool {
	if t.now == 0 {
		return true
	}
	l, n := t.plane.limits.Load(), bytes+headers(r.family.Bind)
	full := &m.full
	if p := r.pair; p != nil {
		full = &p.full[0]
		if m == &r.down {
			full = &p.full[1]
		}
	}
	if !l.each.allow(full, t.now, n) {
		m.drop(OverLimit, 1)
		return false
	}
	if l.all.bitsPerSecond != 0 && !t.fair(r.share, l, n) {
		m.drop(OverTotal, 1)
		return false
	}
	return true
}

// fair takes n bytes from a Share, and from what there is for all.
func (t *tx) fair(s *Share, l *limits, n int) bool {
	s.wanted.Add(int64(n))
	if !l.level.pay(&s.full, t.now, n) {
		return false
	}
	if t.credit < n {
		all := &t.plane.fair.full
		switch {
		case l.all.pay(all, t.now, max(n, lump)):
			t.credit += max(n, lump)
		default:
			return false
		}
	}
	t.credit -= n
	return true
}
