package relay

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"
)

// openPair opens a relay in each family.
func (c *client) openPair(o OpenOptions) [2]*Relay {
	c.Helper()
	r, failed := c.src.plane.OpenPair(c.src, o)
	if r == nil || r.Other() == nil || failed != [2]error{} {
		c.Fatalf("no pair: %v", failed)
	}
	both := [2]*Relay{r.For(loopback4), r.For(loopback6)}
	if both[0] != r || both[1] != r.Other() || r.Other().Other() != r {
		c.Fatal("the pair's relays do not know each other")
	}
	return both
}

// Data of both families goes by one client, over channels and indications, and the relay of a family ends alone.
func TestPair(t *testing.T) {
	w := newWorld(t)
	for name, server := range map[string]netip.AddrPort{"from IPv4": w.udp4, "from IPv6": w.udp6, "on a wildcard": netip.AddrPortFrom(loopback4, w.wild.Port())} {
		for ends := range 2 {
			t.Run(name, func(t *testing.T) {
				c := w.client(server)
				both := c.openPair(OpenOptions{Tag: "tag"})
				peers := [2]*endpoint{newEndpoint(t, loopback4), newEndpoint(t, loopback6)}
				must(both[1].Permit(Grant{loopback4, ScopeAny}, Grant{loopback6, ScopeAny})) // each goes where it belongs
				for i, p := range peers {
					if both[i].Permitted(p.addr.Addr()) != ScopeAny || both[1-i].Permitted(p.addr.Addr()) != 0 || both[i].Tag() != "tag" {
						t.Fatal("a permission is not with its family")
					}
					c.send(sendIndication(p.addr, []byte("by indication")))
					p.expect(both[i].Addr(), []byte("by indication"))
					p.to(both[i].Addr(), []byte("back"))
					b, _ := c.next()
					if from, data := dataOf(t, b); from != p.addr || string(data) != "back" {
						t.Fatalf("%s from %s", data, from)
					}
					must(both[i].Bind(0x4000+uint16(i), p.addr, ScopeAny, nil))
					c.send(channelData(0x4000+uint16(i), []byte("by channel")))
					p.expect(both[i].Addr(), []byte("by channel"))
					p.to(both[i].Addr(), []byte("on it"))
					b, _ = c.next()
					if string(b) != string(channelData(0x4000+uint16(i), []byte("on it"))) {
						t.Fatalf("%q", b)
					}
				}
				both[ends].Close()
				left := both[1-ends]
				if r := w.greetAgain(c); r != left || left.Other() != nil || left.For(peers[ends].addr.Addr()) != nil {
					t.Fatal("the client does not have what is left of the pair")
				}
				if w.RelayAt(both[ends].Addr()) != nil || w.RelayAt(left.Addr()) != left {
					t.Fatal("the wrong one has ended")
				}
				c.send(channelData(0x4000+uint16(ends), []byte("nowhere")))
				c.send(sendIndication(peers[ends].addr, []byte("nowhere")))
				c.send(channelData(0x4000+uint16(1-ends), []byte("still")))
				peers[1-ends].expect(left.Addr(), []byte("still"))
				if d := left.Stats().Up.Drops; d[NoChannel] != 1 || d[Malformed] != 1 {
					t.Errorf("dropped %v", d)
				}
				left.Close()
				if w.greetAgain(c) != nil {
					t.Error("the client has a relay still")
				}
				if r := c.open(OpenOptions{}); r != nil {
					r.Close()
				}
			})
		}
	}
}

// greetAgain has the server look at c's 5-tuple.
func (w *world) greetAgain(c *client) *Relay { return w.greet(c.endpoint, c.server).Relay() }

// Where one family cannot be had the other is opened, and where none can, nothing is kept.
func TestPairOfOne(t *testing.T) {
	budget := NewBudget(3 * relayCost / 2)
	w := newWorld(t, func(c *Config) { c.IPv6 = Family{} })
	c := w.client(w.udp4)
	r, failed := w.OpenPair(c.src, OpenOptions{})
	if r == nil || r.Other() != nil || failed[0] != nil || !errors.Is(failed[1], ErrFamily) {
		t.Fatal(r, failed)
	}
	if again, failed := w.OpenPair(c.src, OpenOptions{}); again != nil || !errors.Is(failed[0], ErrInUse) {
		t.Error(again, failed)
	}
	r.Close()

	w = newWorld(t, func(c *Config) { c.PortMin, c.PortMax = 32001, 32001 })
	c = w.client(w.udp6)
	r, failed = w.OpenPair(c.src, OpenOptions{Budget: budget})
	if r == nil || failed[0] != nil || !errors.Is(failed[1], ErrBudget) {
		t.Fatal(r, failed)
	}
	r.Close()
	both := c.openPair(OpenOptions{})
	other := w.client(w.udp4)
	if r, failed := w.OpenPair(other.src, OpenOptions{Budget: budget}); r != nil || !errors.Is(failed[0], ErrNoPorts) || !errors.Is(failed[1], ErrNoPorts) {
		t.Fatal(r, failed)
	}
	both[0].Close()
	r, failed = w.OpenPair(other.src, OpenOptions{})
	if r == nil || r.Other() != nil || failed[0] != nil || !errors.Is(failed[1], ErrNoPorts) {
		t.Fatal(r, failed)
	}
	r.Close()
	both[1].Close()
	if w.FreePorts(4) != 1 || w.FreePorts(6) != 1 || budget.Used() != 0 {
		t.Errorf("kept: %d and %d ports free, %d of the budget", w.FreePorts(4), w.FreePorts(6), budget.Used())
	}
}

// Permissions of both families are entered all together or not at all.
func TestPairPermitsAllOrNone(t *testing.T) {
	w := newWorld(t)
	c := w.client(w.udp4)
	budget := NewBudget(2*relayCost + 2*permissionCost)
	both := c.openPair(OpenOptions{Budget: budget})
	four, six := netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("2001:db8::2")
	for _, all := range [][]Grant{
		{{loopback4, ScopeAny}, {loopback6, ScopeAny}, {four, ScopeAny}},
		{{loopback6, ScopeAny}, {loopback4, ScopeAny}, {six, ScopeAny}},
	} {
		if err := both[0].Permit(all...); !errors.Is(err, ErrBudget) {
			t.Fatal(err)
		}
		for _, r := range both {
			if n, _ := r.Counts(); n != 0 {
				t.Fatalf("%d permissions are kept", n)
			}
		}
		if budget.Used() != 2*relayCost {
			t.Fatalf("%d are charged", budget.Used())
		}
	}
	if err := both[0].Permit(Grant{loopback4, ScopeAny}, Grant{loopback6, ScopeRelays}); err != nil {
		t.Fatal(err)
	}
	both[1].Close()
	if err := both[0].Permit(Grant{four, ScopeAny}, Grant{six, ScopeAny}); !errors.Is(err, ErrClosed) || both[0].Permitted(four) != 0 {
		t.Fatal(err)
	}
}

// The limit of a relay is of both together, each way.
func TestPairSharesItsLimit(t *testing.T) {
	now := time.Now()
	w := newWorld(t, func(c *Config) { c.BitsPerSecond, c.Now = 8*1_100_000, func() time.Time { return now } })
	c := w.client(w.udp4)
	both := c.openPair(OpenOptions{})
	var passed, dropped uint64
	for i, ip := range [2]netip.Addr{loopback4, loopback6} {
		p := newEndpoint(t, ip)
		both[i].permit(ip, ScopeAny)
		for range 200 {
			c.send(sendIndication(p.addr, make([]byte, 1000)))
		}
		counted(t, both[i], func(s Stats) bool { return s.Up.Datagrams+s.Up.Dropped == 200 })
		s := both[i].Stats().Up
		passed, dropped = passed+s.Datagrams, dropped+s.Drops[OverLimit]
	}
	if passed+dropped != 400 || passed > 270 || passed < 250 { // a quarter of a second's worth
		t.Errorf("%d passed, %d over the limit", passed, dropped)
	}
}

// However the relays of a pair end at once, nothing is left and the client can open anew.
func TestPairEndsAtOnce(t *testing.T) {
	w := newWorld(t)
	c := w.client(w.udp4)
	for range 200 {
		both := c.openPair(OpenOptions{})
		var g sync.WaitGroup
		for _, r := range both {
			g.Go(r.Close)
		}
		g.Wait()
		if c.src.Relay() != nil {
			t.Fatal("the client has a relay still")
		}
	}
	if w.FreePorts(4) != 2001 || w.FreePorts(6) != 2001 {
		t.Error("ports are not free")
	}
}
