package fleet

import (
	"fmt"
	"net/netip"
	"slices"
)

// Region says that the addresses of a prefix are there.
type Region struct {
	Prefix netip.Prefix
	Name   string
}

// regions finds the region of an address. It never changes.
type regions struct {
	by      map[netip.Prefix]string
	lengths [2][]int // of the prefixes of IPv4 and IPv6, the longest first
}

func newRegions(all []Region) (*regions, error) {
	r := &regions{by: make(map[netip.Prefix]string, len(all))}
	for _, one := range all {
		if !one.Prefix.IsValid() || CheckName(one.Name) != nil {
			return nil, fmt.Errorf("fleet.regions: %q, %q", one.Prefix, one.Name)
		}
		p := one.Prefix.Masked()
		if a := p.Addr(); a.Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
		}
		r.by[p] = one.Name
		at := &r.lengths[family(p.Addr())]
		if !slices.Contains(*at, p.Bits()) {
			*at = append(*at, p.Bits())
		}
	}
	for i := range r.lengths {
		slices.Sort(r.lengths[i])
		slices.Reverse(r.lengths[i])
	}
	return r, nil
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

// of is the region of an address by the longest prefix; empty if there is none.
func (r *regions) of(a netip.Addr) string {
	a = a.Unmap().WithZone("")
	if !a.IsValid() {
		return ""
	}
	for _, bits := range r.lengths[family(a)] {
		if p, err := a.Prefix(bits); err == nil {
			if name, ok := r.by[p]; ok {
				return name
			}
		}
	}
	return ""
}
