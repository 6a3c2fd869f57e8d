package load

import (
	"bufio"
	"encoding/binary"
	"io"
	"sync"

	"golang.org/x/net/ipv4"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

const (
	minBuffer    = 1500      // an answer of the server's fits as well
	buffersTotal = 256 << 20 // of all receivers together; beyond, they read fewer datagrams at once
	streamBuffer = 64 << 10
)

// tally is what receivers and senders have counted.
type tally struct {
	sent      int64 // while the measurement ran
	matched   int64 // of these, what arrived, be it later
	arrived   int64 // what arrived while the measurement ran, whenever sent
	reordered int64 // arrived behind a datagram that was sent later
	jitter    float64
	flows     int // that have a jitter
	latency   histogram
}

func (t *tally) add(o *tally) {
	t.matched += o.matched
	t.arrived += o.arrived
	t.reordered += o.reordered
	t.jitter += o.jitter
	t.flows += o.flows
	t.latency.merge(&o.latency)
}

// flow counts the datagrams of one client. Used by one goroutine.
type flow struct {
	r       *run
	tally   tally
	highest uint32
	any     bool
	transit int64
}

// take counts one payload that arrived at the given time.
func (f *flow) take(b []byte, at int64) {
	if len(b) < headerSize || binary.BigEndian.Uint32(b) != f.r.id {
		return
	}
	number, sent := binary.BigEndian.Uint32(b[4:]), int64(binary.BigEndian.Uint64(b[8:]))
	if at >= f.r.from && at < f.r.to {
		f.tally.arrived++
	}
	if sent < f.r.from || sent >= f.r.to {
		return
	}
	f.tally.matched++
	transit := at - sent
	f.tally.latency.add(transit)
	if f.any {
		d := float64(transit - f.transit)
		f.tally.jitter += (max(d, -d) - f.tally.jitter) / 16 // RFC 3550 §6.4.1
		if number < f.highest {
			f.tally.reordered++
		}
	}
	f.any, f.transit, f.highest = true, transit, max(f.highest, number)
}

func (f *flow) done() {
	if f.any {
		f.tally.flows = 1
	}
	f.r.mu.Lock()
	f.r.tally.add(&f.tally)
	f.r.mu.Unlock()
}

// receive starts the receivers of one client: the client's own side always, for the answers to its refreshes.
func (r *run) receive(c *client, wg *sync.WaitGroup) {
	f := &flow{r: r}
	switch {
	case r.atPeer():
		wg.Go(func() {
			r.datagrams(c.peerPackets, f.take)
			f.done()
		})
	case r.Direction == Echo:
		wg.Go(func() { r.echo(c.peerPackets) })
	}
	take := r.atClient(c, f)
	wg.Go(func() {
		if c.udp != nil {
			r.datagrams(c.udp, take)
		} else {
			r.frames(c.conn, take)
		}
		if !r.atPeer() {
			f.done()
		}
	})
}

// atPeer reports whether it is the peers that count what arrives.
func (r *run) atPeer() bool { return r.Direction == Up || r.Direction == Back }

// atClient takes what arrives at a client's side.
func (r *run) atClient(c *client, f *flow) func(b []byte, at int64) {
	atPeer := r.atPeer()
	return func(b []byte, at int64) {
		number, data, ok := stunmsg.ParseChannelData(b)
		if !ok {
			c.heard(b)
		} else if !atPeer && number == channel {
			f.take(data, at)
		}
	}
}

func (r *run) buffers() []ipv4.Message {
	size := max(minBuffer, r.Size+stunmsg.ChannelHeader)
	ms := make([]ipv4.Message, max(1, min(r.Batch, buffersTotal/2/r.Clients/size)))
	for i := range ms {
		ms[i].Buffers = [][]byte{make([]byte, size)}
	}
	return ms
}

// datagrams reads until the run has ended. Errors are ICMP's, and do not end a socket.
func (r *run) datagrams(p packets, take func(b []byte, at int64)) {
	ms := r.buffers()
	for {
		n, err := p.ReadBatch(ms, 0)
		if err != nil && r.over(err) {
			return
		}
		at := r.now()
		for i := range max(n, 0) {
			take(ms[i].Buffers[0][:ms[i].N], at)
		}
	}
}

// echo sends back what it reads, in the batches in which it came.
func (r *run) echo(p packets) {
	ms := r.buffers()
	full := make([][]byte, len(ms))
	for i := range ms {
		full[i] = ms[i].Buffers[0]
	}
	for {
		n, err := p.ReadBatch(ms, 0)
		if err != nil && r.over(err) {
			return
		}
		n = max(n, 0)
		for i := range n {
			ms[i].Buffers[0] = full[i][:ms[i].N]
		}
		if !r.writeAll(p, ms[:n]) {
			return
		}
		for i := range n {
			ms[i].Buffers[0], ms[i].Addr = full[i], nil
		}
	}
}

// writeAll sends datagrams; false when the socket is gone. What is left after another error is not sent.
func (r *run) writeAll(p packets, ms []ipv4.Message) bool {
	for sent := 0; sent < len(ms); {
		k, err := p.WriteBatch(ms[sent:], 0)
		if err != nil {
			return r.failed(err)
		}
		sent += k
	}
	return true
}

// frames reads a stream until it ends.
func (r *run) frames(conn io.Reader, take func(b []byte, at int64)) {
	b := bufio.NewReaderSize(conn, max(streamBuffer, stunmsg.MaxFrame))
	var at int64
	for {
		if b.Buffered() < stunmsg.ChannelHeader {
			if _, err := b.Peek(stunmsg.ChannelHeader); err != nil {
				return
			}
			at = r.now()
		}
		head, _ := b.Peek(stunmsg.ChannelHeader)
		size, err := stunmsg.FrameSize(head)
		if err != nil {
			return
		}
		if b.Buffered() < size {
			if _, err := b.Peek(size); err != nil {
				return
			}
			at = r.now()
		}
		whole, _ := b.Peek(size)
		take(whole, at)
		_, _ = b.Discard(size)
	}
}

// over reports whether reading has ended; otherwise the error is one of the network's, and reading goes on.
func (r *run) over(err error) bool {
	return r.stopped.Load() || !r.failed(err)
}
