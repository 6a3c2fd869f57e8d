// Package ties is what the machines of a fleet know together of who may talk with whom: pairs of Nodes of which a Broker was told
// so, the addresses at which Nodes were met, and which Node has the relay at an address of another machine. It does no I/O.
//
// What is said of pairs and addresses is only ever added to, and carries its time; of a machine's relays the last word counts. So
// what is heard twice, or late, does no harm.
package ties

import (
	"maps"
	"net/netip"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/tally"
)

// What a [Book] remembers at most. Pairs and sightings have two generations of this many: when the young one is full it becomes the
// old one, and what was in the old one is forgotten.
const (
	mostOwn   = 1 << 14 // of what this machine has noted itself, for others
	mostAll   = 1 << 18
	mostAt    = 1024    // Nodes at one address
	mostHeld  = 1 << 17 // relays of one machine
	mostFresh = 1 << 14 // of each kind, until Take; what is more is left to All
)

// again is after how long what has not changed is said again.
const again = time.Minute

type pairKey [2]tally.Mark

func keyOf(a, b tally.Mark) pairKey {
	if string(a[:]) > string(b[:]) {
		a, b = b, a
	}
	return pairKey{a, b}
}

type seenKey struct {
	addr netip.Addr
	node tally.Mark
}

// holder is who has a relay.
type holder struct {
	source string
	node   tally.Mark
	since  time.Time // when it was heard
}

// Book is what is known on one machine. Make it with [New]. Its methods may be called from any goroutine, and are quick.
type Book struct {
	now     func() time.Time
	changed chan struct{}

	mu       sync.RWMutex
	ownPairs stamps[pairKey]
	ownSeen  stamps[seenKey]
	ownHeld  map[netip.AddrPort]tally.Mark
	fresh    fresh

	pairs   stamps[pairKey]
	seen    stamps[seenKey]
	at      map[netip.Addr]map[tally.Mark]struct{} // the keys of seen by address
	holders map[netip.AddrPort]holder
	held    map[string]int // relays by source
}

// fresh is what was noted here since Take.
type fresh struct {
	pairs map[pairKey]int64
	seen  map[seenKey]int64
	held  map[netip.AddrPort]tally.Mark // the zero mark: it has ended
	lost  bool                          // there was more
}

// New makes an empty one. now tells the time; nil: [time.Now].
func New(now func() time.Time) *Book {
	if now == nil {
		now = time.Now
	}
	b := &Book{
		now: now, changed: make(chan struct{}, 1), ownHeld: map[netip.AddrPort]tally.Mark{},
		at: map[netip.Addr]map[tally.Mark]struct{}{}, holders: map[netip.AddrPort]holder{}, held: map[string]int{},
	}
	b.ownPairs.most, b.ownSeen.most, b.pairs.most, b.seen.most = mostOwn, mostOwn, mostAll, mostAll
	b.seen.forgotten = b.forgot
	b.fresh.clear()
	return b
}

func (f *fresh) clear() {
	*f = fresh{pairs: map[pairKey]int64{}, seen: map[seenKey]int64{}, held: map[netip.AddrPort]tally.Mark{}}
}

// Changed has an element when there is something for Take.
func (b *Book) Changed() <-chan struct{} { return b.changed }

func (b *Book) notify() {
	select {
	case b.changed <- struct{}{}:
	default:
	}
}

// Authorized notes that a Broker here was told that two Nodes may talk.
func (b *Book) Authorized(one, other string) {
	at, k := b.now(), keyOf(tally.MarkOf(one), tally.MarkOf(other))
	b.mu.Lock()
	defer b.mu.Unlock()
	if at.Unix()-b.ownPairs.of(k) < int64(again/time.Second) {
		return
	}
	b.ownPairs.note(k, at.Unix())
	b.pairs.note(k, at.Unix())
	put(&b.fresh, b.fresh.pairs, k, at.Unix())
	b.notify()
}

// SeenAt notes that a Node was met at an address here.
func (b *Book) SeenAt(node string, addr netip.Addr) {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return
	}
	at, k := b.now().Unix(), seenKey{addr, tally.MarkOf(node)}
	b.mu.Lock()
	defer b.mu.Unlock()
	if at-b.ownSeen.of(k) < int64(again/time.Second) {
		return
	}
	b.ownSeen.note(k, at)
	b.see(k, at)
	put(&b.fresh, b.fresh.seen, k, at)
	b.notify()
}

// Opened notes that a Node has the relay at a here, until Ended.
func (b *Book) Opened(node string, a netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := tally.MarkOf(node)
	b.ownHeld[a] = m
	put(&b.fresh, b.fresh.held, a, m)
	b.notify()
}

// Ended notes that there is no relay at a here any more.
func (b *Book) Ended(a netip.AddrPort) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.ownHeld, a)
	put(&b.fresh, b.fresh.held, a, tally.Mark{})
	b.notify()
}

func put[K comparable, V any](f *fresh, m map[K]V, k K, v V) {
	if _, known := m[k]; !known && len(m) >= mostFresh {
		f.lost = true
		return
	}
	m[k] = v
}

// Take returns what was noted here since the last call. whole: that is all of it, else some was too much.
func (b *Book) Take() (n News, whole bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	f := b.fresh
	b.fresh.clear()
	for k, at := range f.pairs {
		n.Pairs = append(n.Pairs, Pair{k[0], k[1], at})
	}
	for k, at := range f.seen {
		n.Seen = append(n.Seen, Sighting{k.addr, k.node, at})
	}
	for a, m := range f.held {
		if m == (tally.Mark{}) {
			n.Ended = append(n.Ended, a)
		} else {
			n.Opened = append(n.Opened, Relay{a, m})
		}
	}
	return n, !f.lost
}

// All returns all that was noted here since then, and the relays that are live.
func (b *Book) All(since time.Time) (n News) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	b.ownPairs.each(since.Unix(), func(k pairKey, at int64) { n.Pairs = append(n.Pairs, Pair{k[0], k[1], at}) })
	b.ownSeen.each(since.Unix(), func(k seenKey, at int64) { n.Seen = append(n.Seen, Sighting{k.addr, k.node, at}) })
	for a, m := range b.ownHeld {
		n.Opened = append(n.Opened, Relay{a, m})
	}
	return n
}

// Add takes in what another machine says.
func (b *Book) Add(source string, n News) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.add(source, n)
}

// Replace takes in all that another machine knows: relays that it does not name have ended.
func (b *Book) Replace(source string, n News) {
	b.mu.Lock()
	defer b.mu.Unlock()
	stays := make(map[netip.AddrPort]struct{}, len(n.Opened))
	for _, r := range n.Opened {
		stays[r.At] = struct{}{}
	}
	b.drop(source, stays)
	b.add(source, n)
}

// Drop forgets the relays of a machine that is gone. That Nodes may talk, and where they were met, stays.
func (b *Book) Drop(source string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.drop(source, nil)
}

func (b *Book) add(source string, n News) {
	now := b.now()
	for _, p := range n.Pairs {
		b.pairs.note(keyOf(p.A, p.B), min(p.At, now.Unix()))
	}
	for _, s := range n.Seen {
		b.see(seenKey{s.Addr, s.Node}, min(s.At, now.Unix()))
	}
	for _, a := range n.Ended {
		if b.holders[a].source == source {
			b.release(a)
		}
	}
	for _, r := range n.Opened {
		h, known := b.holders[r.At]
		if known && h.source == source && h.node == r.Node || b.held[source] >= mostHeld {
			continue
		}
		if known {
			b.release(r.At)
		}
		b.holders[r.At] = holder{source, r.Node, now}
		b.held[source]++
	}
}

func (b *Book) drop(source string, but map[netip.AddrPort]struct{}) {
	if b.held[source] == 0 {
		return
	}
	for a, h := range b.holders {
		if _, stays := but[a]; h.source == source && !stays {
			b.release(a)
		}
	}
}

func (b *Book) release(a netip.AddrPort) {
	source := b.holders[a].source
	delete(b.holders, a)
	if b.held[source]--; b.held[source] <= 0 {
		delete(b.held, source)
	}
}

func (b *Book) see(k seenKey, at int64) {
	there := b.at[k.addr]
	if _, known := there[k.node]; !known {
		if len(there) >= mostAt { // any other makes room
			for other := range there {
				delete(there, other)
				break
			}
		}
		if there == nil {
			there = map[tally.Mark]struct{}{}
			b.at[k.addr] = there
		}
		there[k.node] = struct{}{}
	}
	b.seen.note(k, at)
}

// forgot takes out what is in neither generation of seen any more.
func (b *Book) forgot(k seenKey) {
	there := b.at[k.addr]
	if delete(there, k.node); len(there) == 0 {
		delete(b.at, k.addr)
	}
}

// AuthorizedSince reports whether a Broker anywhere was told since then that the two Nodes may talk.
func (b *Book) AuthorizedSince(one, other string, since time.Time) bool {
	k := keyOf(tally.MarkOf(one), tally.MarkOf(other))
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.pairs.since(k, since.Unix())
}

// SeenPartner reports whether the Node itself, or one for which AuthorizedSince holds, was met at addr since then, at whichever
// machine.
func (b *Book) SeenPartner(node string, addr netip.Addr, since time.Time) bool {
	m, at := tally.MarkOf(node), since.Unix()
	addr = addr.Unmap().WithZone("")
	b.mu.RLock()
	defer b.mu.RUnlock()
	for other := range b.at[addr] {
		if b.seen.since(seenKey{addr, other}, at) && (other == m || b.pairs.since(keyOf(m, other), at)) {
			return true
		}
	}
	return false
}

// Partner reports whether another machine's relay at a is the Node's own, or that of one for which AuthorizedSince holds.
func (b *Book) Partner(node string, a netip.AddrPort, since time.Time) bool {
	m := tally.MarkOf(node)
	b.mu.RLock()
	defer b.mu.RUnlock()
	h, known := b.holders[a]
	return known && (h.node == m || b.pairs.since(keyOf(m, h.node), since.Unix()))
}

// Held returns since when this machine knows that the Node which has another machine's relay at a has it.
func (b *Book) Held(a netip.AddrPort) (since time.Time, ok bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	h, ok := b.holders[a]
	return h.since, ok
}

// stamps are times by key, in two generations.
type stamps[K comparable] struct {
	most       int
	forgotten  func(K) // may be nil
	young, old map[K]int64
}

func (s *stamps[K]) note(k K, at int64) {
	if at <= s.of(k) {
		return
	}
	if s.young == nil {
		s.young = map[K]int64{}
	}
	s.young[k] = at
	if len(s.young) < s.most {
		return
	}
	gone := s.old
	s.young, s.old = nil, s.young
	if s.forgotten == nil {
		return
	}
	for k := range gone {
		if _, stays := s.old[k]; !stays {
			s.forgotten(k)
		}
	}
}

// of is the time of k, 0 if there is none.
func (s *stamps[K]) of(k K) int64 { return max(s.young[k], s.old[k]) }

// since reports whether k was noted, at that time or later.
func (s *stamps[K]) since(k K, at int64) bool {
	t := s.of(k)
	return t != 0 && t >= at
}

func (s *stamps[K]) each(since int64, f func(k K, at int64)) {
	all := maps.Clone(s.old)
	if all == nil {
		all = map[K]int64{}
	}
	maps.Copy(all, s.young)
	for k, at := range all {
		if at >= since {
			f(k, at)
		}
	}
}
