package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
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

		// A channel alone leads up, but nothing comes down (RFC 8656 §12).
		r.Bind(0x4000, peer.addr, ScopeAny)
		up(channelData(0x4000, []byte("d")))
		peer.expect(r.Addr(), []byte("d"))
		peer.to(r.Addr(), []byte("e"))
		within(t, "drops", func() bool { return r.Stats().Down.Dropped == 2 })

		// ScopeRelays reaches no foreign address.
		r.Permit(peer.addr.Addr(), ScopeRelays)
		up(sendIndication(peer.addr, []byte("f")))
		peer.to(r.Addr(), []byte("g"))
		within(t, "drops", func() bool { s := r.Stats(); return s.Up.Dropped == 3 && s.Down.Dropped == 3 })
		r.Bind(0x4000, peer.addr, ScopeRelays)
		up(channelData(0x4000, []byte("h")))
		within(t, "drops", func() bool { return r.Stats().Up.Dropped == 4 })

		// Permit only widens.
		r.Permit(peer.addr.Addr(), ScopeAny)
		r.Permit(peer.addr.Addr(), ScopeRelays)
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
		r.Unbind(0x4000)
		up(channelData(0x4000, []byte("l")))
		peer.to(r.Addr(), []byte("m"))
		b, _ = c.next()
		if from, data := dataOf(t, b); from != peer.addr || string(data) != "m" {
			t.Errorf("%q from %s", data, from)
		}
		r.Revoke(peer.addr.Addr())
		peer.to(r.Addr(), []byte("n"))
		up(sendIndication(peer.addr, []byte("o")))
		within(t, "drops", func() bool { s := r.Stats(); return s.Up.Dropped == 6 && s.Down.Dropped == 4 })
		if n := len(w.control.seen); n != 0 {
			t.Errorf("the handler saw %d data messages", n)
		}
	})
}

// The tables must find the same below and above the size at which maps take over.
func TestAccessModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}) }
	for range 50 {
		a := noAccess
		perms := map[netip.Addr]Scope{}
		chans := map[uint16]netip.AddrPort{}
		for range 400 {
			n := rng.IntN(30)
			switch rng.IntN(4) {
			case 0:
				s := Scope(1 + rng.IntN(2))
				a = a.permit(addr(n), s)
				perms[addr(n)] = max(perms[addr(n)], s)
			case 1:
				a = a.revoke(addr(n))
				delete(perms, addr(n))
			case 2:
				peer := netip.AddrPortFrom(addr(rng.IntN(3)), uint16(rng.IntN(20)))
				for k, v := range chans {
					if v == peer {
						delete(chans, k)
					}
				}
				a = a.bind(&route{number: uint16(n), peer: peer})
				chans[uint16(n)] = peer
			case 3:
				a = a.unbind(uint16(n))
				delete(chans, uint16(n))
			}
			for i := range 30 {
				if a.permitted(addr(i)) != perms[addr(i)] {
					t.Fatalf("permission %d: %d, want %d", i, a.permitted(addr(i)), perms[addr(i)])
				}
				c, want := a.channel(uint16(i)), chans[uint16(i)]
				if (c != nil) != want.IsValid() || c != nil && (c.peer != want || a.channelTo(want) != c) {
					t.Fatalf("channel %d: %v, want %v", i, c, want)
				}
			}
			for _, i := range []int{0, 1, 2} {
				for p := range 20 {
					peer := netip.AddrPortFrom(addr(i), uint16(p))
					c := a.channelTo(peer)
					if c != nil && chans[c.number] != peer {
						t.Fatalf("%s leads to channel %d", peer, c.number)
					}
				}
			}
		}
	}
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
		table.remove(key(i), &Relay{}) // not this one
		table.remove(key(i), relays[i])
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
