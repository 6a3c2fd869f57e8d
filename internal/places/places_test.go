package places

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/household"
)

// hall is a Hall with a clock of its own, for clients that do nothing but come and go.
type hall struct {
	testing.TB
	*Hall
	time time.Time
	gone map[*Seat]bool // displaced
}

func newHall(t testing.TB, total, strangers, perSource int) *hall {
	h := &hall{TB: t, Hall: New(total, strangers, perSource), time: time.Unix(1e9, 0), gone: make(map[*Seat]bool)}
	h.Clock(func() time.Time { return h.time })
	return h
}

func (h *hall) come(ip string) (*Seat, Verdict) {
	h.Helper()
	s, away, v := h.Take(netip.MustParseAddr(ip), false, nil)
	if away != nil {
		h.gone[away] = true
	}
	if (s == nil) != (v != Seated) {
		h.Fatalf("%s: %v with verdict %d", ip, s, v)
	}
	return s, v
}

func (h *hall) mustCome(ip string) *Seat {
	h.Helper()
	s, v := h.come(ip)
	if s == nil {
		h.Fatalf("%s is not let in: %d", ip, v)
	}
	return s
}

// TestNewSourceGetsAPlace fills a hall in ways that make a crowd of few, of a net, and of many.
func TestNewSourceGetsAPlace(t *testing.T) {
	for name, test := range map[string]struct {
		crowd   func(i int) string
		bystand []string // honest clients that were there before the crowd
		newcome string
	}{
		"few addresses":    {func(i int) string { return fmt.Sprintf("10.0.0.%d", i%16) }, []string{"10.0.0.200", "192.0.2.1"}, "10.0.0.201"},
		"one IPv4 net":     {func(i int) string { return fmt.Sprintf("10.0.0.%d", i) }, []string{"10.0.1.1", "2001:db8::1"}, "10.0.1.2"},
		"one IPv6 network": {func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i) }, []string{"10.0.1.1", "2001:db9::1"}, "2001:db9:0:1::2"},
		"one IPv6 site":    {func(i int) string { return fmt.Sprintf("2001:db8:0:%x::1", i%256) }, []string{"2001:db8:0:1000::1"}, "2001:db8:0:1001::1"},
		"many /56 of a /48": {func(i int) string { return fmt.Sprintf("2001:db8:0:%x00::1", i) }, []string{"2001:db8:1::1", "2001:db8:2::1"},
			"2001:db8:3::1"},
	} {
		t.Run(name, func(t *testing.T) {
			const total = 256
			h := newHall(t, total, total, 0)
			var honest []*Seat
			for _, ip := range test.bystand {
				honest = append(honest, h.mustCome(ip))
			}
			for round := range 8 {
				for i := range 256 {
					h.come(test.crowd(i))
				}
				if open, _, _ := h.Size(); open > total {
					t.Fatalf("%d are in", open)
				}
				if round == 4 {
					honest = append(honest, h.mustCome(test.newcome))
				}
				h.time = h.time.Add(Grace / 5)
			}
			for i, s := range honest {
				if h.gone[s] {
					t.Errorf("honest client %d was displaced", i)
				}
			}
		})
	}
}

// TestEverybodyHasOne has a new source let in where no source, and no net, has more than another.
func TestEverybodyHasOne(t *testing.T) {
	h := newHall(t, 64, 64, 0)
	first := h.mustCome("10.0.0.1")
	for i := range 63 {
		h.mustCome(fmt.Sprintf("10.%d.0.1", i+1))
	}
	h.mustCome("11.0.0.1")
	if !h.gone[first] || len(h.gone) != 1 {
		t.Error("the oldest has not given way")
	}
	// One that has a place gets no second one while others have as many.
	if s, v := h.come("11.0.0.1"); s != nil || v != OverShare {
		t.Errorf("got a second place: %d", v)
	}
	h.time = h.time.Add(Grace)
	h.mustCome("11.0.0.1") // but may begin anew in the place of what has had its time
}

// TestShare has one source hold an eighth, or connections_per_ip, and no more; its old strangers make room.
func TestShare(t *testing.T) {
	for perSource, want := range map[int]int{0: 8, 100: 8, 3: 3} {
		h := newHall(t, 64, 64, perSource)
		var all []*Seat
		for range want {
			all = append(all, h.mustCome("2001:db8::1"))
		}
		h.Keep(all[0], true)
		if s, v := h.come("2001:db8::ffff"); s != nil || v != OverShare {
			t.Errorf("%d: one more is let in", perSource)
		}
		h.mustCome("2001:db8:0:1::1")
		h.time = h.time.Add(Grace)
		h.mustCome("2001:db8::2")
		if !h.gone[all[1]] || len(h.gone) != 1 {
			t.Errorf("%d: %v gave way, want the oldest without an allocation", perSource, h.gone)
		}
		for _, s := range all[1:] {
			h.Keep(s, true)
		}
	}
	h := newHall(t, 8, 8, 0)
	h.Limit(5)
	h.mustCome("10.0.0.1")
	if s, _ := h.come("10.0.0.1"); s != nil {
		t.Error("an eighth of 8 is 2")
	}
}

// TestAllocationsAreKept fills a hall with clients that have allocations: nobody else gets in, and none of them goes.
func TestAllocationsAreKept(t *testing.T) {
	h := newHall(t, 32, 32, 0)
	var kept []*Seat
	for i := range 32 {
		s := h.mustCome(fmt.Sprintf("10.0.0.%d", i))
		h.Keep(s, true)
		kept = append(kept, s)
	}
	h.time = h.time.Add(time.Hour)
	if s, v := h.come("10.0.1.1"); s != nil || v != Full {
		t.Errorf("let in: %d", v)
	}
	if h.Displace() {
		t.Error("somebody with an allocation was displaced")
	}
	h.Keep(kept[7], false)
	h.mustCome("10.0.1.1")
	if !h.gone[kept[7]] || len(h.gone) != 1 {
		t.Errorf("gave way: %v", h.gone)
	}
	h.Keep(kept[7], true) // too late
	if open, strangers, _ := h.Size(); open != 32 || strangers != 1 {
		t.Errorf("%d are in, %d strangers", open, strangers)
	}
}

// TestPlacesAddUp does anything in any order, and compares the counts with those that a walk over all seats gives.
func TestPlacesAddUp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	h := newHall(t, 200, 150, 40)
	type client struct {
		*Seat
		kept bool
	}
	var all []*client
	for range 50_000 {
		h.time = h.time.Add(time.Duration(r.IntN(20)) * time.Millisecond)
		switch n := r.IntN(10); {
		case n < 5:
			ip := fmt.Sprintf("10.0.%d.%d", r.IntN(3), r.IntN(8))
			if n < 2 {
				ip = fmt.Sprintf("2001:db8:%x:%x::%x", r.IntN(2), r.IntN(700), r.IntN(9))
			}
			source := household.Of(netip.MustParseAddr(ip)).Addr()
			before := h.held[source] + h.strangersOf(source, byAddress)
			if s, v := h.come(ip); s != nil {
				all = append(all, &client{Seat: s})
			} else if before == 0 && v != Full {
				t.Fatalf("a new source is refused: %d", v)
			}
		case len(all) == 0:
		case n < 7:
			c := all[r.IntN(len(all))]
			if c.kept = !c.kept; !c.gone {
				h.Keep(c.Seat, c.kept)
			}
		case n == 7:
			h.Settle(all[r.IntN(len(all))].Seat)
		default:
			h.Release(all[r.IntN(len(all))].Seat)
		}
		left := all[:0]
		for _, c := range all {
			if !c.gone {
				left = append(left, c)
			} else if c.kept && h.gone[c.Seat] {
				t.Fatal("a client with an allocation was displaced")
			}
		}
		all = left
		if r.IntN(50) == 0 {
			seats := make([]*Seat, 0, len(all))
			for _, c := range all {
				seats = append(seats, c.Seat)
			}
			h.check(seats)
		}
	}
	for _, c := range all {
		h.Release(c.Seat)
		h.Release(c.Seat)
	}
	h.check(nil)
	h.time = h.time.Add(Grace)
	h.purge(h.time)
	if n := h.ranks[altogether].most + len(h.ranks[byAddress].groups) + h.ghosts.Len(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// TestLeaversCount has a source come and leave without end while another one stays: it is let in as often as if it had
// stayed itself, and nobody has to go for it.
func TestLeaversCount(t *testing.T) {
	h := newHall(t, 64, 64, 0)
	for i := range 60 {
		h.mustCome(fmt.Sprintf("10.%d.0.1", i))
	}
	in := 0
	for range 1000 {
		if s, _ := h.come("11.0.0.1"); s != nil {
			in++
			h.Release(s)
		}
	}
	if in != 4 || len(h.gone) != 0 {
		t.Errorf("let in %d times; %d had to go", in, len(h.gone))
	}
	h.mustCome("12.0.0.1") // in the place of one of those that have left
	if len(h.gone) != 0 {
		t.Error("somebody had to go for one that has left")
	}
	if open, strangers, _ := h.Size(); open != 61 || strangers != 61 {
		t.Errorf("%d are in, %d strangers", open, strangers)
	}
	h.time = h.time.Add(Grace)
	h.mustCome("11.0.0.1")
	if h.ghosts.Len() != 0 {
		t.Errorf("%d ghosts", h.ghosts.Len())
	}
}

// check compares what is counted with a walk over all seats.
func (h *hall) check(all []*Seat) {
	h.Helper()
	held := make(map[netip.Addr]int)
	var strangers [widths]map[netip.Addr]int
	unsettled, most := 0, [widths]int{}
	ghosts := 0
	for e := h.ghosts.Front(); e != nil; e = e.Next() {
		ghosts++
		if s := e.Value.(*Seat); !s.gone || s.ghost != e {
			h.Fatal("a ghost that is none")
		}
	}
	for i := range strangers {
		strangers[i] = make(map[netip.Addr]int)
	}
	for _, s := range all {
		held[s.source]++
		if !s.settled {
			unsettled++
		}
	}
	for e := h.ghosts.Front(); e != nil; e = e.Next() {
		all = append(all[:len(all):len(all)], e.Value.(*Seat))
	}
	for _, s := range all {
		for i := range strangers {
			if s.groups[i] != nil {
				k := wider(s.source, i)
				strangers[i][k]++
				most[i] = max(most[i], strangers[i][k])
			}
		}
	}
	all = all[:len(all)-ghosts]
	if h.open != len(all) || len(h.held) != len(held) || len(h.unsettled) != unsettled {
		h.Fatalf("open %d of %d, sources %d of %d, unsettled %d of %d", h.open, len(all), len(h.held), len(held), len(h.unsettled), unsettled)
	}
	for k, n := range held {
		if h.held[k] != n || n > h.share() {
			h.Fatalf("%s holds %d, counted %d, may hold %d", k, n, h.held[k], h.share())
		}
	}
	for i := range h.ranks {
		r := &h.ranks[i]
		if r.most != most[i] || len(r.groups) != len(strangers[i]) {
			h.Fatalf("width %d: most %d of %d, groups %d of %d", i, r.most, most[i], len(r.groups), len(strangers[i]))
		}
		for k, n := range strangers[i] {
			if g := r.groups[k]; g == nil || g.seats.Len() != n {
				h.Fatalf("width %d: %s has %d", i, k, n)
			}
		}
		total := 0
		for n, l := range r.counts {
			total += n * l.Len()
		}
		if total != r.ranks() {
			h.Fatalf("width %d: %d are ranked", i, total)
		}
	}
}

func (r *ranking) ranks() (n int) {
	for _, g := range r.groups {
		n += g.seats.Len()
	}
	return n
}

// BenchmarkPlaces has 64k sources come to a full hall.
func BenchmarkPlaces(b *testing.B) {
	p := New(16<<10, 16<<10, 0)
	var ip [4]byte
	b.ReportAllocs()
	for i := range b.N {
		ip = [4]byte{10, byte(i >> 9), byte(i), 1}
		p.Take(netip.AddrFrom4(ip), false, nil)
	}
}
