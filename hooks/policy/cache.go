package policy

import "sync"

// cache is a map with a limit. When it is full the hand goes round and takes the first entry that was not looked at
// since the hand last passed: nearly the least recently used, at a fixed cost.
type cache[K comparable, V any] struct {
	mu    sync.Mutex
	limit int
	index map[K]int
	slots []slot[K, V]
	free  []int
	hand  int
}

type slot[K comparable, V any] struct {
	key   K
	value V
	used  bool // looked at since the hand passed
}

func newCache[K comparable, V any](limit int) *cache[K, V] {
	return &cache[K, V]{limit: limit, index: map[K]int{}}
}

// get looks an entry up.
func (c *cache[K, V]) get(key K) (value V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.index[key]
	if !ok {
		return value, false
	}
	c.slots[i].used = true
	return c.slots[i].value, true
}

// put sets an entry, in place of another one where the cache is full.
func (c *cache[K, V]) put(key K, value V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.index[key]; ok {
		c.slots[i].value, c.slots[i].used = value, true
		return
	}
	i := c.place()
	c.slots[i] = slot[K, V]{key: key, value: value}
	c.index[key] = i
}

// place finds or makes a free slot.
func (c *cache[K, V]) place() int {
	if n := len(c.free); n > 0 {
		i := c.free[n-1]
		c.free = c.free[:n-1]
		return i
	}
	if len(c.slots) < c.limit {
		c.slots = append(c.slots, slot[K, V]{})
		return len(c.slots) - 1
	}
	for {
		i := c.hand
		c.hand = (c.hand + 1) % len(c.slots)
		if s := &c.slots[i]; s.used {
			s.used = false
		} else {
			delete(c.index, s.key)
			return i
		}
	}
}

// drop forgets an entry.
func (c *cache[K, V]) drop(key K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i, ok := c.index[key]; ok {
		delete(c.index, key)
		c.slots[i] = slot[K, V]{}
		c.free = append(c.free, i)
	}
}

// clear forgets everything.
func (c *cache[K, V]) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.index, c.slots, c.free, c.hand = map[K]int{}, nil, nil, 0
}

// size is the number of entries.
func (c *cache[K, V]) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.index)
}
