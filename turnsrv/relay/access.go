package relay

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// How long a permission and a channel last without being refreshed (RFC 8656 §9 and §12).
const (
	PermissionLife = 5 * time.Minute
	ChannelLife    = 10 * time.Minute
)

// What one relay may have open.
const (
	MaxPermissions = 1024
	MaxChannels    = 4096
)

// access is what a relay's client has opened: its permissions and channels. Reading the tables takes no lock; changing
// them takes mu. What is in a table is in force: [Plane.Sweep] removes what has run out.
type access struct {
	perms  table[*permission] // by address
	byNum  table[*route]
	byPeer table[*route]
	// One of each, which is tried first: most relays have no other.
	onePerm  atomic.Pointer[permission]
	oneRoute atomic.Pointer[route]
	next     atomic.Int64 // when the first of them runs out, in nanoseconds since the Plane's epoch; 0: never

	mu      sync.Mutex
	permsBy queue[permission, *permission] // by when they run out
	chansBy queue[route, *route]
	budget  *Budget
	charged int64 // of it
	closed  bool
	kernel  *kernelFlows // nil: none
}

type permission struct {
	ip    netip.Addr
	scope atomic.Uint32 // a Scope; 0 while the rest of its request is being entered
	due   due[permission]
}

func (p *permission) dueOf() *due[permission] { return &p.due }

// route is where a channel leads. Only its reach ever changes.
type route struct {
	number uint16
	peer   netip.AddrPort
	dst    peerAddr // the peer in the engine's form
	reach  atomic.Uint32
	told   atomic.Bool // the client knows of it: see [Relay.Bind]
	due    due[route]
}

func (c *route) dueOf() *due[route] { return &c.due }

// reach is how far a channel reaches: a Scope, and flags for what its peer is.
type reach uint32

const (
	reachScope  reach = 0xff
	reachOwn    reach = 1 << 8 // the peer has an address of our relays: look for a live one first
	reachBarred reach = 1 << 9 // the peer is a listening socket of ours
)

// scope is how far the channel's data may go, in either direction; 0 means nowhere.
func (e reach) scope() Scope {
	if e&reachBarred != 0 {
		return 0
	}
	return Scope(e & reachScope)
}

func (a *access) permitted(ip netip.Addr) Scope {
	if p := a.onePerm.Load(); p != nil && p.ip == ip {
		return Scope(p.scope.Load())
	}
	if p := a.perms.get(addrKey(ip)); p != nil {
		return Scope(p.scope.Load())
	}
	return 0
}

func (a *access) channel(number uint16) *route {
	if c := a.oneRoute.Load(); c != nil && c.number == number {
		return c
	}
	return a.byNum.get(numberKey(number))
}

func (a *access) channelTo(peer netip.AddrPort) *route {
	c := a.oneRoute.Load()
	if c == nil || c.peer == peer { // where there is any, there is this one
		return c
	}
	return a.byPeer.get(peerKey(peer))
}

// scopeOf is how far data may go between the client and a peer, by a permission for the peer's address or by a channel
// to exactly that peer. It returns the channel, if there is one. That a channel is enough keeps clients going that
// refresh nothing else.
func (a *access) scopeOf(peer netip.AddrPort) (Scope, *route) {
	c := a.channelTo(peer)
	if c != nil {
		if s := reach(c.reach.Load()).scope(); s == ScopeAny {
			return s, c
		} else if s != 0 {
			return max(s, a.permitted(peer.Addr())), c
		}
	}
	return a.permitted(peer.Addr()), c
}

// take charges the budget, and reports false if that has not as much left.
func (a *access) take(bytes int64) bool {
	if !a.budget.Take(bytes) {
		return false
	}
	a.charged += bytes
	return true
}

func (a *access) give(bytes int64) {
	a.charged -= bytes
	a.budget.Give(bytes)
}

// permit enters or refreshes all of the grants until the given time, or none. None takes effect before all have been
// entered.
func (a *access) permit(grants []Grant, until int64) error {
	if _, err := a.enter(grants, until); err != nil {
		return err
	}
	a.confirm(grants, until)
	return nil
}

// enter makes room for all of the grants, or for none. Those that are new take effect with confirm.
func (a *access) enter(grants []Grant, until int64) (fresh []*permission, err error) {
	for _, g := range grants {
		k := addrKey(g.Addr)
		if a.perms.get(k) != nil {
			continue
		}
		if a.perms.count >= MaxPermissions {
			err = ErrPermissions
		} else if !a.take(permissionCost) {
			err = ErrBudget
		}
		if err != nil {
			a.dropAll(fresh)
			return nil, err
		}
		p := &permission{ip: g.Addr}
		a.perms.put(k, p)
		a.onePerm.Store(p)
		a.permsBy.push(p, until)
		fresh = append(fresh, p)
	}
	return fresh, nil
}

// confirm puts what enter has made room for in force.
func (a *access) confirm(grants []Grant, until int64) {
	for _, g := range grants {
		p := a.perms.get(addrKey(g.Addr))
		if s := uint32(g.Scope); s > p.scope.Load() {
			p.scope.Store(s)
		}
		a.permsBy.push(p, until)
	}
}

func (a *access) dropAll(all []*permission) {
	for _, p := range all {
		a.drop(p)
	}
}

func (a *access) drop(p *permission) {
	a.permsBy.remove(p)
	if a.onePerm.Load() == p {
		a.onePerm.Store(a.permsBy.last)
	}
	a.perms.remove(addrKey(p.ip))
	a.give(permissionCost)
}

// bind enters or refreshes a channel until the given time. It replaces any channel with the same number or peer.
func (a *access) bind(number uint16, peer netip.AddrPort, e reach, until int64) (*route, error) {
	n, p := a.channel(number), a.channelTo(peer)
	if n != nil && n == p {
		if n.reach.Load() != uint32(e) {
			a.extend(n, e)
		}
		a.chansBy.push(n, until)
		return n, nil
	}
	switch {
	case n != nil && p != nil:
		a.give(channelCost) // two make way for one
	case n != nil || p != nil:
	case a.byNum.count >= MaxChannels:
		return nil, ErrChannels
	case !a.take(channelCost):
		return nil, ErrBudget
	}
	for _, o := range [2]*route{n, p} {
		if o != nil {
			a.unlink(o)
		}
	}
	c := &route{number: number, peer: peer}
	c.dst.set(peer)
	c.reach.Store(uint32(e))
	a.byNum.put(numberKey(number), c)
	a.byPeer.put(peerKey(peer), c)
	a.chansBy.push(c, until)
	a.oneRoute.Store(c)
	return c, nil
}

// extend gives a channel another reach.
func (a *access) extend(c *route, e reach) {
	c.reach.Store(uint32(e))
	if a.kernel != nil {
		a.kernel.leave(c)
	}
}

func (a *access) unbind(c *route) {
	a.unlink(c)
	a.give(channelCost)
}

func (a *access) unlink(c *route) {
	a.chansBy.remove(c)
	if a.oneRoute.Load() == c {
		a.oneRoute.Store(a.chansBy.last)
	}
	a.byNum.remove(numberKey(c.number))
	a.byPeer.remove(peerKey(c.peer))
	if a.kernel != nil {
		a.kernel.leave(c)
	}
}

func (a *access) sweepSome(now int64) (done bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	defer a.schedule()
	return a.sweep(now, sweepMost)
}

// sweep removes what has run out by now, up to the given number, and reports whether that was all.
func (a *access) sweep(now int64, most int) (done bool) {
	for ; most > 0; most-- {
		if p := a.permsBy.first; p != nil && p.due.at <= now {
			a.drop(p)
		} else if c := a.chansBy.first; c != nil && c.due.at <= now {
			a.unbind(c)
		} else {
			return true
		}
	}
	return false
}

// schedule brings next up to date.
func (a *access) schedule() {
	next := int64(0)
	if p := a.permsBy.first; p != nil {
		next = p.due.at
	}
	if c := a.chansBy.first; c != nil && (next == 0 || c.due.at < next) {
		next = c.due.at
	}
	if a.next.Load() != next {
		a.next.Store(next)
	}
}

// close empties the tables for good and gives back what was charged.
func (a *access) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return
	}
	a.closed = true
	a.onePerm.Store(nil)
	a.oneRoute.Store(nil)
	a.perms.clear()
	a.byNum.clear()
	a.byPeer.clear()
	a.permsBy, a.chansBy = queue[permission, *permission]{}, queue[route, *route]{}
	a.next.Store(0)
	a.give(a.charged)
}

// queue holds elements in the order in which they run out. All elements of a queue live equally long after a refresh,
// so a refreshed one goes to the end.
type queue[T any, P expiring[T]] struct{ first, last P }

type expiring[T any] interface {
	*T
	dueOf() *due[T]
}

// due is the place in a queue.
type due[T any] struct {
	at           int64
	older, newer *T
	in           bool
}

// push puts e at the end, whether or not it was in the queue.
func (q *queue[T, P]) push(e P, at int64) {
	q.remove(e)
	d := e.dueOf()
	d.at, d.in = at, true
	if q.last == nil {
		q.first, q.last = e, e
		return
	}
	d.older = q.last
	q.last.dueOf().newer = e
	q.last = e
}

func (q *queue[T, P]) remove(e P) {
	d := e.dueOf()
	if !d.in {
		return
	}
	older, newer := P(d.older), P(d.newer)
	if older != nil {
		older.dueOf().newer = newer
	} else {
		q.first = newer
	}
	if newer != nil {
		newer.dueOf().older = older
	} else {
		q.last = older
	}
	*d = due[T]{}
}
