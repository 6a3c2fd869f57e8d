package tally

import (
	"maps"
	"testing"
)

func TestSums(t *testing.T) {
	s := &Sums{Most: 4}
	a, b := MarkOf("a"), MarkOf("b")
	s.Set("x", Counts{a: 3, b: 1})
	s.Set("y", Counts{a: 2})
	s.Set("y", Counts{a: 4}) // now, not more
	s.Set("z", Counts{a: 0})
	check := func(wantA, wantB uint64) {
		t.Helper()
		if s.Of(a) != wantA || s.Of(b) != wantB {
			t.Errorf("%d and %d", s.Of(a), s.Of(b))
		}
	}
	check(7, 1)
	s.Set("z", Counts{b: 5, a: 1}) // there is room for one of the two
	if s.n != 4 {
		t.Errorf("%d counts", s.n)
	}
	s.Drop("z")
	check(7, 1)
	s.Replace("x", Counts{b: 2})
	check(4, 2)
	s.Set("y", Counts{a: 0})
	check(0, 2)
	s.Drop("x")
	s.Drop("unknown")
	if check(0, 0); s.n != 0 || len(s.sums) != 0 {
		t.Errorf("%d counts are left, %v", s.n, s.sums)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(Counts{MarkOf("a"): 1, MarkOf("b"): 1 << 63}.Encode())
	f.Add([]byte("12345678\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := Decode(text)
		if err != nil {
			return
		}
		again, err := Decode(c.Encode())
		if err != nil || !maps.Equal(c, again) {
			t.Fatalf("%v, %v: %v", c, again, err)
		}
	})
}
