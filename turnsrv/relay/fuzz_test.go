package relay

import (
	"bytes"
	"context"
	"net/netip"
	"testing"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// recorder is a Handler that notes what it hears.
type recorder struct{ heard [][]byte }

func (r *recorder) HandleSTUN(_ Source, msg []byte) { r.heard = append(r.heard, bytes.Clone(msg)) }

func seeds(f *testing.F) {
	peer := netip.MustParseAddrPort("127.0.0.1:9")
	data := padded(channelData(0x4000, []byte("hello")))
	for _, b := range [][]byte{
		nil, {0x40}, binding(), data, append(bytes.Clone(data), binding()...), sendIndication(peer, []byte("x")),
		append(binding(), data...), []byte("\x00\x01\xff\xec\x21\x12\xa4\x42"), []byte("\x40\x00\xff\xff"), []byte("\x4f\xff\x00\x00"),
		[]byte("GET / HTTP/1.1\r\n\r\n"), sendIndication(netip.MustParseAddrPort("[::ffff:127.0.0.1]:9"), nil), {0x16, 0xfe, 0xfd},
	} {
		f.Add(b, uint8(1))
		f.Add(b, uint8(7))
	}
}

// newStopped is a Plane that is not run.
func newStopped(f *testing.F, h Handler) *Plane {
	p, err := New(Config{Handler: h, IPv4: Family{Bind: loopback4}, Workers: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Run(ended)
	})
	return p
}

// A stream must yield the same messages, and be refused at the same place, however it is cut into pieces.
func FuzzStream(f *testing.F) {
	seeds(f)
	h := &recorder{}
	p := newStopped(f, h)
	run := func(b []byte, step int) ([][]byte, error) {
		h.heard = nil
		s := &stream{plane: p, lane: &p.gate.lanes[0]}
		s.src = Source{plane: p, stream: s}
		for len(b) > 0 {
			n := min(step, len(b))
			piece := append(bytes.Clone(s.rest), b[:n]...)
			if err := s.consume(piece); err != nil {
				return h.heard, err
			}
			if len(s.rest) > stunmsg.MaxFrame {
				f.Fatal("more is kept than a frame")
			}
			b = b[n:]
		}
		return h.heard, nil
	}
	f.Fuzz(func(t *testing.T, b []byte, step uint8) {
		all, errAll := run(b, len(b)+1)
		some, errSome := run(b, int(step)+1)
		// A frame that turns out bad by its cookie is refused later when it comes in small pieces, never for good.
		if errAll == nil && errSome != nil {
			t.Fatalf("in pieces: %v", errSome)
		}
		if len(all) != len(some) {
			t.Fatalf("%d messages in one piece, %d in several", len(all), len(some))
		}
		for i := range all {
			if !bytes.Equal(all[i], some[i]) || !stunmsg.IsSTUN(all[i]) {
				t.Fatalf("message %d: %x and %x", i, all[i], some[i])
			}
		}
	})
}

// Whatever a client's datagram holds, only what is STUN reaches the Handler, and nothing else happens.
func FuzzDatagram(f *testing.F) {
	seeds(f)
	h := &recorder{}
	p := newStopped(f, h)
	if _, err := p.ListenUDP(netip.AddrPortFrom(loopback4, 0)); err != nil {
		f.Fatal(err)
	}
	src := fuzzSource(p, netip.MustParseAddrPort("127.0.0.1:1"))
	r, err := p.Open(src, OpenOptions{Family: 4})
	if err != nil {
		f.Fatal(err)
	}
	// To itself, within the process: a datagram that gets through comes back as one for the client.
	r.permit(loopback4, ScopeRelays)
	r.bind(0x4000, r.Addr(), ScopeRelays)
	f.Fuzz(func(t *testing.T, b []byte, n uint8) {
		h.heard = nil
		tx := p.borrow(&p.gate.lanes[0])
		tx.enter()
		for range n%4 + 1 {
			tx.fromClient(&src, r, b)
			tx.fromClient(&src, nil, b)
			tx.fromPeer(r, netip.AddrPortFrom(loopback4, uint16(n)), b)
		}
		tx.flush()
		tx.leave()
		p.giveBack(tx)
		for _, m := range h.heard {
			if !stunmsg.IsSTUN(m) {
				t.Fatalf("the handler was given %x", m)
			}
		}
	})
}
