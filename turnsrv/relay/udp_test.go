package relay

import (
	"bytes"
	"net/netip"
	"testing"
	"time"
)

func families(t *testing.T, f func(t *testing.T, w *world, server netip.AddrPort)) {
	t.Run("IPv4", func(t *testing.T) { w := newWorld(t); f(t, w, w.udp4) })
	t.Run("IPv6", func(t *testing.T) { w := newWorld(t); f(t, w, w.udp6) })
}

func TestChannel(t *testing.T) {
	families(t, func(t *testing.T, w *world, server netip.AddrPort) {
		c, peer := w.client(server), newEndpoint(t, server.Addr())
		r := c.open(OpenOptions{Tag: "tag"})
		if r.Tag() != "tag" || r.Tuple() != c.src.Tuple || c.src.Relay() != r || w.RelayAt(r.Addr()) != r || !w.OwnRelayIP(r.Addr().Addr()) {
			t.Fatal("the relay is not what was opened")
		}
		r.permit(peer.addr.Addr(), ScopeAny)
		r.bind(0x4001, peer.addr, ScopeAny)
		for _, n := range []int{0, 1, 3, 4, 1200, 1472, 9000, 65000} {
			data := bytes.Repeat([]byte{byte(n)}, n)
			c.send(channelData(0x4001, data))
			peer.expect(r.Addr(), data)
			peer.to(r.Addr(), data)
			c.expect(server, channelData(0x4001, data))
		}
		counted(t, r, func(s Stats) bool {
			return s.Up == s.Down && s.Up.Datagrams == 8 && s.Up.Bytes == 0+1+3+4+1200+1472+9000+65000 && s.Up.Dropped == 0
		})
	})
}

func TestIndications(t *testing.T) {
	families(t, func(t *testing.T, w *world, server netip.AddrPort) {
		c, peer := w.client(server), newEndpoint(t, server.Addr())
		r := c.open(OpenOptions{})
		r.permit(peer.addr.Addr(), ScopeAny)
		for _, n := range []int{0, 1, 3, 4, 1200, 9000, 65000} {
			data := bytes.Repeat([]byte{byte(n)}, n)
			c.send(sendIndication(peer.addr, data))
			peer.expect(r.Addr(), data)
			peer.to(r.Addr(), data)
			b, _ := c.next()
			if from, got := dataOf(t, b); from != peer.addr || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes from %s, want %d from %s", len(got), from, len(data), peer.addr)
			}
		}
	})
}

// Two relays of one server reach each other within the process, by their advertised addresses.
func TestInProcess(t *testing.T) {
	advertised := netip.MustParseAddr("203.0.113.1")
	w := newWorld(t, func(c *Config) { c.IPv4.Advertise = advertised })
	a, b := w.client(w.udp4), w.client(w.udp4)
	ra, rb := a.open(OpenOptions{}), b.open(OpenOptions{})
	if ra.Addr().Addr() != advertised || w.RelayAt(netip.AddrPortFrom(loopback4, ra.Addr().Port())) != ra {
		t.Fatalf("relayed address %s", ra.Addr())
	}
	ra.permit(advertised, ScopeRelays)
	rb.permit(advertised, ScopeRelays)
	for n, data := range [][]byte{{}, []byte("one"), make([]byte, 1200), make([]byte, 60000)} {
		a.send(sendIndication(rb.Addr(), data))
		got, _ := b.next()
		if from, d := dataOf(t, got); from != ra.Addr() || !bytes.Equal(d, data) {
			t.Fatalf("%d: %d bytes from %s", n, len(d), from)
		}
	}
	ra.bind(0x4000, rb.Addr(), ScopeRelays)
	rb.bind(0x4001, ra.Addr(), ScopeRelays)
	for range 3 {
		a.send(channelData(0x4000, []byte("ping")))
		b.expect(w.udp4, channelData(0x4001, []byte("ping")))
		b.send(channelData(0x4001, []byte("pong")))
		a.expect(w.udp4, channelData(0x4000, []byte("pong")))
	}
	// To itself.
	ra.bind(0x4002, ra.Addr(), ScopeRelays)
	a.send(channelData(0x4002, []byte("me")))
	a.expect(w.udp4, channelData(0x4002, []byte("me")))
	counted(t, ra, func(s Stats) bool { return s.Up.Datagrams == 8 && s.Down.Datagrams == 4 })
	// Without the other's permission or channel nothing arrives; nor when it is gone.
	rb.revoke(advertised)
	rb.unbind(0x4001)
	a.send(channelData(0x4000, []byte("no")))
	within(t, "a drop", func() bool { return rb.Stats().Down.Dropped == 1 })
	rb.Close()
	a.send(channelData(0x4000, []byte("no")))
	within(t, "a drop", func() bool { return ra.Stats().Up.Dropped == 1 })
	marker := binding()
	b.send(marker)
	b.silent(marker)
}

func TestInProcessWithStream(t *testing.T) {
	bothStreams(t, func(t *testing.T, s *streamServer) {
		a, b := s.client(), s.world.client(s.udp4)
		ra, err := s.Open(a.src, OpenOptions{Family: 4})
		if err != nil {
			t.Fatal(err)
		}
		rb := b.open(OpenOptions{})
		ra.permit(loopback4, ScopeRelays)
		rb.permit(loopback4, ScopeRelays)
		ra.bind(0x4000, rb.Addr(), ScopeRelays)
		rb.bind(0x4001, ra.Addr(), ScopeRelays)
		a.put(padded(channelData(0x4000, []byte("ping!"))))
		b.expect(s.udp4, channelData(0x4001, []byte("ping!")))
		b.send(channelData(0x4001, []byte("pong!")))
		a.expect(padded(channelData(0x4000, []byte("pong!"))))
	})
}

func TestOwnListenersAreBarred(t *testing.T) {
	barred, refused := newEndpoint(t, loopback4), newEndpoint(t, loopback4)
	w := newWorld(t, func(c *Config) {
		c.OwnListener = func(a netip.AddrPort) bool { return a == barred.addr }
		c.AllowSend = func(_ *Relay, a netip.AddrPort) bool { return a != refused.addr }
	})
	c := w.client(w.udp4)
	r := c.open(OpenOptions{})
	r.permit(loopback4, ScopeAny)
	n := uint64(0)
	for i, peer := range []netip.AddrPort{barred.addr, w.udp4, netip.AddrPortFrom(loopback4, 0)} {
		r.bind(0x4000+uint16(i), peer, ScopeAny)
		c.send(sendIndication(peer, binding()))
		c.send(channelData(0x4000+uint16(i), binding()))
		n += 2
		within(t, "drops", func() bool { return r.Stats().Up.Dropped == n })
	}
	c.send(sendIndication(refused.addr, []byte("x")))
	c.send(sendIndication(netip.AddrPortFrom(loopback6, 9), []byte("x")))
	within(t, "drops", func() bool { return r.Stats().Up.Dropped == n+2 })
	barred.nothing(20 * 1e6)
	if len(w.control.seen) != 0 {
		t.Error("the server's own listener got something")
	}
}

// What is no STUN, ChannelData or DTLS goes nowhere and is not answered; DTLS goes to its own function.
func TestOtherDatagrams(t *testing.T) {
	dtls := make(chan []byte, 256)
	w := newWorld(t, func(c *Config) {
		c.DTLS = func(_ Source, b []byte) { dtls <- bytes.Clone(b) }
	})
	e := newEndpoint(t, loopback4)
	for c := range 256 {
		e.to(w.udp4, append([]byte{byte(c)}, make([]byte, 30)...))
	}
	e.to(w.udp4, nil)
	e.to(w.udp4, binding()[:19])
	marker := binding()
	e.to(w.udp4, marker)
	e.silent(marker)
	<-w.control.seen
	if n := len(w.control.seen); n != 0 {
		t.Errorf("the handler saw %d messages too many", n)
	}
	if len(dtls) != 64-20 {
		t.Errorf("the DTLS function saw %d", len(dtls))
	}
}

func TestLengthBeyondDatagram(t *testing.T) {
	w := newWorld(t)
	c, peer := w.client(w.udp4), newEndpoint(t, loopback4)
	r := c.open(OpenOptions{})
	r.bind(0x4000, peer.addr, ScopeAny)
	r.bind(0x4fff, peer.addr, ScopeAny)
	b := channelData(0x4fff, []byte("four"))
	c.send(b[:7])
	c.send(b[:3])
	c.send(b[:1])
	c.send(append(b, "padding"...))
	peer.expect(r.Addr(), []byte("four"))
	counted(t, r, func(s Stats) bool { return s.Up.Dropped == 3 && s.Up.Datagrams == 1 })
}

// On a wildcard listener the answer leaves from the address that was asked.
func TestWildcardAnswersFromWhereItWasAsked(t *testing.T) {
	w := newWorld(t)
	peer := newEndpoint(t, loopback4)
	for _, ip := range []string{"127.0.0.2", "127.0.0.3", "::1"} {
		server := netip.AddrPortFrom(netip.MustParseAddr(ip), w.wild.Port())
		e := newEndpoint(t, netip.MustParseAddr(map[bool]string{true: "127.0.0.1", false: "::1"}[server.Addr().Is4()]))
		src := w.greet(e, server)
		if src.Server != server {
			t.Fatalf("asked %s, seen as %s", server, src.Server)
		}
		r, err := w.Open(src, OpenOptions{Family: 4})
		if err != nil {
			t.Fatal(err)
		}
		r.permit(loopback4, ScopeAny)
		for range 3 {
			peer.to(r.Addr(), []byte("down"))
		}
		for range 3 {
			b, from := e.next()
			if _, data := dataOf(t, b); from != server || string(data) != "down" {
				t.Errorf("%q from %s, want from %s", data, from, server)
			}
		}
	}
}

func TestRateLimit(t *testing.T) {
	now := &clock{now: time.Now()}
	w := newWorld(t, func(c *Config) { c.BitsPerSecond, c.Now = 8_000_000, now.Now }) // 1 MB/s, a quarter at once
	c, peer := w.client(w.udp4), newEndpoint(t, loopback4)
	r := c.open(OpenOptions{})
	r.permit(loopback4, ScopeAny)
	r.bind(0x4000, peer.addr, ScopeAny)
	data := make([]byte, 1000-28) // with the headers of IPv4 and UDP
	spend := func(want uint64) {
		t.Helper()
		before := r.Stats()
		for i := range want + 10 {
			c.send(channelData(0x4000, data))
			peer.to(r.Addr(), data)
			within(t, "the count", func() bool {
				s := r.Stats()
				return s.Up.Datagrams+s.Up.Dropped == before.Up.Datagrams+before.Up.Dropped+i+1 && s.Down.Datagrams+s.Down.Dropped == before.Down.Datagrams+before.Down.Dropped+i+1
			})
		}
		s := r.Stats()
		if up, down := s.Up.Datagrams-before.Up.Datagrams, s.Down.Datagrams-before.Down.Datagrams; up != want || down != want {
			t.Errorf("%d up, %d down, want %d", up, down, want)
		}
	}
	spend(250)
	spend(0)
	now.add(100 * time.Millisecond)
	spend(100)
	now.add(time.Minute) // and not so long that the channel runs out
	spend(250)
}
