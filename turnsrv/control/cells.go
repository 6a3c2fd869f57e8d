package control

import (
	"hash/maphash"
	"sync"
)

// cells keeps a small state for each key, in a table of fixed size however many keys strangers invent: a new key takes
// the place of the least recently used one of its set. It is safe for concurrent use.
type cells[T any] struct {
	seed maphash.Seed
	mu   [64]sync.Mutex
	sets [][cellWays]cell[T]
}

const cellWays = 4

type cell[T any] struct {
	key  uint64 // 0: free
	used int64
	v    T
}

// newCells makes a table with that many sets, a power of two.
func newCells[T any](sets int) *cells[T] {
	return &cells[T]{seed: maphash.MakeSeed(), sets: make([][cellWays]cell[T], sets)}
}

// with calls f with the state of a key, at first the zero value. now is any clock that does not go back. f must be
// quick.
func (c *cells[T]) with(key uint64, now int64, f func(v *T)) {
	key |= 1
	i := key >> 32 & uint64(len(c.sets)-1)
	mu := &c.mu[i%uint64(len(c.mu))]
	mu.Lock()
	defer mu.Unlock()
	set := &c.sets[i]
	victim := &set[0]
	for k := range set {
		one := &set[k]
		if one.key == key {
			one.used = now
			f(&one.v)
			return
		}
		if one.used < victim.used {
			victim = one
		}
	}
	*victim = cell[T]{key: key, used: now}
	f(&victim.v)
}
