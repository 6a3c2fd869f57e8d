//go:build linux && !portable

package relay

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// super sends datagrams of size bytes each, the last maybe shorter, with one call: the kernel takes b apart, and on
// loopback the receiver gets it in one piece if it asks for that.
func (e *endpoint) super(to netip.AddrPort, b []byte, size int) {
	e.Helper()
	var c control
	n := c.putSegment(0, size)
	if _, _, err := e.WriteMsgUDPAddrPort(b, c[:n], to); err != nil {
		e.Fatal(err)
	}
}

func (e *endpoint) option(level, name, value int) {
	e.Helper()
	raw, err := e.SyscallConn()
	if err == nil {
		var fault error
		err = raw.Control(func(fd uintptr) { fault = unix.SetsockoptInt(int(fd), level, name, value) })
		if err == nil {
			err = fault
		}
	}
	if err != nil {
		e.Fatal(err)
	}
}

// Runs of datagrams that the kernel has put together come out on the other side one by one, in order, whole.
func TestSegmentation(t *testing.T) {
	families(t, func(t *testing.T, w *world, server netip.AddrPort) {
		c, peer := w.client(server), newEndpoint(t, server.Addr())
		r := c.open(OpenOptions{})
		r.permit(server.Addr(), ScopeAny)
		for _, channel := range []bool{true, false} {
			if channel {
				r.bind(0x4000, peer.addr, ScopeAny)
			} else {
				r.unbind(0x4000)
			}
			for _, size := range []int{1, 100, 1200, 1400, 30000} {
				for _, count := range []int{2, 7, 54} {
					if count*(size+40) > 65000 {
						continue
					}
					testRun(t, w, c, peer, r, size, count, channel)
				}
			}
		}
		if s := r.Stats(); s.Up.Dropped+s.Down.Dropped != 0 {
			t.Errorf("counted %+v", s)
		}
	})
}

func testRun(t *testing.T, w *world, c *client, peer *endpoint, r *Relay, size, count int, channel bool) {
	t.Helper()
	var up, down []byte
	var want [][]byte
	wire := 0
	for i := range count {
		n := size
		if i == count-1 {
			n = size/2 + 1
		}
		data := bytes.Repeat([]byte{byte(i + 1)}, n)
		want = append(want, data)
		frame := channelData(0x4000, data)
		if !channel {
			frame = sendIndication(peer.addr, data)
		}
		if i == 0 {
			wire = len(frame)
		}
		up, down = append(up, frame...), append(down, data...)
	}
	c.super(c.server, up, wire)
	peer.super(r.Addr(), down, size)
	for i, data := range want {
		peer.expect(r.Addr(), data)
		got, _ := c.next()
		if channel {
			if !bytes.Equal(got, channelData(0x4000, data)) {
				t.Fatalf("datagram %d of %d of %d bytes: got %d bytes %.20x", i, count, size, len(got), got)
			}
		} else if from, d := dataOf(t, got); from != peer.addr || !bytes.Equal(d, data) {
			t.Fatalf("datagram %d of %d of %d bytes: got %d bytes from %s", i, count, size, len(d), from)
		}
	}
}

// The kernel refuses segmentation on sockets without checksums: everything arrives all the same, and the relay does
// not try again.
func TestSegmentationRefused(t *testing.T) {
	w := newWorld(t)
	for _, server := range []netip.AddrPort{w.udp4, netip.AddrPortFrom(loopback4, w.wild.Port())} {
		c, peer := w.client(server), newEndpoint(t, loopback4)
		r := c.open(OpenOptions{})
		r.permit(loopback4, ScopeAny)
		r.bind(0x4000, peer.addr, ScopeAny)
		testRun(t, w, c, peer, r, 1000, 20, true)
		if r.io.gsoLimit[up].Load() != 0 || r.io.gsoLimit[down].Load() != 0 {
			t.Fatal("segmentation is off from the beginning")
		}
		for _, fd := range []int{r.sock.fd(), r.path.Load().udp.fd} {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
				t.Skip(err)
			}
		}
		for range 2 {
			testRun(t, w, c, peer, r, 1000, 20, true)
		}
		if a, b := r.io.gsoLimit[up].Load(), r.io.gsoLimit[down].Load(); a != 1000 || b != 1004 {
			t.Errorf("limits %d up, %d down", a, b)
		}
		testRun(t, w, c, peer, r, 1000, 1, true)
		counted(t, r, func(s Stats) bool { return s.Up == s.Down && s.Up.Dropped == 0 })
		_ = unix.SetsockoptInt(r.path.Load().udp.fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 0)
	}
}

// Mixed sizes, channels and peers from several clients in bursts: every flow keeps its order.
func TestBurstsKeepOrder(t *testing.T) {
	w := newWorld(t)
	rng := rand.New(rand.NewPCG(3, 4))
	const clients, peers, rounds = 4, 3, 60
	type flow struct{ sent, got int }
	var cs [clients]*client
	var ps [peers]*endpoint
	var rs [clients]*Relay
	var ups, downs [clients][peers]flow
	for i := range ps {
		ps[i] = newEndpoint(t, loopback4)
	}
	relayOf := map[netip.AddrPort]int{}
	for i := range cs {
		cs[i] = w.client(w.udp4)
		rs[i] = cs[i].open(OpenOptions{})
		relayOf[rs[i].Addr()] = i
		rs[i].permit(loopback4, ScopeAny)
		for j := range ps {
			rs[i].bind(0x4000+uint16(j), ps[j].addr, ScopeAny)
		}
	}
	sizes := []int{2, 2, 2, 3, 100, 100, 1200}
	number := func(n, size int) []byte {
		return append([]byte{byte(n >> 8), byte(n)}, make([]byte, size-2)...)
	}
	for range rounds {
		nup, ndown := [peers]int{}, [clients]int{}
		for range 40 {
			i, j, size := rng.IntN(clients), rng.IntN(peers), sizes[rng.IntN(len(sizes))]
			run := 1 + rng.IntN(5)
			var u, d []byte
			for range run {
				u = append(u, channelData(0x4000+uint16(j), number(ups[i][j].sent, size))...)
				d = append(d, number(downs[i][j].sent, size)...)
				ups[i][j].sent++
				downs[i][j].sent++
			}
			cs[i].super(cs[i].server, u, size+4)
			ps[j].super(rs[i].Addr(), d, size)
			nup[j] += run
			ndown[i] += run
		}
		check := func(what string, f *flow, b []byte) {
			t.Helper()
			if n := int(b[0])<<8 | int(b[1]); n != f.got {
				t.Fatalf("%s: datagram %d instead of %d", what, n, f.got)
			}
			f.got++
		}
		for j, n := range nup {
			for range n {
				b, from := ps[j].next()
				i := relayOf[from]
				check(fmt.Sprintf("client %d to peer %d", i, j), &ups[i][j], b)
			}
		}
		for i, n := range ndown {
			for range n {
				b, _ := cs[i].next()
				j := int(b[1])
				check(fmt.Sprintf("peer %d to client %d", j, i), &downs[i][j], b[4:])
			}
		}
	}
}

// A peer that asks for runs in one piece gets them so: it is what the sending side saves by.
func TestRunsLeaveInOnePiece(t *testing.T) {
	w := newWorld(t)
	c, peer := w.client(w.udp4), newEndpoint(t, loopback4)
	r := c.open(OpenOptions{})
	r.bind(0x4000, peer.addr, ScopeAny)
	peer.option(unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	c.super(c.server, bytes.Repeat(channelData(0x4000, make([]byte, 1000)), 10), 1004)
	if b, _ := peer.next(); len(b) != 10_000 {
		t.Errorf("the first piece has %d bytes", len(b))
	}
}
