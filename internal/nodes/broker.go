package nodes

import (
	"net/netip"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// JoinedElsewhere notes that a Broker elsewhere asked for the Node's RTC configuration and got one. A Broker asks when a Node joins it, so the
// Node counts as connected from now on. The ids with which this program tests itself are ignored.
func (r *Registry) JoinedElsewhere(id string) {
	if !nodeid.Synthetic(id) {
		r.join(id, r.now(), "connected: a Broker asked for its RTC configuration", func(*entry) {})
	}
}

// Issued notes that the Node was given a credential that ends at ends.
func (r *Registry) Issued(id string, ends time.Time) {
	now := r.now()
	r.noteAnd(id, known, KindCredential, false, "credential issued, ends "+Clock(ends, now), func(n *entry) {
		n.ends = ends.UnixNano()
		n.issued++
	})
}

// ConfigurationRefused notes that a Broker got no RTC configuration for the Node. It disconnects the Node.
func (r *Registry) ConfigurationRefused(node, detail string) {
	r.noteAnd(node, stranger, KindConfiguration, true, detail, (*entry).leave)
}

// MessageDropped notes that the operator's webhook was not told of a message of the Node.
func (r *Registry) MessageDropped(node string) {
	r.note(node, stranger, KindSignal, true, "the notice of a message to your own webhook was dropped: see hooks.upstream.message_queue")
}

// NamedInvalid notes that a Broker was told to disconnect the Node, so that it is connected no longer.
func (r *Registry) NamedInvalid(node, detail string) {
	r.noteAnd(node, stranger, KindValidity, true, detail, (*entry).leave)
}

// join notes that a Node is connected, with an event if it was not before. change is made in the same step.
func (r *Registry) join(id string, now time.Time, detail string, change func(n *entry)) {
	fresh := false
	r.with(id, known, now, func(_ *shard, n *entry) {
		fresh = !n.connected(now)
		n.vouched = now.UnixNano()
		change(n)
	})
	if fresh {
		r.note(id, known, KindConnected, false, detail)
	}
}

// Clock writes a time as the why-record does, in UTC: the time of day, and the date unless that is today.
func Clock(t, now time.Time) string {
	t = t.UTC()
	if t.Format(time.DateOnly) == now.UTC().Format(time.DateOnly) {
		return t.Format("15:04:05 UTC")
	}
	return t.Format("2006-01-02 15:04:05 UTC")
}

// Validated notes that a Broker's validity check named these Nodes: they are connected. Ids that cannot be a Node's are
// ignored.
func (r *Registry) Validated(ids []string) {
	now := r.now()
	for _, id := range ids {
		r.join(id, now, "connected: a Broker named it in a validity check", func(n *entry) { n.checked = now.UnixNano() })
	}
}

// Connected reports whether node has joined a Broker. At the Broker in this process that is so from Joined to Left, and
// ConnectedFor longer if the connection was lost. For a Broker elsewhere it begins when that asks for the Node's RTC
// configuration, and lasts until ConnectedFor after the last validity check that named it, or until it is told to disconnect
// it; each Broker names its own Nodes alone. Those that were connected when the process ended are for ConnectedFor after the
// start.
func (r *Registry) Connected(node string) bool {
	now := r.now()
	s := r.shardOf(node)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[node]
	return n != nil && n.connected(now)
}

// Authorized notes that the authorize webhook said yes to from, which wants to talk to to. It adds no event.
func (r *Registry) Authorized(from, to string) {
	now := r.now()
	var a, b uint64
	r.with(from, known, now, func(_ *shard, n *entry) { a = n.serial })
	// A connected Node may name as many others as it likes, so to proves nothing.
	r.with(to, stranger, now, func(_ *shard, n *entry) { b = n.serial })
	if a != 0 && b != 0 && a != b {
		r.pairs.note(a, b, now.UnixNano())
	}
}

// AuthorizedSince reports whether authorize said yes for the two Nodes, in either direction, at since or later: who answers a
// connection attempt relays too, and is not asked about. A Node may always reach itself. At least 250 000 pairs are
// remembered, and none of a Node that was forgotten.
func (r *Registry) AuthorizedSince(one, other string, since time.Time) bool {
	if one == other {
		return true
	}
	a, b := r.serialOf(one), r.serialOf(other)
	return a != 0 && b != 0 && r.pairs.since(a, b, since.UnixNano())
}

// SeenAt notes that an authenticated request of the Node came from addr. It is cheap enough to be called for each request.
func (r *Registry) SeenAt(id string, addr netip.Addr) {
	addr = addr.Unmap().WithZone("")
	if !addr.IsValid() {
		return
	}
	now := r.now()
	var serial uint64
	r.with(id, stranger, now, func(_ *shard, n *entry) {
		if len(n.addresses) > 0 && n.addresses[0].addr == addr && now.UnixNano()-n.addresses[0].at < int64(time.Minute) {
			return
		}
		n.seenAt(addr, now)
		serial = n.serial
	})
	if serial != 0 {
		r.seen.note(addr, serial, now.UnixNano())
	}
}

// SeenPartner reports whether some Node was met at addr at since or later for which AuthorizedSince(from, …, since) holds, and
// so whether from may relay to addr by what the Broker authorised. Only the 1 024 Nodes seen last at an address count.
func (r *Registry) SeenPartner(from string, addr netip.Addr, since time.Time) bool {
	a := r.serialOf(from)
	if a == 0 {
		return false
	}
	at := since.UnixNano()
	return r.seen.any(addr.Unmap().WithZone(""), at, func(b uint64) bool {
		return a == b || r.pairs.since(a, b, at)
	})
}

// maxPairs and maxSightings bound one generation; there are two.
const (
	maxPairs      = 1 << 18
	maxSightings  = 1 << 18
	maxPerAddress = 1024
)

// pairs remembers when two Nodes were last authorised. It has two generations: when the young one is full it becomes the
// old one, and what was in the old one is forgotten.
type pairs struct {
	mu         sync.RWMutex
	young, old map[[2]uint64]int64
}

func pairKey(a, b uint64) [2]uint64 { return [2]uint64{min(a, b), max(a, b)} }

func (p *pairs) note(a, b uint64, at int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.young == nil {
		p.young = make(map[[2]uint64]int64)
	}
	p.young[pairKey(a, b)] = at
	if len(p.young) >= maxPairs {
		p.young, p.old = nil, p.young
	}
}

func (p *pairs) since(a, b uint64, at int64) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	t, ok := p.young[pairKey(a, b)]
	if !ok {
		t, ok = p.old[pairKey(a, b)]
	}
	return ok && t >= at
}

// ref is a Node met at an address.
type ref struct {
	serial uint64
	at     int64
}

// sightings remembers which Nodes were met at an address, in two generations like pairs.
type sightings struct {
	mu         sync.RWMutex
	young, old map[netip.Addr][]ref
	n          int // refs in young
}

func (s *sightings) note(addr netip.Addr, serial uint64, at int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil {
		s.young = make(map[netip.Addr][]ref)
	}
	refs := s.young[addr]
	oldest := 0
	for i := range refs {
		if refs[i].serial == serial {
			refs[i].at = at
			return
		}
		if refs[i].at < refs[oldest].at {
			oldest = i
		}
	}
	if len(refs) >= maxPerAddress {
		refs[oldest] = ref{serial, at}
		return
	}
	s.young[addr] = append(refs, ref{serial, at})
	if s.n++; s.n >= maxSightings {
		s.young, s.old, s.n = nil, s.young, 0
	}
}

// any reports whether f holds for a Node met at addr at since or later.
func (s *sightings) any(addr netip.Addr, since int64, f func(serial uint64) bool) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, refs := range [][]ref{s.young[addr], s.old[addr]} {
		for _, r := range refs {
			if r.at >= since && f(r.serial) {
				return true
			}
		}
	}
	return false
}
