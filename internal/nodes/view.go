package nodes

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Node is what is known of one Node, except its events and allocations.
type Node struct {
	ID            string
	Seen          time.Time // last time anything was heard of it
	Connected     bool      // see [Registry.Connected]
	Checked       time.Time // the last validity check that named it; zero: none
	Issued        int       // credentials issued
	CredentialEnd time.Time // of the one issued last; zero: none
	Addresses     []netip.Addr
	Last          Event // the newest event; zero: none
}

// view copies n. Its shard is locked.
func (n *entry) view(now time.Time) Node {
	v := Node{
		ID:        n.id,
		Seen:      time.Unix(0, n.seen).UTC(),
		Connected: n.connected(now),
		Issued:    int(n.issued),
	}
	if n.checked != 0 {
		v.Checked = time.Unix(0, n.checked).UTC()
	}
	if n.ends != 0 {
		v.CredentialEnd = time.Unix(0, n.ends).UTC()
	}
	for _, a := range n.addresses {
		v.Addresses = append(v.Addresses, a.addr)
	}
	if n.last >= 0 {
		v.Last, _ = decode(n.log[n.last:])
	}
	return v
}

// Lookup returns what is known of a Node, and its events, the oldest first and never nil. It is not ok if nothing is known;
// the Node may be banned all the same.
func (r *Registry) Lookup(id string) (v Node, events []Event, ok bool) {
	s := r.shardOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	if n == nil {
		return Node{ID: id}, []Event{}, false
	}
	return n.view(r.now()), n.events(), true
}

// List returns the Nodes whose id contains part, the most recently seen first, at most limit of them (0: all), and how many
// there are in all. It copies them, which takes some tens of milliseconds for 100 000 Nodes.
func (r *Registry) List(part string, limit int) (list []Node, total int) {
	now := r.now()
	list = []Node{}
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for id, n := range s.nodes {
			if strings.Contains(id, part) {
				list = append(list, n.view(now))
			}
		}
		s.mu.Unlock()
	}
	slices.SortFunc(list, func(a, b Node) int {
		if c := b.Seen.Compare(a.Seen); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	total = len(list)
	if limit > 0 && total > limit {
		list = list[:limit:limit]
	}
	return list, total
}

// Recent returns what has happened to all Nodes, and to the server, at since or later, the newest first and at most limit
// events; where wanted is not nil those alone that it wants. It is put together from the why-records, so it holds no more than they
// do, and costs what [Registry.List] does.
func (r *Registry) Recent(since time.Time, limit int, wanted func(kind Kind, failed bool) bool) []Event {
	if wanted == nil {
		wanted = func(Kind, bool) bool { return true }
	}
	list := r.told.since(since, wanted)
	from := since.UnixNano()
	for i := range r.shards {
		s := &r.shards[i]
		s.mu.Lock()
		for _, n := range s.nodes {
			if n.seen >= from { // an event is also a sight of its Node
				list = n.recent(list, since, wanted)
			}
		}
		s.mu.Unlock()
		if len(list) > 4*limit { // what is kept stays within some times of what is asked for
			list = newest(list, limit)
		}
	}
	return newest(list, limit)
}

// newest sorts list, the newest event first, and cuts it.
func newest(list []Event, limit int) []Event {
	slices.SortStableFunc(list, func(a, b Event) int {
		return cmp.Or(b.Time.Compare(a.Time), strings.Compare(a.Node, b.Node))
	})
	return list[:min(len(list), limit)]
}

// recent appends the Node's events at since or later to list. Its shard is locked.
func (n *entry) recent(list []Event, since time.Time, wanted func(Kind, bool) bool) []Event {
	from := since.UnixMicro()
	for b := n.log; len(b) > 0; {
		head, what, _, size := parseEvent(b)
		if int64(binary.BigEndian.Uint64(head)) >= from && wanted(kept[what&^failedBit], what&failedBit != 0) {
			e, _ := decode(b)
			e.Node = n.id
			list = append(list, e)
		}
		b = b[size:]
	}
	return list
}

// since returns the events of the server at a time or later. None of them is a failure.
func (t *told) since(at time.Time, wanted func(Kind, bool) bool) []Event {
	list := []Event{}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.last {
		if !e.Time.Before(at) && wanted(e.Kind, e.Failed) {
			list = append(list, e)
		}
	}
	return list
}
