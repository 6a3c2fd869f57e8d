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
	at   int // in the list of all
	room float64
	stun []string // one at most
	turn []string // mostOf at most
	all  []string // maxTURN at most
}

// places are all of them, as of a moment. They never change.
type places struct {
	by    map[string][]*place // by region; "" has all
	pairs []pair              // of all with all, where there are few
}

// pair is what a Node is told of two places.
type pair struct{ stun, turn []string }

// maxPaired is of how many places the pairs are made before anybody asks.
const maxPaired = 16

// pair is what a Node is told of two places.
func (p *places) pair(first, second *place) pair {
	if n := len(p.by[""]); len(p.pairs) > 0 {
		return p.pairs[first.at*n+second.at]
	}
	return join(first, second)
}

func join(first, second *place) pair {
	return pair{
		append(append(make([]string, 0, 2), one(first.stun)...), one(second.stun)...),
		append(append(make([]string, 0, maxTURN), first.turn...), second.turn...),
	}
}

// arrange makes the places anew.
func (f *Fleet) arrange() {
	own := f.own()
	next := &places{by: map[string][]*place{}}
	add := func(region string, p *place) {
		p.at = len(next.by[""])
		next.by[""] = append(next.by[""], p)
		if region != "" {
			next.by[region] = append(next.by[region], p)
		}
	}
	if own.state() == Up && len(own.TURN) > 0 {
		add(own.Region, &place{self: true, room: own.room(), stun: own.STUN, turn: half(own.TURN), all: own.TURN})
	}
	f.mu.Lock()
	for _, m := range f.machines {
		if f.up(m) && m.said.state() == Up && len(m.turn) > 0 && slices.Contains(m.said.Takes, own.Takes[0]) {
			add(m.said.Region, &place{room: m.said.room(), stun: m.said.STUN, turn: m.turn, all: m.said.TURN[:min(maxTURN, len(m.said.TURN))]})
		}
	}
	f.mu.Unlock()
	if all := next.by[""]; len(all) <= maxPaired {
		for _, first := range all {
			for _, second := range all {
				next.pairs = append(next.pairs, join(first, second))
			}
		}
	}
	f.places.Store(next)
}

// Pick chooses the URLs for a Node at an address, which may be unknown, where this machine's own are stun and turn: those of
// two machines, first of the Node's region or else of this machine's, of two at random each time that which has more room. It
// never waits. The slices belong to the Fleet.
func (f *Fleet) Pick(source netip.Addr, stun, turn []string) (stunURLs, turnURLs []string) {
	all := f.places.Load()
	if all == nil {
		return stun, turn
	}
	region := f.where.Load().of(source)
	if region == "" {
		region = f.cfg.Region
	}
	first, second := all.pick(region)
	switch {
	case first == nil, first.self && second == nil: // nobody has room, or this machine is alone
		return stun, turn
	case second == nil:
		return first.stun, first.all
	}
	told := all.pair(first, second)
	return told.stun, told.turn
}

func one(urls []string) []string { return urls[:min(1, len(urls))] }

// pick chooses two places, nil where there is none.
func (p *places) pick(region string) (first, second *place) {
	near := p.by[region]
	if first = better(near, nil); first == nil {
		first = better(p.by[""], nil)
	}
	if first == nil {
		return nil, nil
	}
	if second = better(near, first); second == nil {
		second = better(p.by[""], first)
	}
	return first, second
}

// better is that of two at random which has more room; nil if there is none but the one that is not wanted.
func better(all []*place, but *place) *place {
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
	one := get(rand.IntN(n))
	if n == 1 {
		return one
	}
	i := rand.IntN(n)
	if other := get(i); other.room > one.room {
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
