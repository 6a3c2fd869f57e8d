package nodes

// Forget forgets a Node, and reports whether anything was known of it. Of one that is connected or has live allocations it
// forgets the why-record and the addresses; the rest is what it is served by. A ban stays.
func (r *Registry) Forget(id string) bool {
	s := r.shardOf(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	n := s.nodes[id]
	if n == nil {
		return false
	}
	s.logBytes -= cap(n.log)
	if n.class == live || n.connected(r.now()) {
		n.log, n.last, n.addresses = nil, -1, nil
		return true
	}
	s.lists[n.class].remove(n)
	delete(s.nodes, id)
	return true
}
