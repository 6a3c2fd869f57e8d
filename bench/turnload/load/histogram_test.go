package load

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestBucketsAreMonotonousAndNear(t *testing.T) {
	last := -1
	for ns := int64(0); ns < 1<<43; ns += 1 + ns/50 {
		b := bucket(ns)
		if b < last || b >= buckets {
			t.Fatalf("bucket(%d) = %d after %d", ns, b, last)
		}
		last = b
		if m := middle(b); m < ns-ns/25-1 || m > ns+ns/25+1 {
			t.Fatalf("middle of the bucket of %d is %d", ns, m)
		}
	}
	if bucket(-5) != 0 || bucket(1<<62) != buckets-1 {
		t.Error("what is out of range is not kept in the outermost buckets")
	}
}

func TestQuantiles(t *testing.T) {
	var a, b histogram
	if a.quantile(0.99) != 0 {
		t.Error("a quantile of nothing")
	}
	r := rand.New(rand.NewPCG(1, 2))
	var all []int64
	for i := range 20000 {
		v := int64(r.ExpFloat64() * 300e3)
		all = append(all, v)
		if i%2 == 0 {
			a.add(v)
		} else {
			b.add(v)
		}
	}
	a.merge(&b)
	slices.Sort(all)
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 1} {
		want := all[min(int(q*float64(len(all))), len(all)-1)]
		if got := int64(a.quantile(q)); got < want*95/100-2 || got > want*105/100+2 {
			t.Errorf("quantile %g is %d, want about %d", q, got, want)
		}
	}
}
