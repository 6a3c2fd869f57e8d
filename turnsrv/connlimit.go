package turnsrv

import (
	"container/list"
	"math"
	"net"
	"net/netip"
	"sync"
)

const (
	minConnections = 16
	maxConnections = 1 << 16
	spareFiles     = 64 // for everything but clients: listeners, logs, certificates, webhooks
	mostSpareFiles = 512
)

// clientFiles is how many descriptors may be open before no more are taken for clients and relays. Whoever opens
// allocations or connections without end would take the webhooks and the operator's commands down otherwise.
func clientFiles(limit uint64) int {
	spare := min(max(limit/16, spareFiles), mostSpareFiles, limit/2)
	return int(min(limit-spare, math.MaxInt32))
}

// connectionsWithin is how many connections a limit of open files leaves room for. Each may have a relay, whose
// socket takes a descriptor too.
func connectionsWithin(files uint64) int {
	if files <= spareFiles {
		return minConnections
	}
	return int(min(max((files-spareFiles)/2, minConnections), maxConnections))
}

// sourceOf is what limits by address go by: all of a /64 is one customer's.
func sourceOf(ip netip.Addr) netip.Addr {
	if ip = ip.Unmap().WithZone(""); ip.Is4() {
		return ip
	}
	p, _ := ip.Prefix(64)
	return p.Addr()
}

// limiter counts connections. One more than an address may have is refused; one more half-open connection displaces
// the oldest one, so that handshakes which never end do not keep an honest client out.
type limiter struct {
	perSource, total, halfOpen int
	counts                     *streamCounters

	mu      sync.Mutex
	sources map[netip.Addr]int
	open    int
	half    list.List // of *seat, the oldest first
}

// seat is one connection's place in a limiter.
type seat struct {
	source netip.Addr
	conn   *net.TCPConn
	half   *list.Element // nil: it is not half-open
	gone   bool
}

func newLimiter(perSource, total, halfOpen int, counts *streamCounters) *limiter {
	return &limiter{perSource: perSource, total: total, halfOpen: halfOpen, counts: counts, sources: make(map[netip.Addr]int)}
}

// admit gives a new connection a half-open place, or nil where there is none. Where another one gives way, it is reset;
// full says that one has to, whatever the limits say.
func (l *limiter) admit(ip netip.Addr, c *net.TCPConn, full bool) *seat {
	s := &seat{source: sourceOf(ip), conn: c}
	l.mu.Lock()
	full = full || l.open >= l.total
	if l.perSource > 0 && l.sources[s.source] >= l.perSource || full && l.half.Len() == 0 {
		l.mu.Unlock()
		l.counts.refused.Add(1)
		return nil
	}
	var away *seat
	if full || l.half.Len() >= l.halfOpen {
		away = l.oldest()
	}
	s.half = l.half.PushBack(s)
	l.sources[s.source]++
	l.open++
	l.mu.Unlock()
	l.counts.accepted.Add(1)
	l.turnOut(away)
	return s
}

// settle says that a connection's handshake is done. False: it has had to give way meanwhile, and is closed.
func (l *limiter) settle(s *seat) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s.half != nil {
		l.half.Remove(s.half)
		s.half = nil
	}
	return !s.gone
}

// release gives a place back. It may be called again.
func (l *limiter) release(s *seat) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop(s)
}

func (l *limiter) drop(s *seat) {
	if s.gone {
		return
	}
	s.gone = true
	if s.half != nil {
		l.half.Remove(s.half)
		s.half = nil
	}
	l.open--
	if l.sources[s.source]--; l.sources[s.source] == 0 {
		delete(l.sources, s.source)
	}
}

// oldest takes the place of the oldest half-open connection away, if there is one. The caller turns it out.
func (l *limiter) oldest() *seat {
	e := l.half.Front()
	if e == nil {
		return nil
	}
	s := e.Value.(*seat)
	l.drop(s)
	return s
}

func (l *limiter) turnOut(s *seat) {
	if s != nil {
		l.counts.displaced.Add(1)
		reset(s.conn)
	}
}

// displace resets the oldest half-open connection, and says whether there was one.
func (l *limiter) displace() bool {
	l.mu.Lock()
	s := l.oldest()
	l.mu.Unlock()
	l.turnOut(s)
	return s != nil
}

// displaceAll ends whatever is half-open, at the end of the server.
func (l *limiter) displaceAll() {
	for l.displace() {
	}
}

func (l *limiter) size() (open, half int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.open, l.half.Len()
}
