package control

import (
	"hash/maphash"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/household"
)

const sourceSets = 4096 // of 4 sources each: 650 kB whatever strangers invent

// sources bounds what one source address gets in a second without authenticating: answers, and message integrities that
// are computed for it. An IPv6 source is its /64. The second begins with the source's first request, so that a burst
// gets exactly the limit.
type sources struct {
	limit  atomic.Int64 // of either; 0 for no limit
	now    func() time.Time
	states *cells[source]
}

type source struct {
	start   int64 // of the second, in Unix nanoseconds
	answers int
	tries   int
	aside   int
}

func newSources(limit int, now func() time.Time) *sources {
	s := &sources{now: now, states: newCells[source](sourceSets)}
	s.limit.Store(int64(limit))
	return s
}

func (s *sources) with(ip netip.Addr, f func(*source)) {
	a := household.Of(ip).Addr().As16()
	now := s.now().UnixNano()
	s.states.with(maphash.Bytes(s.states.seed, a[:]), now, func(v *source) {
		if now-v.start >= int64(time.Second) || now < v.start {
			*v = source{start: now}
		}
		f(v)
	})
}

// allow counts one answer to ip and reports whether it may be sent.
func (s *sources) allow(ip netip.Addr) (ok bool) {
	limit := int(s.limit.Load())
	if limit <= 0 {
		return true
	}
	s.with(ip, func(v *source) {
		v.answers++
		ok = v.answers <= limit
	})
	return ok
}

// asidePerSecond is how many answers one source gets in a second elsewhere than where it asked, or from elsewhere. A
// client that finds out about its NAT needs fewer than ten in all.
const asidePerSecond = 20

// allowAside counts one such answer, beside allow, and reports whether it may be sent.
func (s *sources) allowAside(ip netip.Addr) (ok bool) {
	s.with(ip, func(v *source) {
		v.aside++
		ok = v.aside <= asidePerSecond
	})
	return ok
}

// try reserves the computing of n integrities for ip in this second, and reports whether that is within the limit. The
// first request of a second always is. The caller returns them with spare if the request turns out right, so that only
// failures count.
func (s *sources) try(ip netip.Addr, n int) (ok bool) {
	limit := int(s.limit.Load())
	if limit <= 0 {
		return true
	}
	s.with(ip, func(v *source) {
		if ok = v.tries == 0 || v.tries+n <= limit; ok {
			v.tries += n
		}
	})
	return ok
}

func (s *sources) spare(ip netip.Addr, n int) {
	if s.limit.Load() > 0 {
		s.with(ip, func(v *source) { v.tries = max(0, v.tries-n) })
	}
}
