package admin

import (
	"cmp"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// rates measures how fast allocations relay, between two listings.
type rates struct {
	mu          sync.Mutex
	older, last snapshot
}

type snapshot struct {
	at    time.Time
	bytes map[string]uint64 // by the allocation's id
}

// A rate is of a second at least, and of half a minute at most: what lies further back says nothing of now.
const (
	shortestRate = time.Second
	longestRate  = 30 * time.Second
)

// rated lists the live allocations with their rates. The list is the caller's.
func (a *Admin) rated() []adminapi.Allocation {
	list := append([]adminapi.Allocation{}, a.cfg.Relays.Allocations()...)
	r, now := &a.rates, time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.last.at) >= shortestRate {
		next := snapshot{now, make(map[string]uint64, len(list))}
		for i := range list {
			next.bytes[list[i].ID] = list[i].BytesIn + list[i].BytesOut
		}
		r.older, r.last = r.last, next
	}
	over := r.last.at.Sub(r.older.at)
	if over > longestRate {
		return list
	}
	for i := range list {
		before, ok := r.older.bytes[list[i].ID]
		if after, still := r.last.bytes[list[i].ID]; ok && still && after >= before {
			list[i].Rate = float64(after-before) / over.Seconds()
		}
	}
	return list
}

// relayed is what the allocations of one Node come to.
type relayed struct {
	n       int
	in, out uint64
	rate    float64
}

// nodeStates are the values of ?state=.
var nodeStates = map[string]func(a *Admin, n *nodes.Node, r relayed) bool{
	"":          func(*Admin, *nodes.Node, relayed) bool { return true },
	"connected": func(_ *Admin, n *nodes.Node, _ relayed) bool { return n.Connected },
	"relaying":  func(_ *Admin, _ *nodes.Node, r relayed) bool { return r.n > 0 },
	"refused":   func(_ *Admin, n *nodes.Node, _ relayed) bool { return n.Last.Failed },
	"banned":    func(a *Admin, n *nodes.Node, _ relayed) bool { return a.cfg.Nodes.Banned(n.ID) },
}

// nodeOrders compare two Nodes, by the values of ?sort=. Of those that are equal the one seen last comes first.
var nodeOrders = map[string]func(x, y *nodes.Node, of map[string]relayed) int{
	"":     func(_, _ *nodes.Node, _ map[string]relayed) int { return 0 },
	"seen": func(_, _ *nodes.Node, _ map[string]relayed) int { return 0 },
	"name": func(x, y *nodes.Node, _ map[string]relayed) int { return strings.Compare(x.ID, y.ID) },
	"rate": func(x, y *nodes.Node, of map[string]relayed) int { return cmp.Compare(of[y.ID].rate, of[x.ID].rate) },
	"traffic": func(x, y *nodes.Node, of map[string]relayed) int {
		return cmp.Compare(of[y.ID].in+of[y.ID].out, of[x.ID].in+of[x.ID].out)
	},
}

// nodes lists what the registry knows, with the live allocations counted in.
func (a *Admin) nodes(c *call, _ none) (adminapi.NodeList, error) {
	part, err := c.part()
	if err != nil {
		return adminapi.NodeList{}, err
	}
	state, sort := c.query.Get("state"), c.query.Get("sort")
	has, ok := nodeStates[state]
	if !ok {
		return adminapi.NodeList{}, problem(http.StatusBadRequest, "state must be connected, relaying, refused or banned")
	}
	order, ok := nodeOrders[sort]
	if !ok {
		return adminapi.NodeList{}, problem(http.StatusBadRequest, "sort must be seen, rate, traffic or name")
	}
	sums := make(map[string]relayed)
	for _, al := range a.rated() {
		s := sums[al.Node]
		sums[al.Node] = relayed{s.n + 1, s.in + al.BytesIn, s.out + al.BytesOut, s.rate + al.Rate}
	}
	limit := 0
	if state == "" && (sort == "" || sort == "seen") { // else all are needed to know which come first
		limit = part.upTo()
	}
	list, total := a.cfg.Nodes.List(c.query.Get("q"), limit)
	if limit == 0 {
		list = slices.DeleteFunc(list, func(n nodes.Node) bool { return !has(a, &n, sums[n.ID]) })
		slices.SortStableFunc(list, func(x, y nodes.Node) int { return order(&x, &y, sums) })
		total = len(list)
	}
	list = cut(list, part)
	answer := adminapi.NodeList{Nodes: make([]adminapi.NodeSummary, 0, len(list)), Total: total}
	for i := range list {
		answer.Nodes = append(answer.Nodes, a.summary(&list[i], sums[list[i].ID]))
	}
	return answer, nil
}

func (a *Admin) summary(n *nodes.Node, r relayed) adminapi.NodeSummary {
	line := adminapi.NodeSummary{
		Node: n.ID, Connected: n.Connected, Banned: a.cfg.Nodes.Banned(n.ID), Seen: n.Seen,
		CredentialsIssued: n.Issued, CredentialEnds: n.CredentialEnd,
		Allocations: r.n, BytesIn: r.in, BytesOut: r.out, Rate: r.rate, Addresses: orEmpty(n.Addresses),
		Broker: a.link(n.ID),
	}
	if n.Last.Kind != "" {
		last := n.Last
		line.LastEvent = &last
	}
	return line
}
