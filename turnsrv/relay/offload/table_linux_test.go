//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cilium/ebpf"
)

func tableOf(slots int) *table {
	t := &table{records: make([]programRecord, slots), buckets: make([]programBucket, bucketsFor(slots)), cpus: make([]programCpu, 2)}
	t.begin()
	return t
}

// find is the program's, in Go.
func (t *table) find(k programKey) int {
	h := t.hash(&k)
	for _, e := range t.buckets[uint32(h)&t.cpus[1].Mask].Entries {
		if e != 0 && e>>slotBits == uint32(h>>32)>>slotBits && t.records[e&slotMask-1].Key == k {
			return int(e&slotMask) - 1
		}
	}
	return -1
}

// filled counts entries, wherever they are.
func (t *table) filled() (n int) {
	for _, b := range t.buckets {
		for _, e := range b.Entries {
			if e != 0 {
				n++
			}
		}
	}
	return n
}

func keyNumber(n int) programKey {
	return programKey{Sport: uint16(n), Dport: uint16(n >> 16), Family: 2}
}

// What is in the table is found and nothing else is, while it grows, empties and fills again.
func TestTable(t *testing.T) {
	const slots = 4096
	tab := tableOf(slots)
	r := rand.New(rand.NewPCG(1, 2))
	in := map[int]int{} // slot by key
	var free []int
	for i := range slots {
		free = append(free, i)
	}
	for round := range 20000 {
		n := r.IntN(slots * 2)
		k := keyNumber(n)
		slot, there := in[n]
		switch {
		case there && r.IntN(2) == 0:
			tab.remove(slot)
			delete(in, n)
			free = append(free, slot)
		case len(free) > 0:
			slot := free[len(free)-1]
			err := tab.insert(slot, &k, &programFlow{}, true)
			if there != errors.Is(err, ebpf.ErrKeyExist) || !there && err != nil {
				t.Fatalf("round %d: key %d, which is there: %v: %v", round, n, there, err)
			}
			if err == nil {
				in[n] = slot
				free = free[:len(free)-1]
			}
		}
		if round%97 != 0 {
			continue
		}
		for n := range slots * 2 {
			want, ok := in[n]
			if got := tab.find(keyNumber(n)); ok && got != want || !ok && got >= 0 {
				t.Fatalf("round %d: key %d is found in %d, want %d (%v)", round, n, got, want, ok)
			}
		}
	}
	if int(tab.cpus[0].Mask)+1 <= fewest {
		t.Error("it never grew")
	}
	for _, slot := range in {
		tab.remove(slot)
	}
	if n := tab.filled(); n != 0 || tab.entries != 0 {
		t.Errorf("%d entries are left, %d by its own account", n, tab.entries)
	}
}

// Where a run of the program went on for so long that the old places could not be cleared when the table grew, they are
// when it grows again, and when their flows leave.
func TestTableWithOldPlaces(t *testing.T) {
	tab := tableOf(1024)
	fill := func(from, to int) {
		for n := from; n < to; n++ {
			k := keyNumber(n)
			if err := tab.insert(n, &k, &programFlow{}, true); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(0, crowd*fewest+1)
	mask := tab.cpus[0].Mask
	old := 0
	for i := (mask + 1) / 2; i <= mask; i++ {
		for _, e := range tab.buckets[i].Entries {
			b := &tab.buckets[i-(mask+1)/2]
			if at := slices.Index(b.Entries[:], 0); e != 0 && at >= 0 {
				b.Entries[at] = e
				old++
			}
		}
	}
	if old == 0 || tab.filled() != tab.entries+old {
		t.Fatalf("%d old places, %d entries of %d", old, tab.filled(), tab.entries)
	}
	tab.remove(0)
	fill(crowd*fewest+1, 2*crowd*fewest+2)
	if tab.cpus[0].Mask == mask || tab.filled() != tab.entries {
		t.Errorf("after it grew again: %d entries, %d by its own account", tab.filled(), tab.entries)
	}
	for n := 1; n < 2*crowd*fewest+2; n++ {
		if got := tab.find(keyNumber(n)); got != n {
			t.Errorf("key %d is found in %d", n, got)
		}
		tab.remove(n)
	}
	if tab.filled() != 0 {
		t.Errorf("%d entries are left", tab.filled())
	}
}

// What a run may still read is not written over.
func TestTableWaits(t *testing.T) {
	tab := tableOf(16)
	k := keyNumber(1)
	tab.cpus[1].Entered++
	if err := tab.insert(0, &k, &programFlow{}, true); !errors.Is(err, errBusy) || tab.filled() != 0 {
		t.Errorf("got %v", err)
	}
	tab.cpus[1].Left++
	if err := tab.insert(0, &k, &programFlow{}, true); err != nil || tab.find(k) != 0 {
		t.Errorf("got %v", err)
	}
}
