package relay

import (
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
)

func TestMoveKeepsLiveRelays(t *testing.T) {
	w := newWorld(t)
	lo := netip.MustParseAddr("127.0.0.1")
	outside := func(s string) Family { return Family{Bind: lo, Advertise: netip.MustParseAddr(s)} }
	move := func(f Family) []netip.Addr {
		t.Helper()
		all, err := w.move(f, Family{})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	open := func() *Relay {
		t.Helper()
		r, err := w.Open(w.client(w.udp4).src, OpenOptions{Family: 4})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	first, second := outside("192.0.2.1"), outside("192.0.2.2")
	move(first)
	a := open()
	if got := move(second); !slices.Equal(got, []netip.Addr{first.Advertise, second.Advertise}) {
		t.Errorf("in use are %v", got)
	}
	b := open()
	if a.Addr().Addr() != first.Advertise || b.Addr().Addr() != second.Advertise {
		t.Errorf("%s and %s", a.Addr(), b.Addr())
	}
	for _, r := range []*Relay{a, b} {
		if w.RelayAt(r.Addr()) != r || w.RelayAt(netip.AddrPortFrom(lo, r.Addr().Port())) != r {
			t.Errorf("%s is not found", r.Addr())
		}
	}
	if w.RelayAt(netip.AddrPortFrom(first.Advertise, b.Addr().Port())) != nil || w.RelayAt(netip.AddrPortFrom(second.Advertise, a.Addr().Port())) != nil {
		t.Error("a relay is found at an address that it was never told to have")
	}
	if !w.OwnRelayIP(first.Advertise) || w.OwnRelayIP(netip.Addr{}) {
		t.Error("OwnRelayIP")
	}
	a.Close()
	if got := move(second); !slices.Equal(got, []netip.Addr{second.Advertise}) || w.OwnRelayIP(first.Advertise) {
		t.Errorf("still in use are %v", got)
	}
	if got := move(Family{}); !slices.Equal(got, []netip.Addr{second.Advertise}) {
		t.Errorf("with relays off, in use are %v", got)
	}
	if _, err := w.Open(w.client(w.udp4).src, OpenOptions{Family: 4}); !errors.Is(err, ErrFamily) {
		t.Errorf("a relay of a family that is off: %v", err)
	}
	if _, err := w.move(Family{Bind: netip.IPv6Loopback()}, Family{}); err == nil {
		t.Error("IPv6 as IPv4")
	}
	b.Close()
}

// However Open and Move meet, a live relay is found under the address that it tells.
func TestMoveWhileOpening(t *testing.T) {
	w := newWorld(t)
	var moving sync.WaitGroup
	stop := make(chan struct{})
	moving.Go(func() {
		for i := byte(1); ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if _, err := w.move(Family{Bind: netip.MustParseAddr("127.0.0.1"), Advertise: netip.AddrFrom4([4]byte{192, 0, 2, i})}, Family{}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 300 {
		r, err := w.Open(w.client(w.udp4).src, OpenOptions{Family: 4})
		if err != nil {
			t.Error(err)
			break
		}
		if w.RelayAt(r.Addr()) != r || !w.OwnRelayIP(r.Addr().Addr()) {
			t.Errorf("%s is not found", r.Addr())
		}
		r.Close()
	}
	close(stop)
	moving.Wait()
}

func TestRestrict(t *testing.T) {
	w := newWorld(t)
	r, err := w.Open(w.client(w.udp4).src, OpenOptions{Family: 4})
	if err != nil {
		t.Fatal(err)
	}
	other, err := w.Open(w.client(w.udp4).src, OpenOptions{Family: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer other.Close()
	at := netip.MustParseAddrPort
	good, bad, gone := at("198.51.100.1:9"), at("198.51.100.2:9"), netip.AddrPortFrom(other.Addr().Addr(), 9)
	for i, p := range []netip.AddrPort{good, bad, other.Addr(), gone} {
		r.permit(p.Addr(), ScopeAny)
		r.bind(0x4000+uint16(i), p, ScopeAny)
	}
	r.Restrict(func(ip netip.Addr) Scope {
		if ip == good.Addr() {
			return ScopeAny
		}
		return 0
	})
	a := &r.access
	for p, want := range map[netip.AddrPort]Scope{good: ScopeAny, bad: 0, other.Addr(): ScopeRelays} {
		if got := a.permitted(p.Addr()); got != want {
			t.Errorf("permission for %s: %d, want %d", p, got, want)
		}
		c := a.channelTo(p)
		if (c != nil) != (want != 0) || c != nil && reach(c.reach.Load()).scope() != want {
			t.Errorf("channel to %s: %+v, want scope %d", p, c, want)
		}
	}
	if a.channelTo(gone) != nil {
		t.Error("a channel to an own address without a relay is left")
	}
}

func TestRateCanChange(t *testing.T) {
	w := newWorld(t)
	r, err := w.Open(w.client(w.udp4).src, OpenOptions{Family: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	count := func(size int) (n int) {
		x := &tx{plane: w.Plane}
		for range 5000 {
			if x.now = w.nanos(); x.admit(r, &r.up, size) {
				n++
			}
		}
		return n
	}
	for _, c := range []struct {
		limit      int64
		size, want int
	}{{0, 1000, 5000}, {8, 1000, 2 * 65535 / 1028}, {0, 1000, 5000}, {4, 0, 2 * 65535 / 28}} { // nothing is free, headers count
		r.up.full.Store(0)
		w.SetBitsPerSecond(c.limit)
		if got := count(c.size); got != c.want {
			t.Errorf("with a limit of %d, %d of 5000 datagrams of %d bytes passed, want %d", c.limit, got, c.size, c.want)
		}
	}
}

// move is PrepareMove and what it prepares.
func (p *Plane) move(v4, v6 Family) ([]netip.Addr, error) {
	apply, err := p.PrepareMove(v4, v6)
	if err != nil {
		return nil, err
	}
	return apply(), nil
}
