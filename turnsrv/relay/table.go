package relay

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
)

// table is a hash table whose look-ups take no lock: only the successor of a link ever changes, growing replaces all
// buckets at once, and an unlinked link stays readable for those who are on it. Writers must exclude each other. Apart
// from growing, an operation takes the same time however many keys there are. The zero value is an empty table.
type table[K comparable, V any] struct {
	buckets atomic.Pointer[[]atomic.Pointer[link[K, V]]]
	count   int // of writers
}

type link[K comparable, V any] struct {
	hash  uint64
	key   K
	value V
	next  atomic.Pointer[link[K, V]]
}

// fewestBuckets is how many a table begins with, a power of two.
const fewestBuckets = 4

// get returns the value of a key, or the zero value if there is none.
func (t *table[K, V]) get(hash uint64, key K) (v V) {
	b := t.buckets.Load()
	if b == nil {
		return v
	}
	for l := (*b)[hash&uint64(len(*b)-1)].Load(); l != nil; l = l.next.Load() {
		if l.hash == hash && l.key == key {
			return l.value
		}
	}
	return v
}

// put adds a key, which must not be in the table.
func (t *table[K, V]) put(hash uint64, key K, value V) {
	b := t.buckets.Load()
	switch {
	case b == nil:
		b = t.resize(fewestBuckets)
	case t.count >= len(*b):
		b = t.resize(len(*b) * 2)
	}
	push(*b, &link[K, V]{hash: hash, key: key, value: value})
	t.count++
}

func push[K comparable, V any](b []atomic.Pointer[link[K, V]], l *link[K, V]) {
	head := &b[l.hash&uint64(len(b)-1)]
	l.next.Store(head.Load())
	head.Store(l)
}

// resize copies every link: readers may still be walking the old ones.
func (t *table[K, V]) resize(n int) *[]atomic.Pointer[link[K, V]] {
	b := make([]atomic.Pointer[link[K, V]], n)
	if old := t.buckets.Load(); old != nil {
		for i := range *old {
			for l := (*old)[i].Load(); l != nil; l = l.next.Load() {
				push(b, &link[K, V]{hash: l.hash, key: l.key, value: l.value})
			}
		}
	}
	t.buckets.Store(&b)
	return &b
}

// remove takes a key out, if it is in.
func (t *table[K, V]) remove(hash uint64, key K) {
	b := t.buckets.Load()
	if b == nil {
		return
	}
	at := &(*b)[hash&uint64(len(*b)-1)]
	for l := at.Load(); l != nil; l = at.Load() {
		if l.hash == hash && l.key == key {
			at.Store(l.next.Load())
			t.count--
			if len(*b) > fewestBuckets && t.count < len(*b)/4 {
				t.resize(len(*b) / 2)
			}
			return
		}
		at = &l.next
	}
}

// clear empties the table.
func (t *table[K, V]) clear() {
	t.buckets.Store(nil)
	t.count = 0
}

// seed is secret, so that clients cannot choose keys that collide.
var seed = [2]uint64{rand.Uint64(), rand.Uint64()}

func mix(hi, lo, more uint64) uint64 {
	hi, lo = bits.Mul64(hi^seed[0]^more, lo^seed[1])
	hi, lo = bits.Mul64(hi^lo^seed[1], seed[0]^more<<32|1)
	return hi ^ lo
}

func hashAddr(ip netip.Addr) uint64 {
	a := ip.As16()
	return mix(binary.LittleEndian.Uint64(a[:]), binary.LittleEndian.Uint64(a[8:]), 0)
}

func hashAddrPort(a netip.AddrPort) uint64 {
	ip := a.Addr().As16()
	return mix(binary.LittleEndian.Uint64(ip[:]), binary.LittleEndian.Uint64(ip[8:]), uint64(a.Port()))
}

func hashNumber(n uint16) uint64 { return mix(0, 0, uint64(n)) }
