//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"net/netip"
	"testing"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// Of a client with an address in each family, the kernel relays what stays in the family in which the client came, and the
// sockets the rest; both count, and both end with the client's move and its end.
func TestBothFamilies(t *testing.T) {
	families(t, func(t *testing.T, w *world) {
		other := 10 - w.family
		e, src := w.come()
		r, failed := w.OpenPair(src, relay.OpenOptions{Mobile: true})
		if r == nil || r.Other() == nil {
			t.Fatal(failed)
		}
		c := &client{e, w, r.For(w.peerAt)}
		near, far := w.far(), w.peer.endpoint(address(other, w.number(), 1))
		c.bind(0x4000, near.addr, relay.ScopeAny)
		across := &client{e, w, r.For(far.addr.Addr())}
		across.bind(0x4001, far.addr, relay.ScopeAny)
		w.moved(c.up(0x4000, near))
		w.moved(c.down(0x4000, near))
		before := w.kernel.Report().Taken
		for range 50 {
			across.up(0x4001, far).pass(random(90))
			across.down(0x4001, far).pass(random(90))
		}
		if n := w.kernel.Report().Taken; n != before {
			t.Errorf("the kernel relayed %d datagrams from one family to the other", n-before)
		}
		if got := w.Apart(); got[relay.Families] != 1 || got[relay.Taken] != 1 {
			t.Errorf("%v: want one channel between families", got)
		}
		await(t, "the sockets count what they have sent", func() bool {
			s := across.r.Stats()
			return s.Up.Datagrams == 50 && s.Down.Datagrams == 50 && s.Up.Bytes == 50*90 && s.Down.Bytes == 50*90
		})
		if s := c.r.Stats(); s.Up.Datagrams == 0 || s.Up.Dropped+s.Down.Dropped != 0 {
			t.Errorf("counted %+v", s)
		}
		next, to := w.come()
		if err := r.Await(to); err != nil {
			t.Fatal(err)
		}
		data := random(60)
		next.to(w.server, framed(0x4001, data))
		far.expect(across.r.Addr(), data)
		await(t, "the client is at its new address", func() bool { return c.r.Tuple().Client == next.addr })
		c.endpoint, across.endpoint = next, next
		w.moved(c.down(0x4000, near))
		across.down(0x4001, far).pass(random(70))
		c.r.Close()
		across.up(0x4001, far).pass(random(70))
		across.r.Close()
	}, func(w *world) func(*relay.Config) {
		return func(cfg *relay.Config) {
			if place := (relay.Family{Bind: address(10-w.family, w.number(), 2)}); w.family == 4 {
				cfg.IPv6 = place
			} else {
				cfg.IPv4 = place
			}
		}
	})
}

// What ICMP says of a datagram that the kernel has relayed comes to the relay's socket, and its client is told.
func TestClientsAreToldOfICMP(t *testing.T) {
	families(t, func(t *testing.T, w *world) {
		c, p := w.client(), w.far()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		w.moved(c.up(0x4000, p))
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
		before := w.kernel.Report().Taken
		c.to(w.server, framed(0x4000, random(100)))
		b, _ := c.next(patience)
		peer, got := told(t, b)
		want := stunmsg.ICMP{Type: 3, Code: 3}
		if w.family == 6 {
			want = stunmsg.ICMP{Type: 1, Code: 4}
		}
		if peer != p.addr || got != want {
			t.Errorf("told of %+v about %s, want %+v about %s", got, peer, want, p.addr)
		}
		if n := w.kernel.Report().Taken; n != before+1 {
			t.Errorf("the kernel relayed %d", n-before)
		}
	}, func(*world) func(*relay.Config) { return func(cfg *relay.Config) { cfg.ICMP = true } })
}

// told is what a Data indication says of ICMP, and about which peer.
func told(t *testing.T, b []byte) (netip.AddrPort, stunmsg.ICMP) {
	t.Helper()
	var m stunmsg.Message
	if err := m.Parse(b); err != nil || m.Type != stunmsg.DataIndication {
		t.Fatalf("%.60x is no Data indication: %v", b, err)
	}
	a, _ := m.Get(stunmsg.AttrXORPeerAddress)
	peer, err := stunmsg.XORAddr(a, m.TransactionID())
	v, _ := m.Get(stunmsg.AttrICMP)
	e, ok := stunmsg.ParseICMP(v)
	if err != nil || !ok {
		t.Fatalf("%x: %v, ICMP %v", b, err, ok)
	}
	return peer, e
}
