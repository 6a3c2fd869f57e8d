package app

import (
	"slices"
	"sync"

	"github.com/crolang-p2p/crolang-aio/embedded/broker"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// present has the spellings under which Nodes are at the Broker, by their canonical one: the Broker tells ids apart byte by
// byte, as Nodes do, and all else by their canonical spelling.
type present struct {
	mu sync.Mutex
	by map[string][]string
}

// came notes that id has joined.
func (p *present) came(id string) {
	node := nodeid.Canonical(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.by == nil {
		p.by = map[string][]string{}
	}
	if !slices.Contains(p.by[node], id) {
		p.by[node] = append(p.by[node], id)
	}
}

// left notes that id has left, and reports whether its Node is there no longer under any spelling.
func (p *present) left(id string) bool {
	node := nodeid.Canonical(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	rest := slices.DeleteFunc(p.by[node], func(other string) bool { return other == id })
	if len(rest) > 0 {
		p.by[node] = rest
		return false
	}
	delete(p.by, node)
	return true
}

// of lists the spellings of a Node that is there.
func (p *present) of(node string) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.by[nodeid.Canonical(node)])
}

// links shows the Broker to the registry and the admin API, which know Nodes by their canonical spelling.
type links struct{ *parts }

// Disconnect implements [nodes.Broker].
func (l links) Disconnect(node, cause string) bool {
	did := l.broker.Disconnect(node, cause) // also where it is only joining
	for _, id := range l.present.of(node) {
		did = id != node && l.broker.Disconnect(id, cause) || did
	}
	return did
}

// Link implements [admin.Broker].
func (l links) Link(node string) (adminapi.BrokerLink, bool) {
	n, ok := l.at(node)
	return adminapi.BrokerLink{
		From: n.From, Runtime: n.Runtime, Version: n.Version, Since: n.Since, Attempts: n.Attempts, Acceptances: n.Acceptances,
		Refusals: n.Refusals, Candidates: n.Candidates, Messages: n.Messages, SentBytes: n.SentBytes, GotBytes: n.GotBytes,
		RoundTrip: float64(n.RoundTrip.Microseconds()) / 1000,
	}, ok
}

// at finds a Node at the Broker, if there is one.
func (l links) at(node string) (broker.Node, bool) {
	if l.broker == nil {
		return broker.Node{}, false
	}
	for _, id := range l.present.of(node) {
		if n, ok := l.broker.Node(id); ok {
			return n, true
		}
	}
	return broker.Node{}, false
}
