package relay

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"net/netip"
	"strconv"
	"sync"
	"testing"
	"time"
)

func TestPermissions(t *testing.T) {
	families(t, func(t *testing.T, w *world, server netip.AddrPort) {
		c, peer, marker := w.client(server), newEndpoint(t, server.Addr()), newEndpoint(t, server.Addr())
		r := c.open(OpenOptions{})
		up := func(b []byte) { c.send(b) }

		// Nothing is open: neither way, and nothing answered.
		up(channelData(0x4000, []byte("a")))
		up(sendIndication(peer.addr, []byte("b")))
		peer.to(r.Addr(), []byte("c"))
		within(t, "drops", func() bool { s := r.Stats(); return s.Up.Dropped == 2 && s.Down.Dropped == 1 })

		// A channel is a permission for its peer, for as long as it lives: clients that refresh their channels alone
		// are served by coturn too. RFC 8656 §12 would let nothing come down.
		r.bind(0x4000, peer.addr, ScopeAny)
		up(channelData(0x4000, []byte("d")))
		peer.expect(r.Addr(), []byte("d"))
		peer.to(r.Addr(), []byte("e"))
		c.expect(server, channelData(0x4000, []byte("e")))
		up(sendIndication(peer.addr, []byte("e")))
		peer.expect(r.Addr(), []byte("e"))
		// For that one port alone.
		marker.to(r.Addr(), []byte("e"))
		up(sendIndication(marker.addr, []byte("e")))
		within(t, "drops", func() bool {
			s := r.Stats()
			return s.Down.Drops[NoPermission] == 2 && s.Up.Drops[NoPermission] == 2 && s.Up.Dropped == 3 && s.Down.Dropped == 2
		})
		r.unbind(0x4000)

		// ScopeRelays reaches no foreign address.
		r.permit(peer.addr.Addr(), ScopeRelays)
		up(sendIndication(peer.addr, []byte("f")))
		peer.to(r.Addr(), []byte("g"))
		within(t, "drops", func() bool { s := r.Stats(); return s.Up.Drops[PeerDenied] == 1 && s.Down.Drops[PeerDenied] == 1 })
		r.bind(0x4000, peer.addr, ScopeRelays)
		up(channelData(0x4000, []byte("h")))
		within(t, "drops", func() bool { return r.Stats().Up.Drops[PeerDenied] == 2 })

		// Permit only widens.
		r.permit(peer.addr.Addr(), ScopeAny)
		r.permit(peer.addr.Addr(), ScopeRelays)
		up(sendIndication(peer.addr, []byte("i")))
		peer.expect(r.Addr(), []byte("i"))
		peer.to(r.Addr(), []byte("j"))
		c.expect(server, channelData(0x4000, []byte("j")))

		// Another port of the same address has the permission, and no channel.
		marker.to(r.Addr(), []byte("k"))
		b, _ := c.next()
		if from, data := dataOf(t, b); from != marker.addr || string(data) != "k" {
			t.Errorf("%q from %s", data, from)
		}
		r.unbind(0x4000)
		up(channelData(0x4000, []byte("l")))
		peer.to(r.Addr(), []byte("m"))
		b, _ = c.next()
		if from, data := dataOf(t, b); from != peer.addr || string(data) != "m" {
			t.Errorf("%q from %s", data, from)
		}
		r.revoke(peer.addr.Addr())
		peer.to(r.Addr(), []byte("n"))
		up(sendIndication(peer.addr, []byte("o")))
		within(t, "drops", func() bool { s := r.Stats(); return s.Up.Dropped == 7 && s.Down.Dropped == 4 })
		if n := len(w.control.seen); n != 0 {
			t.Errorf("the handler saw %d data messages", n)
		}
	})
}

func TestClientTable(t *testing.T) {
	table := newClientTable()
	key := func(i int) netip.AddrPort {
		var b [16]byte
		binary.BigEndian.PutUint32(b[12:], uint32(i))
		b[0] = byte(i % 2 * 0x20)
		return netip.AddrPortFrom(netip.AddrFrom16(b).Unmap(), uint16(i*7))
	}
	const n = 5000
	relays := make([]*Relay, n)
	relays[0] = &Relay{}
	table.put(key(0), loopback4, relays[0])
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() { // a reader finds what is there all the time, whatever happens around it
		defer wg.Done()
		for {
			select {
			case <-stop:
				return
			default:
			}
			if table.get(key(0), loopback4) != relays[0] {
				t.Error("an entry was missed")
				return
			}
		}
	}()
	for i := 1; i < n; i++ {
		relays[i] = &Relay{}
		if !table.put(key(i), loopback4, relays[i]) || table.put(key(i), loopback4, &Relay{}) {
			t.Fatal("put")
		}
	}
	if table.get(key(5), loopback6) != nil {
		t.Error("another server address is another 5-tuple")
	}
	for i := 1; i < n; i++ {
		if table.get(key(i), loopback4) != relays[i] {
			t.Fatal("get")
		}
		table.remove(key(i), loopback4, &Relay{})  // not this one
		table.remove(key(i), loopback6, relays[i]) // nor there
		table.remove(key(i), loopback4, relays[i])
		if table.get(key(i), loopback4) != nil {
			t.Fatal("removed, and still there")
		}
	}
	close(stop)
	wg.Wait()
	if got := len(*table.buckets.Load()); got != minBuckets {
		t.Errorf("%d buckets are kept", got)
	}
}

// stoppedRelay is a relay of a Plane that is not run and has a clock of the test's.
func stoppedRelay(t *testing.T, budget *Budget) (*Plane, *Relay, *clock) {
	t.Helper()
	now := &clock{now: time.Now()}
	p, err := New(Config{Handler: &recorder{}, IPv4: Family{Bind: loopback4}, Workers: 1, Now: now.Now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = p.Run(ended)
	})
	if _, err := p.ListenUDP(netip.AddrPortFrom(loopback4, 0)); err != nil {
		t.Fatal(err)
	}
	r, err := p.Open(fuzzSource(p, netip.MustParseAddrPort("127.0.0.1:1")), OpenOptions{Family: 4, Budget: budget})
	if err != nil {
		t.Fatal(err)
	}
	return p, r, now
}

// The tables must find what a model of them does, and let it run out when it is due.
func TestAccessModel(t *testing.T) {
	type perm struct {
		scope Scope
		until time.Time
	}
	type channel struct {
		peer  netip.AddrPort
		until time.Time
	}
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 2))
		budget := NewBudget(0)
		p, r, now := stoppedRelay(t, budget)
		empty := budget.Used()
		perms, chans := map[netip.Addr]perm{}, map[uint16]channel{}
		for range 600 {
			n := rng.IntN(30)
			switch rng.IntN(5) {
			case 0:
				var grants []Grant
				for range 1 + rng.IntN(20) {
					g := Grant{addr(rng.IntN(30)), Scope(1 + rng.IntN(3))}
					grants = append(grants, g)
					perms[g.Addr] = perm{max(perms[g.Addr].scope, g.Scope), now.now.Add(PermissionLife)}
				}
				must(r.Permit(grants...))
			case 1:
				r.revoke(addr(n))
				delete(perms, addr(n))
			case 2:
				peer := netip.AddrPortFrom(addr(rng.IntN(3)), uint16(1+rng.IntN(20)))
				for k, v := range chans {
					if v.peer == peer {
						delete(chans, k)
					}
				}
				r.bind(0x4000+uint16(n), peer, ScopeAny)
				chans[0x4000+uint16(n)] = channel{peer, now.now.Add(ChannelLife)}
			case 3:
				r.unbind(0x4000 + uint16(n))
				delete(chans, 0x4000+uint16(n))
			case 4:
				now.add(time.Duration(rng.IntN(90)) * time.Second)
				p.Sweep()
				for k, v := range perms {
					if !v.until.After(now.now) {
						delete(perms, k)
					}
				}
				for k, v := range chans {
					if !v.until.After(now.now) {
						delete(chans, k)
					}
				}
			}
			for i := range 30 {
				if got, want := r.Permitted(addr(i)), perms[addr(i)].scope; got != want {
					t.Fatalf("permission %d: %d, want %d", i, got, want)
				}
				got, ok := r.ChannelPeer(0x4000 + uint16(i))
				if want := chans[0x4000+uint16(i)].peer; got != want || ok != want.IsValid() {
					t.Fatalf("channel %d: %v, want %v", i, got, want)
				}
				if number, found := r.PeerChannel(got); ok && (!found || number != 0x4000+uint16(i)) {
					t.Fatalf("%s leads to %#x", got, number)
				}
			}
			for i := range 3 {
				for k := range 20 {
					peer := netip.AddrPortFrom(addr(i), uint16(1+k))
					if number, ok := r.PeerChannel(peer); ok && chans[number].peer != peer {
						t.Fatalf("%s leads to channel %#x", peer, number)
					}
				}
			}
			if np, nc := r.Counts(); np != len(perms) || nc != len(chans) ||
				budget.Used() != empty+int64(np)*permissionCost+int64(nc)*channelCost {
				t.Fatalf("%d of %d permissions, %d of %d channels, %d bytes", np, len(perms), nc, len(chans), budget.Used())
			}
		}
		r.Close()
		if budget.Used() != 0 || r.Permit(Grant{addr(1), ScopeAny}) == nil || r.Permitted(addr(1)) != 0 {
			t.Fatalf("%d bytes are left after the end", budget.Used())
		}
	}
}

// A request is entered as a whole or not at all, within the relay's limits and the budget.
func TestAccessLimits(t *testing.T) {
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{8, 8, byte(i >> 8), byte(i)}) }
	grants := func(from, to int) (all []Grant) {
		for i := from; i < to; i++ {
			all = append(all, Grant{addr(i), ScopeAny}, Grant{addr(i), ScopeRelays}) // named twice, counted once
		}
		return all
	}
	_, r, _ := stoppedRelay(t, nil)
	must(r.Permit(grants(0, MaxPermissions-1)...))
	if err := r.Permit(grants(MaxPermissions-3, MaxPermissions+1)...); !errors.Is(err, ErrPermissions) || r.Permitted(addr(MaxPermissions-1)) != 0 {
		t.Errorf("%v; the first of two that are too many: %d", err, r.Permitted(addr(MaxPermissions-1)))
	}
	must(r.Permit(grants(0, MaxPermissions)...))
	if n, _ := r.Counts(); n != MaxPermissions {
		t.Errorf("%d permissions", n)
	}
	for i := range MaxChannels {
		must(r.Bind(uint16(0x4000+i), netip.AddrPortFrom(addr(i), 9), ScopeAny, nil))
	}
	if err := r.Bind(0x5000, netip.AddrPortFrom(addr(1), 10), ScopeAny, nil); !errors.Is(err, ErrChannels) {
		t.Errorf("one channel too many: %v", err)
	}
	must(r.Bind(0x4000, netip.AddrPortFrom(addr(1), 10), ScopeAny, nil)) // in another's place
	must(r.Bind(0x4000, netip.AddrPortFrom(addr(2), 9), ScopeAny, nil))  // in two others'
	must(r.Bind(0x5000, netip.AddrPortFrom(addr(1), 11), ScopeAny, nil))

	budget := NewBudget(relayCost + 3*permissionCost + channelCost)
	_, r, _ = stoppedRelay(t, budget)
	if err := r.Permit(grants(0, 5)...); !errors.Is(err, ErrBudget) || budget.Used() != relayCost {
		t.Errorf("%v, %d bytes", err, budget.Used())
	}
	must(r.Permit(grants(0, 3)...))
	must(r.Bind(0x4000, netip.AddrPortFrom(addr(0), 9), ScopeAny, nil))
	must(r.Bind(0x4000, netip.AddrPortFrom(addr(0), 9), ScopeAny, nil))
	if err := r.Bind(0x4001, netip.AddrPortFrom(addr(1), 9), ScopeAny, nil); !errors.Is(err, ErrBudget) {
		t.Errorf("a channel beyond the budget: %v", err)
	}
	must(r.Bind(0x4001, netip.AddrPortFrom(addr(0), 9), ScopeAny, nil))
	if n, _ := r.PeerChannel(netip.AddrPortFrom(addr(0), 9)); n != 0x4001 {
		t.Errorf("the peer has channel %#x", n)
	}
	if _, err := r.plane.Open(fuzzSource(r.plane, netip.MustParseAddrPort("127.0.0.1:2")), OpenOptions{Family: 4, Budget: budget}); !errors.Is(err, ErrBudget) {
		t.Errorf("a relay beyond the budget: %v", err)
	}
}

// Time in which the process was stopped does not count: the client's refresh waits to be read.
func TestPermissionsOutlastAStop(t *testing.T) {
	p, r, now := stoppedRelay(t, nil)
	must(r.Permit(Grant{loopback4, ScopeAny}))
	p.stopped.Add(int64(time.Minute))
	now.add(PermissionLife + time.Minute - time.Second)
	p.Sweep()
	if r.Permitted(loopback4) != ScopeAny {
		t.Error("a permission ran out while the process was stopped")
	}
	now.add(time.Second)
	p.Sweep()
	if r.Permitted(loopback4) != 0 {
		t.Error("a permission does not run out")
	}
}

// What readers find while others change the tables was there before or is there after.
func TestAccessWhileItChanges(t *testing.T) {
	_, r, _ := stoppedRelay(t, nil)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{8, 8, byte(i >> 8), byte(i)}) }
	must(r.Permit(Grant{addr(0), ScopeAny}))
	must(r.Bind(0x4000, netip.AddrPortFrom(addr(0), 9), ScopeAny, nil))
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 2 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if s, c := r.access.scopeOf(netip.AddrPortFrom(addr(0), 9)); s != ScopeAny || c == nil || r.Permitted(addr(0)) != ScopeAny {
					t.Error("what is there all the time was missed")
					return
				}
			}
		})
	}
	for range 30 {
		for i := 1; i < 600; i++ {
			must(r.Permit(Grant{addr(i), ScopeAny}))
			must(r.Bind(uint16(0x4000+i), netip.AddrPortFrom(addr(i), 9), ScopeAny, nil))
		}
		for i := 1; i < 600; i++ {
			r.revoke(addr(i))
			r.unbind(uint16(0x4000 + i))
		}
	}
	close(stop)
	readers.Wait()
}

// A change costs the same however much is open: counted in what it allocates, since time would depend on the machine.
func TestChangesCostTheSame(t *testing.T) {
	_, r, _ := stoppedRelay(t, nil)
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{8, 8, byte(i >> 8), byte(i)}) }
	for i := range MaxChannels {
		if i < MaxPermissions {
			must(r.Permit(Grant{addr(i), ScopeAny}))
		}
		must(r.Bind(uint16(0x4000+i), netip.AddrPortFrom(addr(i%MaxPermissions), uint16(i+1)), ScopeAny, nil))
	}
	i := 0
	if n := testing.AllocsPerRun(1000, func() {
		i++
		must(r.Permit(Grant{addr(i % MaxPermissions), ScopeAny}))
	}); n > 0 {
		t.Errorf("a permission that is there costs %v allocations", n)
	}
	before := r.access.channel(0x4001)
	if n := testing.AllocsPerRun(1000, func() {
		i++
		must(r.Bind(uint16(0x4000+i%MaxChannels), netip.AddrPortFrom(addr(i%MaxPermissions), uint16(i%MaxChannels+1)), ScopeAny, nil))
	}); n > 0 || r.access.channel(0x4001) != before {
		t.Errorf("a channel that is there costs %v allocations", n)
	}
}

// BenchmarkRefresh is what a refresh costs beside thousands of channels and permissions.
func BenchmarkRefresh(b *testing.B) {
	for _, have := range []int{1, 1024} {
		b.Run(strconv.Itoa(have), func(b *testing.B) {
			w := newWorld(b)
			r := w.client(w.udp4).open(OpenOptions{})
			addr := func(i int) netip.AddrPort {
				return netip.AddrPortFrom(netip.AddrFrom4([4]byte{8, 8, byte(i >> 8), byte(i)}), 9)
			}
			for i := range have {
				r.permit(addr(i).Addr(), ScopeAny)
				r.bind(uint16(0x4000+i), addr(i), ScopeAny)
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				r.permit(addr(i%have).Addr(), ScopeAny)
				r.bind(uint16(0x4000+i%have), addr(i%have), ScopeAny)
				i++
			}
		})
	}
}
