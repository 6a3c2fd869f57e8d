package admin

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
)

// How it is told whether a connection goes over a relay. While ICE looks for a path, checks go over relays that are not needed
// later; then a relay that is in use passes at least consent checks, one each five seconds and direction (RFC 7675), and one
// that is kept in reserve a few a minute.
const (
	lookAtPaths  = 5 * time.Second
	checksTake   = 10 * time.Second // since the acceptance
	pathWatched  = 20 * time.Second // after that
	relayPasses  = 6                // datagrams in pathWatched, all relays of the two together
	surelyMedia  = 1000             // datagrams that no checks make, however early
	ownRelay     = 15 * time.Second // before the attempt and after the acceptance: when its relays are made
	forgetOpen   = 10 * time.Minute
	noAnswerTime = 30 * time.Second // after which no answer is taken for one that will not come
)

// paths settles which way connections took.
type paths struct {
	at map[uint64]mark // by the connection's number; used by watchPaths alone
}

// mark is what two Nodes had for each other at a time.
type mark struct {
	at        time.Time
	relays    int    // made for this connection, as far as their time tells
	datagrams uint64 // that passed those which let the other in
}

// watchPaths looks at new connections until ctx ends.
func (a *Admin) watchPaths(ctx context.Context) {
	if a.cfg.Stories == nil {
		return
	}
	p := paths{at: map[uint64]mark{}}
	tick := time.NewTicker(lookAtPaths)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.look(a, a.cfg.Now())
		}
	}
}

// look settles those that can be.
func (p *paths) look(a *Admin, now time.Time) {
	open := a.cfg.Stories.Open(now.Add(-forgetOpen))
	was := p.at
	p.at = make(map[uint64]mark, len(open))
	if len(open) == 0 {
		return
	}
	relays := make(map[string][]adminapi.Allocation)
	for _, al := range a.cfg.Relays.Allocations() {
		relays[al.Node] = append(relays[al.Node], al)
	}
	for _, c := range open {
		if now.Sub(c.Replied) < checksTake {
			continue
		}
		m := a.mark(&c, relays, now)
		first, seen := was[c.Number]
		switch path, settled := pathOf(first, m, seen); {
		case settled:
			a.cfg.Stories.Settle(c.Number, path)
		case seen:
			p.at[c.Number] = first
		default:
			p.at[c.Number] = m
		}
	}
}

// mark looks at what the two of a connection have. relays are the live ones of all Nodes.
func (a *Admin) mark(c *stories.Connection, relays map[string][]adminapi.Allocation, now time.Time) mark {
	m := mark{at: now}
	ours := func(al *adminapi.Allocation) bool { // not those of another connection
		return !al.Created.Before(c.At.Add(-ownRelay)) && !al.Created.After(c.Replied.Add(ownRelay))
	}
	for _, side := range [2][2]string{{c.Asker, c.Asked}, {c.Asked, c.Asker}} {
		for _, al := range relays[side[0]] {
			if ours(&al) {
				m.relays++
			}
		}
		if len(relays[side[0]]) == 0 {
			continue
		}
		for _, al := range a.cfg.Relays.Toward(side[0], addressesOf(a.link(side[1]), relays[side[1]])) {
			if ours(&al) {
				m.datagrams += al.DatagramsIn + al.DatagramsOut
			}
		}
	}
	return m
}

// addressesOf are those that a Node's data may come from: of its relays, and its own, by which it is at the Broker.
func addressesOf(link *adminapi.BrokerLink, relays []adminapi.Allocation) (all []netip.Addr) {
	note := func(ip netip.Addr) {
		if ip = ip.Unmap(); ip.IsValid() && !slices.Contains(all, ip) {
			all = append(all, ip)
		}
	}
	if link != nil {
		note(link.From)
	}
	for _, al := range relays {
		note(al.Relayed.Addr())
		note(al.Also.Addr())
		note(al.Client.Addr())
	}
	return all
}

// pathOf compares what was there first with what is there now.
func pathOf(first, now mark, seen bool) (path stories.Path, settled bool) {
	switch {
	case now.datagrams >= surelyMedia:
		return stories.Relayed, true
	case !seen:
		return 0, false
	case now.relays < first.relays || now.datagrams < first.datagrams || first.relays == 0:
		return stories.Unclear, true
	case now.datagrams-first.datagrams >= relayPasses:
		return stories.Relayed, true
	case now.at.Sub(first.at) < pathWatched:
		return 0, false
	}
	return stories.Direct, true
}
