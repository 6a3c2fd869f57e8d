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
type table[V any] struct {
	buckets atomic.Pointer[[]atomic.Pointer[link[V]]]
	count   int // of writers
}

type link[V any] struct {
	key   key
	value V
	next  atomic.Pointer[link[V]]
}

// Up to fewLinks keys are in one bucket, which is searched without hashing: most relays have no more.
const fewLinks = 8

// get returns the value of a key, or the zero value if there is none.
func (t *table[V]) get(k key) (v V) {
	b := t.buckets.Load()
	if b == nil {
		return v
	}
	for l := bucket(*b, &k).Load(); l != nil; l = l.next.Load() {
		if l.key == k {
			return l.value
		}
	}
	return v
}

func bucket[V any](b []atomic.Pointer[link[V]], k *key) *atomic.Pointer[link[V]] {
	if len(b) == 1 {
		return &b[0]
	}
	return &b[k.hash()&uint64(len(b)-1)]
}

// put adds a key, which must not be in the table.
func (t *table[V]) put(k key, value V) {
	b := t.buckets.Load()
	switch {
	case b == nil:
		b = t.resize(1)
	case t.count == fewLinks && len(*b) == 1:
		b = t.resize(2 * fewLinks)
	case t.count >= len(*b) && len(*b) > 1:
		b = t.resize(len(*b) * 2)
	}
	push(*b, &link[V]{key: k, value: value})
	t.count++
}

func push[V any](b []atomic.Pointer[link[V]], l *link[V]) {
	head := bucket(b, &l.key)
	l.next.Store(head.Load())
	head.Store(l)
}

// resize copies every link: readers may still be walking the old ones.
func (t *table[V]) resize(n int) *[]atomic.Pointer[link[V]] {
	b := make([]atomic.Pointer[link[V]], n)
	if old := t.buckets.Load(); old != nil {
		for i := range *old {
			for l := (*old)[i].Load(); l != nil; l = l.next.Load() {
				push(b, &link[V]{key: l.key, value: l.value})
			}
		}
	}
	t.buckets.Store(&b)
	return &b
}

// remove takes a key out, if it is in.
func (t *table[V]) remove(k key) {
	b := t.buckets.Load()
	if b == nil {
		return
	}
	at := bucket(*b, &k)
	for l := at.Load(); l != nil; l = at.Load() {
		if l.key == k {
			at.Store(l.next.Load())
			t.count--
			switch {
			case len(*b) > 2*fewLinks && t.count < len(*b)/4:
				t.resize(len(*b) / 2)
			case len(*b) > 1 && t.count < fewLinks/2:
				t.resize(1)
			}
			return
		}
		at = &l.next
	}
}

// clear empties the table.
func (t *table[V]) clear() {
	t.buckets.Store(nil)
	t.count = 0
}

// key is an address, an address and port, or a channel number. Within one relay all addresses are of one family.
type key struct{ hi, lo, more uint64 }

// zoned is in the key of an address with a zone. No message can name one, so it is never found.
const zoned = 1 << 32

func addrKey(ip netip.Addr) key {
	a := ip.As16()
	k := key{hi: binary.LittleEndian.Uint64(a[:]), lo: binary.LittleEndian.Uint64(a[8:])}
	if ip.Is6() && ip.Zone() != "" {
		k.more = zoned
	}
	return k
}

func peerKey(a netip.AddrPort) key {
	k := addrKey(a.Addr())
	k.more |= uint64(a.Port())
	return k
}

func numberKey(n uint16) key { return key{more: uint64(n)} }

// seed is secret, so that clients cannot choose keys that collide.
var seed = [2]uint64{rand.Uint64(), rand.Uint64()}

func (k *key) hash() uint64 {
	hi, lo := bits.Mul64(k.hi^seed[0]^k.more, k.lo^seed[1])
	hi, lo = bits.Mul64(hi^lo^seed[1], seed[0]^k.more<<32|1)
	return hi ^ lo
}
