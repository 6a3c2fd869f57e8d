package broker

import (
	"net/netip"
	"sync"

	"github.com/crolang-p2p/crolang-aio/internal/household"
)

// places counts the connections that are open, by source: an IPv4 address or an IPv6 /64. A newcomer that finds none left
// takes the place of a connection that has not joined, of the source that holds most of those; one that finds its source
// full, of that source's oldest. So a crowd displaces its own.
type places struct {
	mu        sync.Mutex
	max       int
	perSource int
	used      int
	sources   map[netip.Prefix]*source
	refused   uint64
	displaced uint64
}

// source is the connections of one source. strangers are those that have not joined, oldest first.
type source struct {
	count     int
	strangers []*place
}

// place is one connection's. What it belongs to gives it back once.
type place struct {
	all      *places
	from     netip.Prefix
	stranger bool
	taken    bool
	evict    func()
}

// sampled is how many sources are looked at for the one with most strangers.
const sampled = 256

func (p *places) limit(most, perSource int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.max, p.perSource = most, perSource
}

// take finds a place for a connection from addr, nil if there is none. evict ends the connection; it is called without a
// lock held, at most once, if another needs the place.
func (p *places) take(addr netip.Addr, evict func()) *place {
	pl := &place{all: p, from: household.Of(addr), stranger: true, taken: true, evict: evict}
	p.mu.Lock()
	var out *place
	s := p.sources[pl.from]
	switch {
	case s != nil && s.count >= p.perSource:
		out = oldest(s)
		if out == nil {
			p.refused++
			p.mu.Unlock()
			return nil
		}
	case p.used >= p.max:
		out = p.fromCrowd()
		if out == nil {
			p.refused++
			p.mu.Unlock()
			return nil
		}
	}
	if out != nil {
		p.displaced++
		p.remove(out)
	}
	p.add(pl)
	p.mu.Unlock()
	if out != nil {
		out.evict()
	}
	return pl
}

func oldest(s *source) *place {
	if len(s.strangers) == 0 {
		return nil
	}
	return s.strangers[0]
}

// fromCrowd is the oldest stranger of the source that has most, of those looked at.
func (p *places) fromCrowd() *place {
	var most *source
	looked := 0
	for _, s := range p.sources {
		if len(s.strangers) > 0 && (most == nil || len(s.strangers) > len(most.strangers)) {
			most = s
		}
		if looked++; looked >= sampled && most != nil {
			break
		}
	}
	if most == nil {
		return nil
	}
	return oldest(most)
}

func (p *places) add(pl *place) {
	s := p.sources[pl.from]
	if s == nil {
		s = &source{}
		p.sources[pl.from] = s
	}
	s.count++
	p.used++
	if pl.stranger {
		s.strangers = append(s.strangers, pl)
	}
}

func (p *places) remove(pl *place) {
	if !pl.taken {
		return
	}
	pl.taken = false
	p.used--
	s := p.sources[pl.from]
	s.count--
	s.forget(pl)
	if s.count == 0 {
		delete(p.sources, pl.from)
	}
}

func (s *source) forget(pl *place) {
	if !pl.stranger {
		return
	}
	for i, o := range s.strangers {
		if o == pl {
			s.strangers = append(s.strangers[:i], s.strangers[i+1:]...)
			return
		}
	}
}

// settle keeps the place from being taken for another: its connection has joined.
func (pl *place) settle() {
	p := pl.all
	p.mu.Lock()
	defer p.mu.Unlock()
	if pl.taken && pl.stranger {
		p.sources[pl.from].forget(pl)
		pl.stranger = false
	}
}

// release gives the place back; again does nothing.
func (pl *place) release() {
	pl.all.mu.Lock()
	defer pl.all.mu.Unlock()
	pl.all.remove(pl)
}
