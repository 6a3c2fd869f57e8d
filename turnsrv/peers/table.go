package peers

import (
	"cmp"
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
)

// none is the rule of an address that no entry matches.
const none = -1

// entry says that a rule holds for a prefix.
type entry struct {
	prefix netip.Prefix
	rule   int
}

// key is an address as a number.
type key struct{ hi, lo uint64 }

func keyOf(ip netip.Addr) key {
	b := ip.As16()
	return key{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

func (k key) compare(o key) int {
	if c := cmp.Compare(k.hi, o.hi); c != 0 {
		return c
	}
	return cmp.Compare(k.lo, o.lo)
}

// next is the address behind k; false behind the last one.
func (k key) next() (key, bool) {
	if k.lo++; k.lo == 0 {
		k.hi++
	}
	return k, k != key{}
}

// lastOf is the last address of a prefix.
func lastOf(p netip.Prefix) key {
	k := keyOf(p.Masked().Addr())
	free := p.Addr().BitLen() - p.Bits() // bits that are not fixed
	if free >= 64 {
		k.lo = math.MaxUint64
		if free > 64 {
			k.hi |= 1<<(free-64) - 1
		}
		return k
	}
	k.lo |= 1<<free - 1
	return k
}

// span is where a rule begins; it reaches to the next span.
type span struct {
	first key
	rule  int
}

// ranges finds the rule of the longest prefix that has an address. One list for IPv4 and one for IPv6, so that ::/0
// is not everything.
type ranges struct{ v4, v6 []span }

func newRanges(entries []entry) ranges {
	var v4, v6 []entry
	for _, e := range entries {
		if e.prefix.Addr().Is4() {
			v4 = append(v4, e)
		} else {
			v6 = append(v6, e)
		}
	}
	return ranges{flatten(v4), flatten(v6)}
}

func (r *ranges) find(ip netip.Addr) int {
	spans := r.v6
	if ip.Is4() {
		spans = r.v4
	}
	k := keyOf(ip)
	low, high := 0, len(spans) // the span sought is before high
	for low < high {
		mid := int(uint(low+high) >> 1)
		if f := spans[mid].first; f.hi < k.hi || f.hi == k.hi && f.lo <= k.lo {
			low = mid + 1
		} else {
			high = mid
		}
	}
	if low == 0 {
		return none
	}
	return spans[low-1].rule
}

// flatten turns prefixes, of which one may lie within another but never across its border, into spans. Of equal
// prefixes the first one counts.
func flatten(entries []entry) []span {
	entries = slices.Clone(entries)
	slices.SortStableFunc(entries, func(a, b entry) int {
		if c := keyOf(a.prefix.Addr()).compare(keyOf(b.prefix.Addr())); c != 0 {
			return c
		}
		return cmp.Compare(a.prefix.Bits(), b.prefix.Bits())
	})
	entries = slices.CompactFunc(entries, func(a, b entry) bool { return a.prefix == b.prefix })
	var spans []span
	begin := func(first key, rule int) {
		if n := len(spans); n > 0 && spans[n-1].first == first {
			spans = spans[:n-1]
		}
		spans = append(spans, span{first, rule})
	}
	var open []entry // from the outermost to the innermost
	closeUntil := func(inside func(last key) bool) {
		for len(open) > 0 {
			last := lastOf(open[len(open)-1].prefix)
			if inside(last) {
				return
			}
			open = open[:len(open)-1]
			outer := none
			if len(open) > 0 {
				outer = open[len(open)-1].rule
			}
			if after, ok := last.next(); ok {
				begin(after, outer)
			}
		}
	}
	for _, e := range entries {
		first := keyOf(e.prefix.Addr())
		closeUntil(func(last key) bool { return first.compare(last) <= 0 })
		open = append(open, e)
		begin(first, e.rule)
	}
	closeUntil(func(key) bool { return false })
	return spans
}
