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
	elsewhere      func(node string) int // at other machines; nil: there are none
	changed        map[string]int        // with elsewhere: how many those have of whom that is another number than others know
}

// share is what one Node has.
type share struct {
	allocations int
	tables      *relay.Budget
	rate        *relay.Share
}

func newQuota(elsewhere func(node string) int) *quota {
	return &quota{nodes: make(map[string]*share), elsewhere: elsewhere}
}

// note remembers that others should know how many a Node has. Held: mu.
func (q *quota) note(node string, n int) {
	if q.elsewhere == nil {
		return
	}
	if q.changed == nil {
		q.changed = make(map[string]int)
	}
	q.changed[node] = n
}

// news returns what was noted since the last call.
func (q *quota) news() map[string]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.changed
	q.changed = nil
	return all
}

// take takes a place for node and returns the share that its allocation is charged to. If there is no place, full
// names the limit that was reached, "server" (508 is due) or "node" (486), and used is how many are in use.
func (q *quota) take(node string) (s *share, full string, used int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.total > 0 && q.all >= q.total {
		return nil, "server", q.all
	}
	s = q.nodes[node]
	if q.perNode > 0 {
		if s != nil {
			used = s.allocations
		}
		if q.elsewhere != nil {
			used += q.elsewhere(node)
		}
		if used >= q.perNode {
			return nil, "node", used
		}
	}
	if s == nil {
		s = &share{tables: relay.NewBudget(q.tableBytes), rate: relay.NewShare()}
		q.nodes[node] = s
	}
	q.all++
	s.allocations++
	q.note(node, s.allocations)
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
	q.note(node, max(0, s.allocations))
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
