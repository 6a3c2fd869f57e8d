package relay

import "net/netip"

// gathered holds the frames for one stream client until they are written together: one system call for all that came in
// at once.
type gathered struct {
	r         *Relay
	path      *path
	buf       []byte
	datagrams int
	bytes     int
}

const gatherRoom = 64<<10 + maxHeader

// toStream queues data for a client on a stream, or drops it if the client is away. The order of one client's data is kept.
func (t *tx) toStream(r *Relay, p *path, number uint16, from netip.AddrPort, data []byte) {
	if p.stream == nil {
		r.down.drop(Unsent, 1)
		return
	}
	g := &t.gathered
	messages := p.stream.tcp == nil
	if g.r != nil && (g.r != r || g.path != p || messages || len(g.buf)+len(data)+maxHeader > gatherRoom) {
		t.flushStream()
	}
	if g.buf == nil {
		g.buf = make([]byte, 0, gatherRoom)
	}
	var ok bool
	if g.buf, ok = appendData(g.buf, number, from, data, !messages); !ok {
		r.down.drop(TooLarge, 1)
		return
	}
	g.r, g.path = r, p
	g.datagrams++
	g.bytes += len(data)
}

func (t *tx) flushStream() {
	g := &t.gathered
	if g.r == nil {
		return
	}
	t.at = g.r
	why, ok := Unsent, false
	if !g.r.dead.Load() && g.path == g.r.path.Load() {
		why, ok = g.path.stream.send(g.buf)
	}
	if ok {
		g.r.down.passed(g.datagrams, g.bytes)
	} else {
		g.r.down.drop(why, g.datagrams)
	}
	*g = gathered{buf: g.buf[:0]}
}
