//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// fleet is asked about every datagram to or from a relay of another machine ([relay.Config.Sibling]).
type fleet struct {
	knows atomic.Bool
	asked atomic.Int64
}

func (f *fleet) sibling(*relay.Relay, netip.AddrPort) bool {
	f.asked.Add(1)
	return f.knows.Load()
}

// decides passes datagrams both ways while the fleet knows the peer, and none once it does not, about each of which it was asked:
// the kernel has none of them.
func (f *fleet) decides(t *testing.T, w *world, c *client, number uint16, p *endpoint) {
	t.Helper()
	const many = 100
	up, down := c.up(number, p), c.down(number, p)
	begun, taken := f.asked.Load(), w.taken()
	f.knows.Store(true)
	for range many {
		up.pass(random(80))
		down.pass(random(80))
	}
	f.knows.Store(false)
	was := c.r.Stats()
	for range many {
		up.from.to(up.dst, up.send(random(80)))
		down.from.to(down.dst, down.send(random(80)))
	}
	await(t, "all have been refused", func() bool {
		s := c.r.Stats()
		return s.Up.Dropped-was.Up.Dropped == many && s.Down.Dropped-was.Down.Dropped == many
	})
	for _, e := range []*endpoint{up.to, down.to} {
		if b, _ := e.next(quick); b != nil {
			t.Errorf("%.40x came all the same", b)
		}
	}
	if n := f.asked.Load() - begun; n != 4*many {
		t.Errorf("the fleet was asked %d times about %d datagrams", n, 4*many)
	}
	if n := w.taken() - taken; n != 0 {
		t.Errorf("the kernel relayed %d datagrams to a peer that the fleet decides about", n)
	}
}

// Whether a peer is a relay of another machine is for the fleet to say, about each datagram. So no channel that only that lets
// through is in the kernel: neither a new one, nor one that anybody could have been the peer of until the rules changed. Between
// relays of this server the fleet has no say, and the kernel relays.
func TestFleetStaysOnSockets(t *testing.T) {
	var f fleet
	families(t, func(t *testing.T, w *world) {
		flows := func(want int) {
			t.Helper()
			if n, r := w.entries(), w.kernel.Report(); n != want || r.Flows != want {
				t.Errorf("%d entries and %+v, want %d flows", n, r, want)
			}
		}
		c, d, p, other := w.client(), w.client(), w.far(), w.far()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		w.moved(c.up(0x4000, p))
		w.moved(c.down(0x4000, p))
		c.bind(0x4001, other.addr, relay.ScopeFleet)
		flows(2)
		if got := w.Apart(); got[relay.FleetDecides] != 1 {
			t.Errorf("%v: want one channel that the fleet decides about", got)
		}
		f.decides(t, w, c, 0x4001, other)

		c.r.Restrict(func(netip.Addr) relay.Scope { return relay.ScopeFleet })
		flows(0)
		f.decides(t, w, c, 0x4000, p)
		c.bind(0x4000, p.addr, relay.ScopeAny)
		flows(2)
		w.moved(c.up(0x4000, p))
		c.bind(0x4000, p.addr, relay.ScopeFleet)
		flows(0)
		f.decides(t, w, c, 0x4000, p)

		asked := f.asked.Load()
		c.bind(0x4002, d.r.Addr(), relay.ScopeFleet)
		d.bind(0x4003, c.r.Addr(), relay.ScopeFleet)
		flows(2)
		w.moved(c.over(0x4002, d, 0x4003))
		w.moved(d.over(0x4003, c, 0x4002))
		if n := f.asked.Load(); n != asked {
			t.Errorf("the fleet was asked %d times about relays of this server", n-asked)
		}
		d.r.Close()
		flows(0)
		c.r.Close()
	}, func(*world) func(*relay.Config) { return func(cfg *relay.Config) { cfg.Sibling = f.sibling } })
}
