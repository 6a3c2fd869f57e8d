// Package places hands out a bounded number of places for strangers' connections fairly, so that a crowd displaces its own
// and nobody else's: TURN's TCP, TLS and DTLS, and the Broker, give theirs by it.
package places

import (
	"container/list"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/household"
)

// Grace is how long a client has to do what makes it keep its place (to get an allocation, to join) before it gives way to
// another one of its own source: long enough for a handshake and four round trips on a slow line.
const Grace = 3 * time.Second

// smallestShare is the part of all places that one source may hold: an eighth.
const smallestShare = 8

// Hall is where the places are.
//
// A client that is kept, by [Hall.Keep], has its place for good. Every other one is a stranger, whatever it has sent so far,
// and may be displaced at any time. Where there is no place left, a stranger of the source that has most of them gives way:
// counted by address (IPv6: by /64), then, where no source has more than one, by /24 (IPv6: /56), and then by /48. A
// source without strangers thus always gets a place unless all of them are kept. No source holds more than its share.
//
// A stranger that leaves early counts as one of its source for a while longer, though it takes no place: otherwise a
// source that connects and leaves without end would be let in each time.
//
// All of it takes constant time, on average. Its methods are safe for concurrent use.
type Hall struct {
	mu        sync.Mutex
	now       func() time.Time
	total     int // in all
	strangers int // of them, for strangers
	perSource int // beside the share; 0: no limit
	open      int
	held      map[netip.Addr]int // by source, strangers and others
	unsettled map[*Seat]struct{}
	ranks     [widths]ranking // of strangers, and of ghosts
	ghosts    list.List       // of *Seat: strangers that have left before they had their time
}

// Seat is one client's place. Its fields belong to the lock of the Hall.
type Seat struct {
	source  netip.Addr
	leave   func() // ends the client that has been displaced; called without the lock
	since   time.Time
	groups  [widths]*group // nil: it is no stranger's
	at      [widths]*list.Element
	settled bool
	gone    bool
	ghost   *list.Element // in Hall.ghosts
}

// Verdict is what became of a client that asked for a place.
type Verdict int

// What may become of a client.
const (
	Seated    Verdict = iota
	OverShare         // its source has all that it may have
	Full              // every place is taken by a client that is kept
	Displaced         // it has had to give way already
)

// New makes a Hall of total places, of which strangers have at most so many. A source may hold an eighth of all, and at most
// perSource, if that is not 0.
func New(total, strangers, perSource int) *Hall {
	p := &Hall{
		total: total, strangers: min(strangers, total), perSource: perSource, now: time.Now,
		held: make(map[netip.Addr]int), unsettled: make(map[*Seat]struct{}),
	}
	for i := range p.ranks {
		p.ranks[i].groups = make(map[netip.Addr]*group)
	}
	return p
}

// Source is what has the seat, as [household.Of] says.
func (s *Seat) Source() netip.Addr { return s.source }

// Leave ends the client, which has been displaced.
func (s *Seat) Leave() { s.leave() }

// Take gives a client at ip a place, as a stranger that is not settled; nil: it gets none. away is who has lost its place for
// it, nil if nobody has: whoever called must have it [Seat.Leave], without a lock that leave takes. If crowded is set, another
// stranger must give way whatever the limits are. leave ends the client if it is displaced later; it is called at most once,
// from any goroutine.
func (p *Hall) Take(ip netip.Addr, crowded bool, leave func()) (s *Seat, away *Seat, v Verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.claim(&Seat{source: household.Of(ip).Addr(), leave: leave}, crowded)
}

// Move gives a stranger that turns out to be at ip another place in return for its own, as Take would, and the caller
// releases that one instead. Without one the client has none any more.
func (p *Hall) Move(from *Seat, ip netip.Addr) (s *Seat, away *Seat, v Verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if from.gone {
		return nil, nil, Displaced
	}
	p.drop(from)
	return p.claim(&Seat{source: household.Of(ip).Addr(), leave: from.leave}, false)
}

// claim finds a place for s. Called with mu held.
func (p *Hall) claim(s *Seat, crowded bool) (_ *Seat, away *Seat, v Verdict) {
	now := p.now()
	p.purge(now)
	noRoom := crowded || p.open >= p.total
	switch {
	case p.held[s.source] >= p.share():
		if away = p.living(func() *Seat { return p.overdue(s.source, now) }); away == nil {
			return nil, nil, OverShare
		}
	case noRoom && p.strangersIn() == 0:
		return nil, nil, Full
	case noRoom:
		if away = p.living(func() *Seat { return p.victim(s.source, now) }); away == nil {
			return nil, nil, OverShare
		}
	case p.ranks[altogether].most >= p.strangers:
		switch away = p.victim(s.source, now); {
		case away == nil:
			return nil, nil, OverShare
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
	return s, away, Seated
}

// living is the first that pick names and that is no ghost; the ghosts are forgotten.
func (p *Hall) living(pick func() *Seat) *Seat {
	for {
		s := pick()
		if s == nil || s.ghost == nil {
			return s
		}
		p.forget(s)
	}
}

// purge forgets the ghosts whose time is over.
func (p *Hall) purge(now time.Time) {
	for e := p.ghosts.Front(); e != nil && e.Value.(*Seat).hadTime(now); e = p.ghosts.Front() {
		p.forget(e.Value.(*Seat))
	}
}

func (p *Hall) forget(s *Seat) {
	p.ghosts.Remove(s.ghost)
	s.ghost = nil
	p.withdraw(s)
}

// strangersIn is how many strangers have a place.
func (p *Hall) strangersIn() int { return p.ranks[altogether].most - p.ghosts.Len() }

// share is how many places one source may hold.
func (p *Hall) share() int {
	n := max(1, p.total/smallestShare)
	if p.perSource > 0 {
		n = min(n, p.perSource)
	}
	return n
}

// victim is the stranger that gives way to a newcomer from source; nil: the newcomer itself does, or there is none.
func (p *Hall) victim(source netip.Addr, now time.Time) *Seat {
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
		oldest := g.seats.Front().Value.(*Seat)
		// Of one source those that came first are closest to their allocation. Of many, the last to come must not be
		// the first to go: nobody new would ever get in.
		if i == byAddress && !oldest.hadTime(now) {
			return g.seats.Back().Value.(*Seat)
		}
		return oldest
	}
	return nil
}

// strangersOf is how many strangers there are of the group that source belongs to at a width.
func (p *Hall) strangersOf(source netip.Addr, width int) int {
	if g := p.ranks[width].groups[wider(source, width)]; g != nil {
		return g.seats.Len()
	}
	return 0
}

// overdue is the oldest stranger of a source, if it has had its time.
func (p *Hall) overdue(source netip.Addr, now time.Time) *Seat {
	g := p.ranks[byAddress].groups[source]
	if g == nil {
		return nil
	}
	if s := g.seats.Front().Value.(*Seat); s.hadTime(now) {
		return s
	}
	return nil
}

func (s *Seat) hadTime(now time.Time) bool { return now.Sub(s.since) >= Grace }

// enter makes s a stranger's.
func (p *Hall) enter(s *Seat, now time.Time) {
	s.since = now
	for i := range p.ranks {
		s.groups[i], s.at[i] = p.ranks[i].add(wider(s.source, i), s)
	}
}

// withdraw undoes enter.
func (p *Hall) withdraw(s *Seat) {
	for i := range p.ranks {
		if s.groups[i] != nil {
			p.ranks[i].remove(s.groups[i], s.at[i])
			s.groups[i], s.at[i] = nil, nil
		}
	}
}

// Settle notes that a client's handshake is done. False: it has had to give way meanwhile, and its leave is called.
func (p *Hall) Settle(s *Seat) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.unsettled, s)
	s.settled = true
	return !s.gone
}

// Keep notes that the client has what makes it keep its place, or has that no more and is a stranger again.
func (p *Hall) Keep(s *Seat, kept bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.gone {
		return
	}
	p.withdraw(s)
	if !kept {
		p.enter(s, p.now())
	}
}

// Release gives a place back. It may be called again.
func (p *Hall) Release(s *Seat) {
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

func (p *Hall) drop(s *Seat) {
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

// Displace takes a stranger's place away and ends the client; it reports whether there was a stranger.
func (p *Hall) Displace() bool {
	s := p.outcast()
	if s != nil {
		s.leave()
	}
	return s != nil
}

func (p *Hall) outcast() *Seat {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.living(func() *Seat { return p.victim(netip.Addr{}, p.now()) })
	if s != nil {
		p.drop(s)
	}
	return s
}

// DisplaceUnsettled ends every client whose handshake is not done, at the end of the server.
func (p *Hall) DisplaceUnsettled() {
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

// Limit replaces perSource. Nobody loses a place.
func (p *Hall) Limit(perSource int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.perSource = perSource
}

// Resize replaces total, with as many places for strangers. Nobody loses a place.
func (p *Hall) Resize(total int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.total, p.strangers = total, total
}

// Clock replaces time.Now, for tests.
func (p *Hall) Clock(now func() time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now = now
}

// Size is how many places are taken, how many of them by strangers, and how many by clients that are not settled.
func (p *Hall) Size() (open, strangers, unsettled int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open, p.strangersIn(), len(p.unsettled)
}
