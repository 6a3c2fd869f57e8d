package fleet

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
)

// maxTURN is how many TURN URLs a client is told, and mostOf how many of them are one machine's where there are two.
const (
	maxTURN = 6
	mostOf  = maxTURN / 2
)

// place is a machine that Nodes may be sent to.
type place struct {
	self bool
	room float64
	half any // what Config.Write made of one STUN URL at most, and mostOf TURN URLs at most
	all  any // and of one, and maxTURN
}

// places are all of them, as of a moment. They never change.
type places struct {
	by map[string][]*place // by region; "" has all
}

// told is what a Node is told of a machine: as one of two, and alone.
type told struct {
	stun, turn []string // of which it was made
	half, all  any
}

// tell makes it, unless was says the same.
func (f *Fleet) tell(was *told, stun, turn []string) *told {
	if was != nil && slices.Equal(was.stun, stun) && slices.Equal(was.turn, turn) {
		return was
	}
	first := stun[:min(1, len(stun))]
	return &told{stun, turn, f.cfg.Write(first, half(turn)), f.cfg.Write(first, turn[:min(maxTURN, len(turn))])}
}

// arrange makes the places anew.
func (f *Fleet) arrange() {
	own := f.own()
	next := &places{by: map[string][]*place{}}
	add := func(region string, p *place) {
		next.by[""] = append(next.by[""], p)
		if region != "" {
			next.by[region] = append(next.by[region], p)
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if own.state() == Up && len(own.TURN) > 0 {
		f.told = f.tell(f.told, own.STUN, own.TURN)
		add(own.Region, &place{self: true, room: own.room(), half: f.told.half})
	}
	for _, m := range f.machines {
		if f.up(m) && m.said.state() == Up && len(m.said.TURN) > 0 && slices.Contains(m.said.Takes, own.Takes[0]) {
			m.told = f.tell(m.told, m.said.STUN, m.said.TURN)
			add(m.said.Region, &place{room: m.said.room(), half: m.told.half, all: m.told.all})
		}
	}
	f.places.Store(next)
	f.tellRelaying()
}

// Relaying is where another machine has its relays.
type Relaying struct {
	Boot     string // tells processes apart
	Addrs    []netip.Addr
	Min, Max uint16 // ports
}

// tellRelaying tells where others have relays, also those that drain: theirs live. f.mu is held.
func (f *Fleet) tellRelaying() {
	if f.cfg.Relaying == nil {
		return
	}
	var all []Relaying
	for boot, m := range f.machines {
		if f.up(m) && len(m.said.Relays) > 0 {
			all = append(all, Relaying{boot, m.said.Relays, m.said.RelayMin, m.said.RelayMax})
		}
	}
	slices.SortFunc(all, func(x, y Relaying) int { return strings.Compare(x.Boot, y.Boot) })
	if slices.EqualFunc(all, f.relaying, func(x, y Relaying) bool {
		return x.Boot == y.Boot && x.Min == y.Min && x.Max == y.Max && slices.Equal(x.Addrs, y.Addrs)
	}) {
		return
	}
	f.relaying = all
	f.cfg.Relaying(all)
}

// Pick chooses what a Node at an address, which may be unknown, is told: what [Config].Write made of the URLs of two machines,
// first of the Node's region or else of this machine's, of two at random each time that which has more room. If second is nil
// the Node is told of one machine alone, and if both are, of this one, with all its URLs. It never waits.
func (f *Fleet) Pick(source netip.Addr) (first, second any) {
	all := f.places.Load()
	if all == nil {
		return nil, nil
	}
	region := f.where.Load().of(source)
	if region == "" {
		region = f.cfg.Region
	}
	one, other := all.pick(region, dice(rand.Uint64()))
	switch {
	case one == nil, one.self && other == nil: // nobody has room, or this machine is alone
		return nil, nil
	case other == nil:
		return one.all, nil
	}
	return one.half, other.half
}

// pick chooses two places, nil where there is none. dice are random.
func (p *places) pick(region string, dice dice) (first, second *place) {
	near := p.by[region]
	if region == "" {
		near = nil
	}
	if first = better(near, nil, &dice); first == nil {
		first = better(p.by[""], nil, &dice)
	}
	if first == nil {
		return nil, nil
	}
	if second = better(near, first, &dice); second == nil {
		second = better(p.by[""], first, &dice)
	}
	return first, second
}

// dice are random bits for four choices.
type dice uint64

// roll returns a number below n, which is at most 65 536, that is random enough to choose a machine by.
func (d *dice) roll(n int) int {
	i := int(uint64(uint16(*d)) * uint64(n) >> 16)
	*d >>= 16
	return i
}

// better is that of two at random which has more room; nil if there is none but the one that is not wanted.
func better(all []*place, but *place, dice *dice) *place {
	n := len(all)
	at := -1
	if but != nil {
		if at = slices.Index(all, but); at >= 0 {
			n--
		}
	}
	if n <= 0 {
		return nil
	}
	get := func(i int) *place {
		if at >= 0 && i >= at {
			i++
		}
		return all[i]
	}
	if n == 1 {
		return get(0)
	}
	one := get(dice.roll(n))
	if other := get(dice.roll(n)); other.room > one.room {
		return other
	}
	return one
}

// half are the URLs of a machine where a client is told those of two: of each kind one, in the order in which they come, and
// more while there is room.
func half(urls []string) []string {
	if len(urls) <= mostOf {
		return urls
	}
	var kinds []string
	groups := map[string][]string{}
	for _, u := range urls {
		scheme, rest, _ := strings.Cut(u, ":")
		_, query, _ := strings.Cut(rest, "?")
		kind := scheme + query
		if !slices.Contains(kinds, kind) {
			kinds = append(kinds, kind)
		}
		groups[kind] = append(groups[kind], u)
	}
	take := map[string]int{}
	for left, more := mostOf, true; more; {
		more = false
		for _, kind := range kinds {
			if left > 0 && take[kind] < len(groups[kind]) {
				take[kind]++
				left--
				more = true
			}
		}
	}
	var out []string
	for _, kind := range kinds {
		out = append(out, groups[kind][:take[kind]]...)
	}
	return out
}
