package relay

import (
	"bytes"
	"net/netip"
	"testing"
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
		r.Permit(peer.addr.Addr(), ScopeAny)
		r.Bind(0x4001, peer.addr, ScopeAny)
		for _, n := range []int{0, 1, 3, 4, 1200, 1472, 9000, 65000} {
			data := bytes.Repeat([]byte{byte(n)}, n)
			c.send(channelData(0x4001, data))
			peer.expect(r.Addr(), data)
			peer.to(r.Addr(), data)
			c.expect(server, channelData(0x4001, data))
		}
		s := r.Stats()
		if s.Up != s.Down || s.Up.Datagrams != 8 || s.Up.Bytes != 0+1+3+4+1200+1472+9000+65000 || s.Up.Dropped != 0 {
			t.Errorf("counted %+v", s)
		}
	})
}

func TestIndications(t *testing.T) {
	families(t, func(t *testing.T, w *world, server netip.AddrPort) {
		c, peer := w.client(server), newEndpoint(t, server.Addr())
		r := c.open(OpenOptions{})
		r.Permit(peer.addr.Addr(), ScopeAny)
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
