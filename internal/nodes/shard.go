package nodes

import (
	"net/netip"
	"sync"
	"time"
)

// class is how firmly a Node is remembered. A Node never falls from known to stranger.
type class uint8

const (
	stranger class = iota // only ever met in TURN packets or refused requests: anyone can invent these
	known                 // a Broker vouched for it, or it was issued a credential
	live                  // has open allocations, or is connected to the Broker in this process: never dropped
	classes
)

// entry is one Node. Its shard's lock guards all of it.
type entry struct {
	id         string
	prev, next *entry
	serial     uint64 // stands for this Node in pairs and sightings; never used again once the Node is dropped
	seen       int64  // last time anything was heard of it, Unix nanoseconds
	checked    int64  // last validity check that named it; 0: none
	vouched    int64  // when a Broker last showed that it is connected; 0: it is not, or was never
	joined     bool   // connected to the Broker in this process
	ends       int64  // end of the credential issued last
	issued     uint32 // credentials issued
	relays     int32  // live allocations, as noted
	last       int32  // where the newest event begins in log; -1: none
	class      class
	log        []byte // events, oldest first, packed (see events.go)
	addresses  []sighting
}

// connected reports whether n has joined a Broker, see [Registry.Connected].
func (n *entry) connected(now time.Time) bool {
	return n.joined || n.vouched > now.Add(-ConnectedFor).UnixNano()
}

// leave notes that a Broker elsewhere disconnects n.
func (n *entry) leave() { n.vouched = 0 }

// sighting is an address and when the Node was last seen there.
type sighting struct {
	addr netip.Addr
	at   int64
}

// list is a doubly linked ring of Nodes, the most recently seen first.
type list struct {
	root entry // root.next is the front, root.prev the back
	len  int
}

func (l *list) init() { l.root.prev, l.root.next = &l.root, &l.root }

func (l *list) pushFront(n *entry) {
	n.prev, n.next = &l.root, l.root.next
	n.prev.next, n.next.prev = n, n
	l.len++
}

func (l *list) remove(n *entry) {
	n.prev.next, n.next.prev = n.next, n.prev
	n.prev, n.next = nil, nil
	l.len--
}

func (l *list) back() *entry {
	if l.len == 0 {
		return nil
	}
	return l.root.prev
}

// shard is a part of the Nodes under one lock, so that the webhooks and the TURN workers seldom wait for each other.
type shard struct {
	mu       sync.Mutex
	nodes    map[string]*entry
	lists    [classes]list
	max      int // Nodes kept
	logBytes int // capacity of all logs
	budget   int // logBytes beyond which logs are squeezed
}

func (s *shard) init(limit, budget int) {
	s.nodes = make(map[string]*entry)
	s.max, s.budget = max(limit, 1), budget
	for i := range s.lists {
		s.lists[i].init()
	}
}

// move puts n at the front of the list of class c.
func (s *shard) move(n *entry, c class) {
	s.lists[n.class].remove(n)
	n.class = c
	s.lists[c].pushFront(n)
}

// evict drops the least recently seen Nodes above the limit and returns how many. Strangers go first while they are more
// than a quarter, so that a flood of invented ids does not make the registry forget who is connected.
func (s *shard) evict() int {
	dropped := 0
	for len(s.nodes) > s.max {
		victim := s.lists[stranger].back()
		if oldest := s.lists[known].back(); oldest != nil && s.lists[stranger].len <= s.max/4 {
			victim = oldest
		}
		if victim == nil {
			break // the rest have live allocations
		}
		s.lists[victim.class].remove(victim)
		delete(s.nodes, victim.id)
		s.logBytes -= cap(victim.log)
		dropped++
	}
	return dropped
}

// addRelays counts allocations opened (by > 0) or closed (by < 0).
func (s *shard) addRelays(n *entry, by int32) {
	n.relays = max(n.relays+by, 0)
	s.classify(n)
}

// classify brings n to the class that its relays and its connection give it.
func (s *shard) classify(n *entry) {
	held := n.relays > 0 || n.joined
	switch {
	case held && n.class != live:
		s.move(n, live)
	case !held && n.class == live:
		s.move(n, known)
	}
}

// recount sets the number of live allocations of every Node to what the TURN server has. A note that was missed can then
// neither keep a Node for ever, nor leave it unprotected for longer than one round.
func (s *shard) recount(count map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, n := range s.nodes {
		if c := int32(count[id]); c != n.relays {
			s.addRelays(n, c-n.relays)
		}
	}
	s.evict()
}

// seenAt notes an address, the newest first, and forgets the oldest beyond maxAddresses.
func (n *entry) seenAt(addr netip.Addr, now time.Time) {
	at := now.UnixNano()
	for i, a := range n.addresses {
		if a.addr == addr {
			copy(n.addresses[1:i+1], n.addresses[:i])
			n.addresses[0] = sighting{addr, at}
			return
		}
	}
	if len(n.addresses) < maxAddresses {
		n.addresses = append(n.addresses, sighting{})
	}
	copy(n.addresses[1:], n.addresses)
	n.addresses[0] = sighting{addr, at}
}
