package relay

import "net/netip"

// gathered holds the frames for one stream client until they are written together: one system call, and on TLS one
// record, for all that came in at once.
type gathered struct {
	r         *Relay
	buf       []byte
	datagrams int
	bytes     int
}

const gatherRoom = 64<<10 + maxHeader

// toStream queues data for a client on a stream. The order of one client's data is kept.
func (t *tx) toStream(r *Relay, number uint16, from netip.AddrPort, data []byte) {
	g := &t.gathered
	messages := r.src.stream.tcp == nil
	if g.r != nil && (g.r != r || messages || len(g.buf)+len(data)+maxHeader > gatherRoom) {
		t.flushStream()
	}
	if g.buf == nil {
		g.buf = make([]byte, 0, gatherRoom)
	}
	g.r = r
	g.buf = appendData(g.buf, number, from, data, !messages)
	g.datagrams++
	g.bytes += len(data)
}

func (t *tx) flushStream() {
	g := &t.gathered
	if g.r == nil {
		return
	}
	if !g.r.dead.Load() && g.r.src.stream.send(g.buf) {
		g.r.down.passed(g.datagrams, g.bytes)
	} else {
		g.r.down.drop(g.datagrams)
	}
	*g = gathered{buf: g.buf[:0]}
}
