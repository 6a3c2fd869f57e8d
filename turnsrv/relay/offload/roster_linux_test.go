//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import "testing"

// Each flow has its turn once before any has another, whatever is taken out meanwhile.
func TestRoster(t *testing.T) {
	var r roster
	if r.next() != nil {
		t.Fatal("an empty one has somebody's turn")
	}
	for i := range 6 {
		r.add(&flow{slot: i})
	}
	turns := func(n int, leaves func(*flow) bool) (seen map[int]int) {
		seen = make(map[int]int)
		for range n {
			f := r.next()
			seen[f.slot]++
			if leaves(f) {
				r.remove()
			}
		}
		return seen
	}
	seen := turns(6, func(f *flow) bool { return f.slot%2 == 1 })
	if len(seen) != 6 || len(r.flows) != 3 {
		t.Fatalf("turns %v, %d left", seen, len(r.flows))
	}
	if seen = turns(3, func(*flow) bool { return true }); len(seen) != 3 || seen[0]+seen[2]+seen[4] != 3 {
		t.Fatalf("turns %v", seen)
	}
	if r.next() != nil {
		t.Fatal("an empty one has somebody's turn")
	}
}
