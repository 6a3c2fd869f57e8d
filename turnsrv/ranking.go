package turnsrv

import (
	"container/list"
	"net/netip"
)

// group is the strangers of one address or net.
type group struct {
	key   netip.Addr
	seats list.List // of *seat, the oldest first
	at    *list.Element
}

// ranking orders groups by how many seats they have.
type ranking struct {
	groups map[netip.Addr]*group
	counts []*list.List // of *group, by their number of seats
	most   int
}

func (r *ranking) add(key netip.Addr, s *seat) (*group, *list.Element) {
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
