//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"math/bits"
	"runtime"
	"sync/atomic"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
)

// table is what the program looks up in: a record for each slot, and buckets of entries by which records are found. It is for
// one goroutine at a time; the program reads it meanwhile.
type table struct {
	records []programRecord
	buckets []programBucket // of them, cpus[0].Mask + 1 are in use
	cpus    []programCpu
	entries int
}

const (
	slotBits = 20
	slotMask = 1<<slotBits - 1
	fewest   = 16 // buckets
	crowd    = 8  // entries in a bucket, on average, from which on there are to be more buckets
	roomy    = 2  // of the most flows that there may be
)

var (
	errCrowded = errors.New("the table has no room for this flow")
	errBusy    = errors.New("the program is still at it")
)

// bucketsFor is the power of two that says how many buckets there may be for so many flows.
func bucketsFor(flows int) int { return max(fewest, 1<<bits.Len(uint((flows-1)/roomy))) }

// begin makes an empty table.
func (t *table) begin() {
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails
	for i := range t.cpus {
		c := &t.cpus[i]
		c.Seed, c.Mask = binary.NativeEndian.Uint64(seed[:]), fewest-1
	}
}

// hash is the program's find.
func (t *table) hash(k *programKey) uint64 {
	h := t.cpus[0].Seed
	for _, w := range (*[unsafe.Sizeof(*k) / 8]uint64)(unsafe.Pointer(k)) {
		h = (h ^ w) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	h *= 0xd6e8feb86659fd93
	return h ^ h>>32
}

// entry is how the record of a slot is found.
func entry(hash uint64, slot int) uint32 { return uint32(hash>>32)&^slotMask | uint32(slot+1) }

// insert puts a record where the program finds it; fresh: nothing that was counted of it holds any more. The error is errBusy
// where the program may still read what was there, errCrowded, or [ebpf.ErrKeyExist].
func (t *table) insert(slot int, key *programKey, v *programFlow, fresh bool) error {
	h := t.hash(key)
	own := entry(h, slot)
	free := t.look(h, key)
	if free == nil || t.entries >= crowd*int(t.cpus[0].Mask+1) {
		if err := t.grow(); err != nil && free == nil {
			return err
		}
		free = t.look(h, key)
	}
	switch {
	case free == nil:
		return errCrowded
	case free == present:
		return ebpf.ErrKeyExist
	case !t.wait():
		return errBusy
	}
	r := &t.records[slot]
	r.Key, r.Flow = *key, *v
	if fresh {
		r.State = programState{Held: r.State.Held}
	}
	r.State.Last, r.State.Taken, r.State.Settled = now(), 0, 0
	atomic.StoreUint32(free, own)
	t.entries++
	return nil
}

// present is what look finds where the key is in the table.
var present = new(uint32)

// look finds a free entry in the bucket of a hash; nil: there is none.
func (t *table) look(hash uint64, key *programKey) (free *uint32) {
	b := &t.buckets[uint32(hash)&t.cpus[0].Mask]
	for i := range b.Entries {
		switch e := b.Entries[i]; {
		case e == 0:
			free = &b.Entries[i]
		case e&^slotMask == entry(hash, 0)&^slotMask && t.records[e&slotMask-1].Key == *key:
			return present
		}
	}
	return free
}

// remove takes a record out. The program may read it until wait has returned.
func (t *table) remove(slot int) {
	h := t.hash(&t.records[slot].Key)
	own := entry(h, slot)
	for mask := t.cpus[0].Mask; mask >= fewest-1; mask >>= 1 { // where it was before the table grew, too
		b := &t.buckets[uint32(h)&mask]
		for i := range b.Entries {
			if b.Entries[i] == own {
				atomic.StoreUint32(&b.Entries[i], 0)
			}
		}
	}
	t.entries--
}

// grow doubles the number of buckets that are in use. Entries are in both places until no run of the program looks in the old.
func (t *table) grow() error {
	was := t.cpus[0].Mask
	if mask := 2*was + 1; int(mask) >= len(t.buckets) {
		return errCrowded
	}
	if !t.wait() {
		return errBusy
	}
	var moved []*uint32
	for i := range was + 1 {
		there := 0
		for j := range t.buckets[i].Entries {
			e := &t.buckets[i].Entries[j]
			if *e == 0 {
				continue
			}
			switch h := uint32(t.hash(&t.records[*e&slotMask-1].Key)); {
			case h&was != i:
				atomic.StoreUint32(e, 0) // left when it grew before
			case h&(was+1) != 0:
				atomic.StoreUint32(&t.buckets[i+was+1].Entries[there], *e)
				there++
				moved = append(moved, e)
			}
		}
	}
	for i := range t.cpus {
		atomic.StoreUint32(&t.cpus[i].Mask, 2*was+1)
	}
	if t.wait() {
		for _, e := range moved {
			atomic.StoreUint32(e, 0)
		}
	}
	return nil
}

// wait waits until every run of the program that may have seen the table as it was has ended. That is a matter of microseconds,
// and of a few milliseconds if an interrupt takes its time; it reports false after 20 ms, if the machine has taken the
// processor away.
func (t *table) wait() bool {
	end := time.Now().Add(20 * time.Millisecond)
	for i := range t.cpus {
		for entered := atomic.LoadUint64(&t.cpus[i].Entered); atomic.LoadUint64(&t.cpus[i].Left) < entered; {
			if time.Now().After(end) {
				return false
			}
			runtime.Gosched()
		}
	}
	return true
}
