package places

import (
	"container/list"
	"net/netip"
)

// The widths by which strangers are counted. The last one has all of them in one group.
const (
	byAddress = iota
	bySite    // IPv4 /24, IPv6 /56
	byNet     // IPv4 /24, IPv6 /48
	altogether
	widths
)

var bitsOf = [widths][2]int{byAddress: {32, 64}, bySite: {24, 56}, byNet: {24, 48}}

// wider is the group that ip belongs to at a width.
func wider(ip netip.Addr, width int) netip.Addr {
	if width == altogether {
		return netip.Addr{}
	}
	bits := bitsOf[width][1]
	if ip.Is4() {
		bits = bitsOf[width][0]
	}
	p, _ := ip.Prefix(bits)
	return p.Addr()
}

// group is the strangers of one address or net.
type group struct {
	key   netip.Addr
	seats list.List // of *Seat, the oldest first
	at    *list.Element
}

// ranking orders groups by how many seats they have.
type ranking struct {
	groups map[netip.Addr]*group
	counts []*list.List // of *group, by their number of seats
	most   int
}

func (r *ranking) add(key netip.Addr, s *Seat) (*group, *list.Element) {
	g := r.groups[key]
	if g == nil {
		g = &group{key: key}
		r.groups[key] = g
	}
	at := g.seats.PushBack(s)
	r.moved(g, g.seats.Len()-1)
	return g, at
}

func (r *ranking) remove(g *group, at *list.Element) {
	g.seats.Remove(at)
	r.moved(g, g.seats.Len()+1)
}

// moved puts g, which had from seats, where it belongs.
func (r *ranking) moved(g *group, from int) {
	if from > 0 {
		r.counts[from].Remove(g.at)
	}
	to := g.seats.Len()
	if to == 0 {
		delete(r.groups, g.key)
	} else {
		for len(r.counts) <= to {
			r.counts = append(r.counts, list.New())
		}
		g.at = r.counts[to].PushBack(g)
	}
	r.most = max(r.most, to)
	for r.most > 0 && r.counts[r.most].Len() == 0 { // once at most: to is one less
		r.most--
	}
}
