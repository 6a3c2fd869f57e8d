package load

import (
	"encoding/binary"
	"net"
	"time"

	"golang.org/x/net/ipv4"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// The header of every payload: run id, number, and when it was sent in ns after the run's origin.
const headerSize = 16

func putHeader(b []byte, id, number uint32, at int64) {
	binary.BigEndian.PutUint32(b, id)
	binary.BigEndian.PutUint32(b[4:], number)
	binary.BigEndian.PutUint64(b[8:], uint64(at))
}

// burstsPerSecond is how often a paced client sends, unless Config.Burst says how much it sends at once.
const burstsPerSecond = 500

// lateness is how far a paced sender may fall behind before it gives up the time that it lost.
const lateness = 100 * time.Millisecond

// sender sends the datagrams of one client, from the client's or the peer's side.
type sender struct {
	r       *run
	n       int     // datagrams in a burst
	gap     float64 // ns between bursts; 0: none
	next    float64 // when the next burst is due
	heads   [][]byte
	write   func() (sent int, err error) // one burst; sent datagrams, on an error those before it
	number  uint32
	counted int64 // sent while the measurement ran
}

// sender prepares the bursts. The clients' first bursts are spread over one gap unless they are to come together.
func (r *run) sender(c *client, i int, begin int64) *sender {
	s := &sender{r: r, n: r.Batch, next: float64(begin)}
	if r.Rate > 0 {
		each := float64(r.Rate) / float64(r.Clients)
		s.n = r.Burst
		if s.n == 0 {
			s.n = max(1, min(r.Batch, int(each/burstsPerSecond)))
		}
		s.gap = float64(s.n) / each * 1e9
		if !r.Together {
			s.next += s.gap * float64(i) / float64(r.Clients)
		}
	}
	switch {
	case r.crowd != nil:
		r.crowd.sender(s, c)
	case r.fromPeer():
		s.datagrams(c.peerPackets, 0, c.relayed, nil)
	case c.udp != nil:
		s.datagrams(c.udp, stunmsg.ChannelHeader, nil, nil)
	default:
		s.stream(c.conn)
	}
	return s
}

// fromPeer reports whether it is the peers that send.
func (r *run) fromPeer() bool { return r.Direction == Down || r.Direction == Back }

func frame(b []byte, size int) {
	binary.BigEndian.PutUint16(b, channel)
	binary.BigEndian.PutUint16(b[2:], uint16(size))
}

// datagrams makes a burst of datagrams whose payload begins at offset: 4 for ChannelData, 0 towards a relay. control goes with
// each.
func (s *sender) datagrams(p packets, offset int, to *net.UDPAddr, control []byte) {
	size := s.r.Size
	ms := make([]ipv4.Message, s.n)
	for i := range ms {
		b := make([]byte, offset+size)
		if offset > 0 {
			frame(b, size)
		}
		if to != nil {
			ms[i].Addr = to
		}
		ms[i].Buffers, ms[i].OOB = [][]byte{b}, control
		s.heads = append(s.heads, b[offset:])
	}
	s.write = func() (int, error) {
		for sent := 0; sent < len(ms); {
			n, err := p.WriteBatch(ms[sent:], 0)
			if err != nil {
				return sent, err
			}
			sent += n
		}
		return len(ms), nil
	}
}

// stream makes a burst of padded frames that is written at once.
func (s *sender) stream(conn net.Conn) {
	size := s.r.Size
	one := stunmsg.ChannelHeader + size + stunmsg.DataPadding(size)
	all := make([]byte, s.n*one)
	for i := range s.n {
		b := all[i*one:]
		frame(b, size)
		s.heads = append(s.heads, b[stunmsg.ChannelHeader:])
	}
	s.write = func() (int, error) {
		n, err := conn.Write(all)
		return n / one, err
	}
}

func (s *sender) run() {
	for s.due() && s.send() {
	}
	s.done()
}

// turns sends for several clients, whose senders have their turn one after the other. s keeps the time.
func (s *sender) turns(all []*sender) {
	for i := 0; s.due() && all[i].send(); i = (i + 1) % len(all) {
		s.number++
	}
	for _, each := range all {
		each.done()
	}
}

// send sends a burst; false when the run has ended.
func (s *sender) send() bool {
	at := s.r.now()
	if at >= s.r.to {
		return false
	}
	for i, h := range s.heads {
		putHeader(h, s.r.id, s.number+uint32(i), at)
	}
	n, err := s.write()
	s.number += uint32(n)
	if at >= s.r.from {
		s.counted += int64(n)
	}
	return err == nil || s.r.failed(err)
}

func (s *sender) done() {
	s.r.mu.Lock()
	s.r.tally.sent += s.counted
	s.r.mu.Unlock()
}

// due waits for the moment of the next burst; false when the run has ended.
func (s *sender) due() bool {
	if s.gap == 0 && s.number > 0 {
		return !s.r.stopped.Load()
	}
	if d := time.Duration(s.next) - time.Duration(s.r.now()); d > 0 {
		time.Sleep(min(d, time.Duration(s.r.to-s.r.now())))
	} else if s.gap > 0 && -d > lateness {
		s.r.slow.Store(true)
		s.next = float64(s.r.now())
	}
	s.next += s.gap
	return !s.r.stopped.Load()
}
