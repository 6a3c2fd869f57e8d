package turnsrv

import (
	"container/list"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/household"
)

// grace is how long a client has to get its allocation before it gives way to another one of its own source: long
// enough for a handshake and four round trips on a slow line.
const grace = 3 * time.Second

// smallestShare is the part of all places that one source may hold: an eighth.
const smallestShare = 8

// places hands out a bounded number of places fairly, so that a crowd of connections displaces its own and nobody
// else's.
//
// A client with a live allocation keeps its place. Every other one is a stranger, whatever it has sent so far, and may
// be displaced at any time. Where there is no place left, a stranger of the source that has most of them gives way:
// counted by address (IPv6: by /64), then, where no source has more than one, by /24 (IPv6: /56), and then by /48. A
// source without strangers thus always gets a place unless all of them are kept. No source holds more than its share.
//
// A stranger that leaves early counts as one of its source for a while longer, though it takes no place: otherwise a
// source that connects and leaves without end would be let in each time.
//
// All of it takes constant time, on average. Its methods are safe for concurrent use.
type places struct {
	total     int // in all
	strangers int // of them, for strangers
	now       func() time.Time

	mu        sync.Mutex
	perSource int // beside the share; 0: no limit
	open      int
	held      map[netip.Addr]int // by source, strangers and others
	unsettled map[*seat]struct{}
	ranks     [widths]ranking // of strangers, and of ghosts
	ghosts    list.List       // of *seat: strangers that have left before they had their time
}

// The widths by which strangers are counted. The last one has all of them in one group.
const (
	byAddress = iota
	bySite    // IPv4 /24, IPv6 /56
	byNet     // IPv4 /24, IPv6 /48
	altogether
	widths
)

var bitsOf = [widths][2]int{byAddress: {32, 64}, bySite: {24, 56}, byNet: {24, 48}}

// seat is one client's place. Its fields belong to the lock of places.
type seat struct {
	source  netip.Addr
	leave   func() // ends the client that has been displaced; called without the lock
	since   time.Time
	groups  [widths]*group // nil: it is no stranger's
	at      [widths]*list.Element
	settled bool
	gone    bool
	ghost   *list.Element // in places.ghosts
}

// verdict is what became of a client that asked for a place.
type verdict int

const (
	seated    verdict = iota
	overShare         // its source has all that it may have
	full              // every place is kept by a client with an allocation
	displaced         // it has had to give way already
)

func newPlaces(total, strangers, perSource int) *places {
	p := &places{
		total: total, strangers: min(strangers, total), perSource: perSource, now: time.Now,
		held: make(map[netip.Addr]int), unsettled: make(map[*seat]struct{}),
	}
	for i := range p.ranks {
		p.ranks[i].groups = make(map[netip.Addr]*group)
	}
	return p
}

// sourceOf is what limits by address go by: all of a /64 is one customer's.
func sourceOf(ip netip.Addr) netip.Addr { return household.Of(ip).Addr() }

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

// take gives a client at ip a place, as a stranger that is not settled. leave ends the client if it is displaced; it is
// called at most once, from any goroutine. If crowded is set, another stranger must give way whatever the limits are.
func (p *places) take(ip netip.Addr, crowded bool, leave func()) (s *seat, away *seat, v verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.claim(&seat{source: sourceOf(ip), leave: leave}, crowded)
}

// move gives a stranger that turns out to be at ip another place in return for its own, as take would; the caller releases
// that one. Without one the client has none any more.
func (p *places) move(from *seat, ip netip.Addr) (s *seat, away *seat, v verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if from.gone {
		return nil, nil, displaced
	}
	p.drop(from)
	return p.claim(&seat{source: sourceOf(ip), leave: from.leave}, false)
}

// claim finds a place for s. Called with mu held.
func (p *places) claim(s *seat, crowded bool) (_ *seat, away *seat, v verdict) {
	now := p.now()
	p.purge(now)
	noRoom := crowded || p.open >= p.total
	switch {
	case p.held[s.source] >= p.share():
		if away = p.living(func() *seat { return p.overdue(s.source, now) }); away == nil {
			return nil, nil, overShare
		}
	case noRoom && p.strangersIn() == 0:
		return nil, nil, full
	case noRoom:
		if away = p.living(func() *seat { return p.victim(s.source, now) }); away == nil {
			return nil, nil, overShare
		}
	case p.ranks[altogether].most >= p.strangers:
		switch away = p.victim(s.source, now); {
		case away == nil:
			return nil, nil, overShare
		case away.ghost != nil: // nobody has to go for it
			p.forget(away)
			away = nil
		}
	}
	if away != nil {
		p.drop(away)
	}
	p.open++
	p.held[s.source]++
	p.unsettled[s] = struct{}{}
	p.enter(s, now)
	return s, away, seated
}

// living is the first that pick names and that is no ghost; the ghosts are forgotten.
func (p *places) living(pick func() *seat) *seat {
	for {
		s := pick()
		if s == nil || s.ghost == nil {
			return s
		}
		p.forget(s)
	}
}

// purge forgets the ghosts whose time is over.
func (p *places) purge(now time.Time) {
	for e := p.ghosts.Front(); e != nil && e.Value.(*seat).hadTime(now); e = p.ghosts.Front() {
		p.forget(e.Value.(*seat))
	}
}

func (p *places) forget(s *seat) {
	p.ghosts.Remove(s.ghost)
	s.ghost = nil
	p.withdraw(s)
}

// strangersIn is how many strangers have a place.
func (p *places) strangersIn() int { return p.ranks[altogether].most - p.ghosts.Len() }

// share is how many places one source may hold.
func (p *places) share() int {
	n := max(1, p.total/smallestShare)
	if p.perSource > 0 {
		n = min(n, p.perSource)
	}
	return n
}

// victim is the stranger that gives way to a newcomer from source; nil: the newcomer itself does, or there is none.
func (p *places) victim(source netip.Addr, now time.Time) *seat {
	mine := p.strangersOf(source, byAddress)
	for i := range p.ranks {
		r := &p.ranks[i]
		switch {
		case r.most == 0:
			return nil
		case r.most == 1 && i != altogether: // does not tell anybody from anybody else
			continue
		case mine > 0 && p.strangersOf(source, i)+1 >= r.most || mine > 0 && i == altogether:
			// Nobody gains where two sources with equally many displace each other in turn.
			return p.overdue(source, now)
		}
		g := r.counts[r.most].Front().Value.(*group)
		oldest := g.seats.Front().Value.(*seat)
		// Of one source those that came first are closest to their allocation. Of many, the last to come must not be
		// the first to go: nobody new would ever get in.
		if i == byAddress && !oldest.hadTime(now) {
			return g.seats.Back().Value.(*seat)
		}
		return oldest
	}
	return nil
}

// strangersOf is how many strangers there are of the group that source belongs to at a width.
func (p *places) strangersOf(source netip.Addr, width int) int {
	if g := p.ranks[width].groups[wider(source, width)]; g != nil {
		return g.seats.Len()
	}
	return 0
}

// overdue is the oldest stranger of a source, if it has had its time.
func (p *places) overdue(source netip.Addr, now time.Time) *seat {
	g := p.ranks[byAddress].groups[source]
	if g == nil {
		return nil
	}
	if s := g.seats.Front().Value.(*seat); s.hadTime(now) {
		return s
	}
	return nil
}

func (s *seat) hadTime(now time.Time) bool { return now.Sub(s.since) >= grace }

// enter makes s a stranger's.
func (p *places) enter(s *seat, now time.Time) {
	s.since = now
	for i := range p.ranks {
		s.groups[i], s.at[i] = p.ranks[i].add(wider(s.source, i), s)
	}
}

// withdraw undoes enter.
func (p *places) withdraw(s *seat) {
	for i := range p.ranks {
		if s.groups[i] != nil {
			p.ranks[i].remove(s.groups[i], s.at[i])
			s.groups[i], s.at[i] = nil, nil
		}
	}
}

// settle notes that a client's handshake is done. False: it has had to give way meanwhile, and its leave is called.
func (p *places) settle(s *seat) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.unsettled, s)
	s.settled = true
	return !s.gone
}

// keep notes that the client has an allocation, or has none any more.
func (p *places) keep(s *seat, allocated bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.gone {
		return
	}
	p.withdraw(s)
	if !allocated {
		p.enter(s, p.now())
	}
}

// release gives a place back. It may be called again.
func (p *places) release(s *seat) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.gone {
		return
	}
	if s.groups[byAddress] != nil && !s.hadTime(p.now()) {
		s.ghost = p.ghosts.PushBack(s)
	}
	p.drop(s)
}

func (p *places) drop(s *seat) {
	if s.gone {
		return
	}
	s.gone = true
	if s.ghost == nil {
		p.withdraw(s)
	}
	delete(p.unsettled, s)
	p.open--
	if p.held[s.source]--; p.held[s.source] == 0 {
		delete(p.held, s.source)
	}
}

// displace takes a stranger's place away and ends the client; it reports whether there was a stranger.
func (p *places) displace() bool {
	s := p.outcast()
	if s != nil {
		s.leave()
	}
	return s != nil
}

func (p *places) outcast() *seat {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.living(func() *seat { return p.victim(netip.Addr{}, p.now()) })
	if s != nil {
		p.drop(s)
	}
	return s
}

// displaceUnsettled ends every client whose handshake is not done, at the end of the server.
func (p *places) displaceUnsettled() {
	p.mu.Lock()
	all := slices.Collect(maps.Keys(p.unsettled))
	for _, s := range all {
		p.drop(s)
	}
	p.mu.Unlock()
	for _, s := range all {
		s.leave()
	}
}

// limit replaces perSource. Nobody loses a place.
func (p *places) limit(perSource int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.perSource = perSource
}

// size is how many places are taken, how many of them by strangers, and how many by clients that are not settled.
func (p *places) size() (open, strangers, unsettled int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, p.strangersIn(), len(p.unsettled)
}
