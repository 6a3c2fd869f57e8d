package load

import (
	"math/bits"
	"time"
)

// A histogram counts durations in buckets whose width grows with the value: each power of two is cut into 32, so a
// quantile is right to about 3 %, from a nanosecond to hours, in memory that does not depend on the number of values.
const (
	subBits = 5
	subs    = 1 << subBits
	buckets = (44 - subBits + 1) * subs // up to 2^44 ns, some five hours
)

// histogram is used by one goroutine; merge brings several together.
type histogram struct {
	counts [buckets]uint32
	n      uint64
	max    int64
}

func bucket(ns int64) int {
	if ns < subs {
		return int(max(ns, 0))
	}
	shift := bits.Len64(uint64(ns)) - subBits - 1
	return min((shift+1)*subs+int(ns>>shift)-subs, buckets-1)
}

// middle is the value in the middle of a bucket.
func middle(b int) int64 {
	if b < subs {
		return int64(b)
	}
	shift := b/subs - 1
	return int64(b%subs+subs)<<shift + int64(1)<<shift/2
}

func (h *histogram) add(d int64) {
	h.counts[bucket(d)]++
	h.n++
	h.max = max(h.max, d)
}

func (h *histogram) merge(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.max = max(h.max, o.max)
}

// quantile is the duration that q of all values (0 to 1) do not exceed; 0 where there are none.
func (h *histogram) quantile(q float64) time.Duration {
	want := uint64(q*float64(h.n) + 0.5)
	var seen uint64
	for i, c := range h.counts {
		if seen += uint64(c); c > 0 && seen >= want {
			return time.Duration(min(middle(i), h.max))
		}
	}
	return 0
}
