package control

import (
	"hash/maphash"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

const (
	sourceSets = 4096 // 4096 sets of 4 slots of 24 bytes: 400 kB whatever strangers invent
	sourceWays = 4
)

// sources bounds how many answers one source address is given per second without having proved who it is. An IPv6
// source is its /64. The table has a fixed size: in a full set the source that was idle longest gives way.
type sources struct {
	limit atomic.Int64 // per second; 0 for no limit
	seed  maphash.Seed
	now   func() time.Time
	mu    [64]sync.Mutex
	sets  [sourceSets][sourceWays]sourceSlot
}

type sourceSlot struct {
	key   uint64
	start int64 // of the window of one second, in Unix nanoseconds
	count int
}

func newSources(limit int, now func() time.Time) *sources {
	s := &sources{seed: maphash.MakeSeed(), now: now}
	s.limit.Store(int64(limit))
	return s
}

// allow counts one answer to ip and says whether it may be sent. The window begins with a source's first request, so
// that a burst gets exactly limit answers in its first second.
func (s *sources) allow(ip netip.Addr) bool {
	limit := int(s.limit.Load())
	if limit <= 0 {
		return true
	}
	if ip.Is6() && !ip.Is4In6() {
		p, _ := ip.WithZone("").Prefix(64)
		ip = p.Addr()
	}
	a := ip.As16()
	key := maphash.Bytes(s.seed, a[:]) | 1 // 0 marks an empty slot
	now := s.now().UnixNano()
	set := key >> 32 % sourceSets
	mu := &s.mu[set%uint64(len(s.mu))]
	mu.Lock()
	defer mu.Unlock()
	slots := &s.sets[set]
	victim := &slots[0]
	for i := range slots {
		slot := &slots[i]
		if slot.key == key {
			if now-slot.start >= int64(time.Second) || now < slot.start {
				slot.start, slot.count = now, 0
			}
			slot.count++
			return slot.count <= limit
		}
		if slot.start < victim.start {
			victim = slot
		}
	}
	*victim = sourceSlot{key: key, start: now, count: 1}
	return true
}
