package acme

import (
	"container/list"
	"net"
	"net/netip"
	"sync"

	"github.com/crolang-p2p/crolang-aio/internal/household"
)

// few is a listener with few connections at once. Beyond that the oldest one of the source that has most of them is ended,
// so that nobody waits: a request is one packet, which a CA sends at once, and whoever has been silent longest is the least
// likely to send any. Hence no place of internal/places, where a newcomer gives way to the older ones of its own source for a
// while: behind a port that is forwarded by a program, the CA's source is everybody's.
type few struct {
	net.Listener

	most int

	mu       sync.Mutex
	open     int
	bySource map[netip.Addr]*list.List // of *placed, the oldest first
	come     uint64                    // connections so far
}

func newFew(l net.Listener, most int) *few {
	return &few{Listener: l, most: most, bySource: map[netip.Addr]*list.List{}}
}

// Accept implements [net.Listener].
func (l *few) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	p, away := l.enter(c)
	if away != nil {
		away.end()
	}
	return p, nil
}

// enter gives c a place. away is who has lost its own for it, nil if nobody has; the caller ends it.
func (l *few) enter(c net.Conn) (p, away *placed) {
	at, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	p = &placed{Conn: c, few: l, source: household.Of(at.Addr()).Addr()}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open >= l.most {
		away = l.victim()
		l.remove(away)
	}
	mine := l.bySource[p.source]
	if mine == nil {
		mine = list.New()
		l.bySource[p.source] = mine
	}
	l.open++
	l.come++
	p.turn = l.come
	p.element = mine.PushBack(p)
	return p, away
}

// victim is the oldest connection of the source that has most, and of several such sources the oldest of all. Called with
// mu held, while there is one.
func (l *few) victim() (v *placed) {
	most := 0
	for _, all := range l.bySource {
		if oldest := all.Front().Value.(*placed); all.Len() > most || all.Len() == most && oldest.turn < v.turn {
			most, v = all.Len(), oldest
		}
	}
	return v
}

// remove takes p's place away, if it has one still. Called with mu held.
func (l *few) remove(p *placed) {
	if p.element == nil {
		return
	}
	mine := l.bySource[p.source]
	mine.Remove(p.element)
	p.element = nil
	if mine.Len() == 0 {
		delete(l.bySource, p.source)
	}
	l.open--
}

// placed is a connection with a place.
type placed struct {
	net.Conn

	few     *few
	source  netip.Addr
	turn    uint64        // its number among all that have come
	element *list.Element // nil: it has no place any more
}

// end ends it at once and leaves nothing behind, not even TIME-WAIT.
func (c *placed) end() {
	if t, ok := c.Conn.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close() // the server closes it once more
}

// Close implements [net.Conn].
func (c *placed) Close() error {
	c.few.mu.Lock()
	c.few.remove(c)
	c.few.mu.Unlock()
	return c.Conn.Close()
}
