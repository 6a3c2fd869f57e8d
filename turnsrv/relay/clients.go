package relay

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
)

// clientTable finds the relay of a UDP client of one listener. Look-ups take no lock: an entry never changes but for
// its link, the buckets are replaced as a whole when they grow, and what is unlinked stays readable for whoever is
// still on it.
type clientTable struct {
	seed    [2]uint64 // secret, so that nobody can choose addresses that collide
	buckets atomic.Pointer[[]atomic.Pointer[clientEntry]]

	mu    sync.Mutex // of writers
	count int
}

type clientEntry struct {
	client netip.AddrPort
	server netip.Addr
	relay  *Relay
	next   atomic.Pointer[clientEntry]
}

const minBuckets = 64

func newClientTable() *clientTable {
	t := &clientTable{seed: [2]uint64{rand.Uint64(), rand.Uint64()}}
	b := make([]atomic.Pointer[clientEntry], minBuckets)
	t.buckets.Store(&b)
	return t
}

func (t *clientTable) hash(c netip.AddrPort) uint64 {
	a := c.Addr().As16()
	hi, lo := bits.Mul64(binary.LittleEndian.Uint64(a[:])^t.seed[0]^uint64(c.Port()), binary.LittleEndian.Uint64(a[8:])^t.seed[1])
	hi, lo = bits.Mul64(hi^lo^t.seed[1], t.seed[0]^uint64(c.Port())<<32|1)
	return hi ^ lo
}

func (t *clientTable) get(client netip.AddrPort, server netip.Addr) *Relay {
	b := *t.buckets.Load()
	for e := b[t.hash(client)&uint64(len(b)-1)].Load(); e != nil; e = e.next.Load() {
		if e.client == client && e.server == server {
			return e.relay
		}
	}
	return nil
}

// put adds r, unless its client has a relay.
func (t *clientTable) put(client netip.AddrPort, server netip.Addr, r *Relay) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.get(client, server) != nil {
		return false
	}
	b := *t.buckets.Load()
	if t.count >= len(b) {
		b = t.resize(len(b) * 2)
	}
	t.link(b, client, server, r)
	t.count++
	return true
}

func (t *clientTable) link(b []atomic.Pointer[clientEntry], client netip.AddrPort, server netip.Addr, r *Relay) {
	head := &b[t.hash(client)&uint64(len(b)-1)]
	e := &clientEntry{client: client, server: server, relay: r}
	e.next.Store(head.Load())
	head.Store(e)
}

// resize copies every entry: readers may still be walking the old ones.
func (t *clientTable) resize(n int) []atomic.Pointer[clientEntry] {
	b := make([]atomic.Pointer[clientEntry], n)
	old := *t.buckets.Load()
	for i := range old {
		for e := old[i].Load(); e != nil; e = e.next.Load() {
			t.link(b, e.client, e.server, e.relay)
		}
	}
	t.buckets.Store(&b)
	return b
}

// replace puts o in the place of r, if r is in. Readers find one of them at any time.
func (t *clientTable) replace(client netip.AddrPort, server netip.Addr, r, o *Relay) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if link, e := t.find(client, server, r); e != nil {
		n := &clientEntry{client: e.client, server: e.server, relay: o}
		n.next.Store(e.next.Load())
		link.Store(n)
	}
}

// remove takes r out, if it is in.
func (t *clientTable) remove(client netip.AddrPort, server netip.Addr, r *Relay) {
	t.mu.Lock()
	defer t.mu.Unlock()
	link, e := t.find(client, server, r)
	if e == nil {
		return
	}
	link.Store(e.next.Load())
	t.count--
	if n := len(*t.buckets.Load()); n > minBuckets && t.count < n/4 {
		t.resize(n / 2)
	}
}

// find returns the entry of r and what leads to it; nil if r is not in. While a client moves its relay is in twice. mu is
// held.
func (t *clientTable) find(client netip.AddrPort, server netip.Addr, r *Relay) (*atomic.Pointer[clientEntry], *clientEntry) {
	b := *t.buckets.Load()
	link := &b[t.hash(client)&uint64(len(b)-1)]
	for e := link.Load(); e != nil; e = link.Load() {
		if e.relay == r && e.client == client && e.server == server {
			return link, e
		}
		link = &e.next
	}
	return nil, nil
}
