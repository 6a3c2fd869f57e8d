package control

import "sync"

// quota counts live allocations, in all and by Node, against two limits; 0 is none. A place is taken before anything
// is opened and given back when the allocation ends, so that the limits are exact however many requests come at once.
type quota struct {
	total, perNode int

	mu    sync.Mutex
	all   int
	nodes map[string]int
}

func newQuota(total, perNode int) *quota {
	return &quota{total: total, perNode: perNode, nodes: make(map[string]int)}
}

// take takes a place for node. Where it is refused, full says which limit was reached: "server" (508 is due) or
// "node" (486), and used is what is in use there.
func (q *quota) take(node string) (full string, used int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.total > 0 && q.all >= q.total {
		return "server", q.all
	}
	n := q.nodes[node]
	if q.perNode > 0 && n >= q.perNode {
		return "node", n
	}
	q.all++
	q.nodes[node] = n + 1
	return "", n + 1
}

// give returns a place that take gave.
func (q *quota) give(node string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.all--
	if q.nodes[node]--; q.nodes[node] <= 0 {
		delete(q.nodes, node)
	}
}

// limits replaces both limits, for a reload. What is in use stays.
func (q *quota) limits(total, perNode int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.total, q.perNode = total, perNode
}
