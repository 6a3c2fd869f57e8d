package control

import (
	"sync"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// quota counts live allocations, in all and for each Node, against two limits (0 is no limit), and keeps the Nodes'
// memory budgets. A place is taken before anything is opened and given back when the allocation ends, so the limits are
// exact however many requests come at once.
type quota struct {
	mu             sync.Mutex
	total, perNode int
	tableBytes     int64 // limit of each budget
	all            int
	nodes          map[string]*share
}

// share is what one Node has.
type share struct {
	allocations int
	tables      *relay.Budget
	rate        *relay.Share
}

func newQuota() *quota { return &quota{nodes: make(map[string]*share)} }

// take takes a place for node and returns the share that its allocation is charged to. If there is no place, full
// names the limit that was reached, "server" (508 is due) or "node" (486), and used is how many are in use.
func (q *quota) take(node string) (s *share, full string, used int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.total > 0 && q.all >= q.total {
		return nil, "server", q.all
	}
	s = q.nodes[node]
	if s != nil && q.perNode > 0 && s.allocations >= q.perNode {
		return nil, "node", s.allocations
	}
	if s == nil {
		s = &share{tables: relay.NewBudget(q.tableBytes), rate: relay.NewShare()}
		q.nodes[node] = s
	}
	q.all++
	s.allocations++
	return s, "", s.allocations
}

// give returns a place that take gave.
func (q *quota) give(node string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all--
	s := q.nodes[node]
	if s.allocations--; s.allocations <= 0 {
		delete(q.nodes, node)
	}
}

// limits replaces the limits, for a reload. What is in use stays.
func (q *quota) limits(total, perNode int, tableBytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total, q.perNode, q.tableBytes = total, perNode, tableBytes
	for _, s := range q.nodes {
		s.tables.SetLimit(tableBytes)
	}
}

// tables returns how much is charged to all budgets together, and to the one with the most.
func (q *quota) tables() (all, most int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, s := range q.nodes {
		n := s.tables.Used()
		all += n
		most = max(most, n)
	}
	return all, most
}
