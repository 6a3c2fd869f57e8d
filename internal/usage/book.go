package usage

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// book is one month in memory: every Node that used something in it, and the sum. The sum has more than the Nodes
// together, where one was deleted or there was no room for it.
type book struct {
	month  Month
	max    int64 // Nodes
	shards [16]shard
	nodes  atomic.Int64
	beyond atomic.Int64 // times that there was no room for another Node

	mu    sync.Mutex
	sum   Record
	dirty bool // sum has changed since it was written

	// What follows belongs to whoever holds Keeper.io.
	known bool          // what the file has of the month is in here
	left  time.Duration // steady time at which the clock went on to another month
}

// shard is a part of the Nodes under one lock.
type shard struct {
	mu    sync.Mutex
	nodes map[string]*entry
}

type entry struct {
	Record
	told   uint64 // bytes of which other machines know
	dirty  bool   // since it was written
	warned bool   // that its limit is near
}

func newBook(m Month, most int) *book {
	b := &book{month: m, max: int64(most)}
	for i := range b.shards {
		b.shards[i].nodes = make(map[string]*entry)
	}
	return b
}

var seed = maphash.MakeSeed()

func (b *book) shard(node string) *shard {
	return &b.shards[maphash.String(seed, node)%uint64(len(b.shards))]
}

// add adds to a Node's record and to the sum, and returns the Node's bytes. near is called once when they reach that
// many, unless that is 0.
func (b *book) add(node string, r Record, near uint64) (reached bool) {
	b.mu.Lock()
	b.sum.add(r)
	b.dirty = true
	b.mu.Unlock()
	s := b.shard(node)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.nodes[node]
	if e == nil {
		if e = b.enter(s, node); e == nil {
			return false
		}
	}
	e.Record.add(r)
	e.dirty = true
	if near > 0 && !e.warned && e.Bytes() >= near {
		e.warned = true
		return true
	}
	return false
}

// enter makes room for a Node, whose shard is locked; nil if there is none.
func (b *book) enter(s *shard, node string) *entry {
	if b.nodes.Add(1) > b.max {
		b.nodes.Add(-1)
		b.beyond.Add(1)
		return nil
	}
	e := new(entry)
	s.nodes[strings.Clone(node)] = e
	return e
}

func (b *book) get(node string) (r Record, ok bool) {
	s := b.shard(node)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.nodes[node]; e != nil {
		return e.Record, true
	}
	return r, false
}

func (b *book) total() Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sum
}

// each calls f for every Node, one shard after the other. f must not call the book.
func (b *book) each(f func(node string, e *entry)) {
	for i := range b.shards {
		s := &b.shards[i]
		s.mu.Lock()
		for node, e := range s.nodes {
			f(node, e)
		}
		s.mu.Unlock()
	}
}

// learn adds what the file has of a Node. It counts as written only if the book had nothing of the Node.
func (b *book) learn(node string, r Record) {
	s := b.shard(node)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.nodes[node]
	if e == nil {
		if e = b.enter(s, node); e == nil {
			return
		}
	}
	e.Record.add(r)
}

// learnSum is learn for the sum.
func (b *book) learnSum(r Record) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sum.add(r)
}

// remove forgets a Node. The sum stays.
func (b *book) remove(node string) bool {
	s := b.shard(node)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes[node] == nil {
		return false
	}
	delete(s.nodes, node)
	b.nodes.Add(-1)
	return true
}

// Line is the record of one Node.
type Line struct {
	Node string
	Record
}

// changed takes what is to be written: lines of Nodes and, with an empty id, of the sum. It counts as written; what
// was not is given back to again.
func (b *book) changed() (lines []Line) {
	b.mu.Lock()
	if b.dirty {
		b.dirty = false
		lines = append(lines, Line{Record: b.sum})
	}
	b.mu.Unlock()
	b.each(func(node string, e *entry) {
		if e.dirty {
			e.dirty = false
			lines = append(lines, Line{node, e.Record})
		}
	})
	return lines
}

// again has lines written once more.
func (b *book) again(lines []Line) {
	for _, l := range lines {
		if l.Node == "" {
			b.mu.Lock()
			b.dirty = true
			b.mu.Unlock()
			continue
		}
		s := b.shard(l.Node)
		s.mu.Lock()
		if e := s.nodes[l.Node]; e != nil {
			e.dirty = true
		}
		s.mu.Unlock()
	}
}

// count returns how many Nodes have used that many bytes or more.
func (b *book) count(bytes uint64) (n int) {
	b.each(func(_ string, e *entry) {
		if e.Bytes() >= bytes {
			n++
		}
	})
	return n
}
