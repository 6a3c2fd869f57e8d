package admin

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
)

// storyQuestion asks what passed between two Nodes, and what each has.
type storyQuestion struct {
	Nodes [2]string `json:"nodes"`
}

func (q storyQuestion) ok() bool { return isNode(q.Nodes[0]) && isNode(q.Nodes[1]) }

// storyPart is what one machine knows of it.
type storyPart struct {
	Broker bool        `json:"broker"` // one runs there
	Story  *keptStory  `json:"story,omitempty"`
	Sides  [2]sidePart `json:"sides"` // in the order of the question
}

// keptStory is a [stories.Story] between machines.
type keptStory struct {
	Asker     string         `json:"asker,omitempty"`
	Asked     string         `json:"asked,omitempty"`
	At        time.Time      `json:"at,omitzero"`
	Attempts  int            `json:"attempts,omitempty"`
	Answer    string         `json:"answer,omitempty"`
	Cause     string         `json:"cause,omitempty"`
	Reply     string         `json:"reply,omitempty"`
	FromAsker map[string]int `json:"from_asker,omitempty"`
	FromAsked map[string]int `json:"from_asked,omitempty"`
	Messages  int            `json:"messages,omitempty"`
	Bytes     uint64         `json:"bytes,omitempty"`
	Last      time.Time      `json:"last,omitzero"`
}

// sidePart is what one of the two has at a machine.
type sidePart struct {
	Connected   bool                 `json:"connected"`
	Link        *adminapi.BrokerLink `json:"link,omitempty"`
	Allocations int                  `json:"allocations"`
	Addresses   []netip.Addr         `json:"addresses,omitempty"` // of its relays, and its own
}

// towardQuestion asks what two Nodes have for each other's addresses, which are at several machines.
type towardQuestion struct {
	Nodes     [2]string       `json:"nodes"`
	Addresses [2][]netip.Addr `json:"addresses"` // of each
}

func (q towardQuestion) ok() bool { return isNode(q.Nodes[0]) && isNode(q.Nodes[1]) }

// towardPart is what each has for the other at one machine.
type towardPart struct {
	Sides [2]struct {
		Toward int    `json:"toward"` // allocations
		Sent   uint64 `json:"sent"`   // datagrams
		Got    uint64 `json:"got"`
		Drops  uint64 `json:"drops"`
	} `json:"sides"`
}

func (a *Admin) storyPart(q storyQuestion) storyPart {
	p := storyPart{Broker: a.cfg.Broker != nil && a.cfg.Stories != nil}
	for i, node := range q.Nodes {
		s := a.side(nodeid.Canonical(node))
		p.Sides[i] = sidePart{Connected: s.connected, Link: s.link, Allocations: s.allocations, Addresses: bounded(s.addresses)}
	}
	if p.Broker {
		if s, ok := a.cfg.Stories.Between(nodeid.Canonical(q.Nodes[0]), nodeid.Canonical(q.Nodes[1])); ok {
			p.Story = &keptStory{
				Asker: s.Asker, Asked: s.Asked, At: s.At, Attempts: s.Attempts, Answer: s.Answer, Cause: s.Cause, Reply: s.Reply,
				FromAsker: s.FromAsker, FromAsked: s.FromAsked, Messages: s.Messages, Bytes: s.Bytes, Last: s.Last,
			}
		}
	}
	return p
}

func (a *Admin) towardPart(q towardQuestion) (p towardPart) {
	for i := range q.Nodes {
		s := side{node: nodeid.Canonical(q.Nodes[i])}
		a.toward(&s, bounded(q.Addresses[1-i]))
		at := &p.Sides[i]
		at.Toward, at.Sent, at.Got, at.Drops = s.toward, s.sent, s.got, s.drops
	}
	return p
}

// wholeStory adds to a story of this machine what the others know, and reports whether a Broker runs at one of them.
func (a *Admin) wholeStory(s *stories.Story, sides *[2]side) (unanswered []adminapi.Unanswered, broker bool) {
	f := a.cfg.Fleet
	nodes := [2]string{sides[0].node, sides[1].node}
	for i := range sides {
		if sides[i].link != nil {
			sides[i].link.Machine = f.Name()
		}
		if n := sides[i].allocations; n > 0 {
			sides[i].at = append(sides[i].at, f.Name())
		}
	}
	unanswered = ask(f, askStory, storyQuestion{nodes}, func(from Told, p storyPart) {
		broker = broker || p.Broker
		if p.Story != nil {
			addStory(s, p.Story, from.Skew)
		}
		for i := range sides {
			sides[i].add(&p.Sides[i], from.Machine)
		}
	})
	if sides[0].allocations+sides[1].allocations == 0 {
		return unanswered, broker
	}
	late := ask(f, askToward, towardQuestion{nodes, [2][]netip.Addr{bounded(sides[0].addresses), bounded(sides[1].addresses)}}, func(_ Told, p towardPart) {
		for i := range sides {
			x, y := &sides[i], &p.Sides[i]
			x.toward += y.Toward
			x.sent += y.Sent
			x.got += y.Got
			x.drops += y.Drops
		}
	})
	for _, u := range late {
		if !slices.ContainsFunc(unanswered, func(v adminapi.Unanswered) bool { return v.Machine == u.Machine }) {
			unanswered = append(unanswered, u)
		}
	}
	slices.SortFunc(unanswered, func(x, y adminapi.Unanswered) int { return strings.Compare(x.Machine, y.Machine) })
	return unanswered, broker
}

// add adds what the Node has at another machine.
func (s *side) add(p *sidePart, machine string) {
	s.connected = s.connected || p.Connected
	if p.Link != nil && (s.link == nil || p.Link.Since.After(s.link.Since)) {
		s.link = p.Link
		s.link.Machine = machine
	}
	if p.Allocations > 0 {
		s.allocations += p.Allocations
		s.at = append(s.at, machine)
	}
	for _, ip := range p.Addresses {
		if !slices.Contains(s.addresses, ip) {
			s.addresses = append(s.addresses, ip)
		}
	}
}

// addStory adds what another machine has of a story. Of two attempts the later one counts; of one that both have, each may have
// seen more than the other.
func addStory(s *stories.Story, k *keptStory, skew time.Duration) {
	if skew.Abs() < sayClock {
		skew = 0
	}
	asked := k.At.Add(-skew)
	s.Attempts, s.Messages, s.Bytes = max(s.Attempts, k.Attempts), max(s.Messages, k.Messages), max(s.Bytes, k.Bytes)
	if !k.Last.IsZero() {
		s.Last = later(s.Last, k.Last.Add(-skew))
	}
	same := s.Asker == k.Asker && s.Asked == k.Asked && s.At.Sub(asked).Abs() < sameMoment
	switch {
	case k.Asker == "" || s.Asker != "" && !same && asked.Before(s.At):
	case !same:
		s.Asker, s.Asked, s.At, s.Answer, s.Cause, s.Reply = k.Asker, k.Asked, asked, k.Answer, k.Cause, k.Reply
		s.FromAsker, s.FromAsked = k.FromAsker, k.FromAsked
	default:
		if s.Reply == "" {
			s.Reply = k.Reply
		}
		s.FromAsker, s.FromAsked = most(s.FromAsker, k.FromAsker), most(s.FromAsked, k.FromAsked)
	}
}

// most has of each kind of candidate as many as the one of two that has more.
func most(x, y map[string]int) map[string]int {
	all := make(map[string]int, len(x))
	for _, m := range []map[string]int{x, y} {
		for kind, n := range m {
			all[kind] = max(all[kind], n)
		}
	}
	return all
}
