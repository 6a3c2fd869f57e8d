package fleet

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func region(name string, all ...Region) option {
	return func(c *Config) { c.Region, c.Regions = name, all }
}

// hosts are the machines that the URLs lead to, in their order.
func hosts(urls []string) (all []string) {
	for _, u := range urls {
		_, rest, _ := strings.Cut(u, ":")
		host, _, _ := strings.Cut(rest, "?")
		if !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}

func (b *box) be(change func(s *Self)) {
	b.mu.Lock()
	change(&b.self)
	b.mu.Unlock()
	b.hurry()
}

func (b *box) pick(source string) []string {
	b.mu.Lock()
	own := b.self
	b.mu.Unlock()
	a, _ := netip.ParseAddr(source)
	stun, turn := own.STUN, own.TURN
	if first, second := b.Pick(a); first != nil {
		one := first.([2][]string)
		stun, turn = one[0], one[1]
		if second != nil {
			other := second.([2][]string)
			stun, turn = slices.Concat(stun, other[0]), slices.Concat(turn, other[1])
		}
	}
	if len(stun) > 2 || len(turn) > maxTURN {
		b.t.Errorf("%d STUN and %d TURN URLs", len(stun), len(turn))
	}
	return turn
}

// always waits until none of many answers leads elsewhere than to the wanted machines, and all of those come up.
func (b *box) always(what, source string, want ...string) {
	b.t.Helper()
	b.until(what, func() bool {
		seen := map[string]bool{}
		for range 200 {
			for _, host := range hosts(b.pick(source)) {
				seen[host] = true
			}
		}
		for _, w := range want {
			if !seen[w] {
				return false
			}
		}
		return len(seen) == len(want)
	})
}

func TestPick(t *testing.T) {
	url := redisAt(serveRedis(t))
	near := []Region{{netip.MustParsePrefix("10.0.0.0/8"), "us"}, {netip.MustParsePrefix("10.1.0.0/16"), "eu"}, {netip.MustParsePrefix("2001:db8::/32"), "us"}}
	all := []*box{}
	for name, where := range map[string]string{"eu-1": "eu", "eu-2": "eu", "us-1": "us"} {
		all = append(all, start(t, url, name, "", region(where, near...)))
	}
	by := map[string]*box{}
	for _, b := range all {
		b.until("it sees all", func() bool { return b.upNow() == 3 })
		by[b.name] = b
	}
	eu1, eu2, us := by["eu-1"], by["eu-2"], by["us-1"]
	eu1.always("its region", "", "eu-1", "eu-2")
	us.always("both of a region by the address", "10.1.2.3", "eu-1", "eu-2")
	us.always("an address of no region", "192.0.2.1", "us-1", "eu-1", "eu-2")
	eu1.always("a region of one machine, and any other", "10.2.0.1", "us-1", "eu-1", "eu-2")
	for _, source := range []string{"10.2.0.1", "::ffff:10.2.0.1", "2001:db8::1%x"} {
		if got := hosts(eu1.pick(source)); len(got) != 2 || got[0] != "us-1" {
			t.Errorf("%s is sent to %v", source, got)
		}
	}
	us.be(func(s *Self) { s.FreePorts = 0 })
	eu1.always("one that is full", "10.2.0.1", "eu-1", "eu-2")
	us.be(func(s *Self) { s.FreePorts = 100 })
	eu1.always("one that has room again", "10.2.0.1", "us-1", "eu-1", "eu-2")
	eu1.Drain()
	eu1.always("one that drains itself", "", "eu-2", "us-1")
	eu2.always("one that drains", "", "eu-2", "us-1")
	us.end()
	eu2.always("one that has left", "", "eu-2")
	eu2.be(func(s *Self) { s.Limit, s.Allocations = 1, 1 })
	eu2.always("nobody has room: its own", "", "eu-2")
}

// A machine that is gone without a word is out of the answers, and one that does not take the credential never in.
func TestPickNoSilentNorStrange(t *testing.T) {
	server := serveRedis(t)
	all := startMany(t, redisAt(server), 2)
	start(t, redisAt(server), "other", "", secrets("another secret"))
	all[0].until("it is named", func() bool { return all[0].state("other") == Strange })
	all[0].always("both", "", "m0", "m1")
	all[1].die()
	all[0].until("it is silent", func() bool { return all[0].state("m1") == Silent })
	all[0].always("the one that is left", "", "m0")
	all[0].until("it is found", func() bool { return strings.Contains(all[0].foundNow()["fleet.silent"], "m1") })
	again := start(t, redisAt(server), "m1", all[1].dir)
	all[0].until("it is there again, once", func() bool { return all[0].upNow() == 2 && len(all[0].Machines()) == 3 })
	all[0].always("both again", "", "m0", "m1")
	again.always("both too", "", "m0", "m1")
}

func TestMoreRoomIsChosenMoreOften(t *testing.T) {
	p := &places{by: map[string][]*place{}}
	for i := range 4 {
		p.by[""] = append(p.by[""], &place{room: float64(i)})
	}
	first := map[float64]int{}
	for range 4000 {
		one, other := p.pick("nowhere", dice(rand.Uint64()))
		if one == nil || other == nil || one == other {
			t.Fatalf("%v and %v", one, other)
		}
		first[one.room]++
	}
	// Of 16 pairs the best is in 7, and the worst alone in 1.
	if first[3] < 1500 || first[3] > 2000 || first[0] < 150 || first[0] > 350 {
		t.Errorf("%v", first)
	}
}

func TestHalf(t *testing.T) {
	for name, c := range map[string]struct{ urls, want string }{
		"three": {"turn:a?transport=udp turn:a?transport=tcp turns:a?transport=tcp", "turn:a?transport=udp turn:a?transport=tcp turns:a?transport=tcp"},
		"each family": {
			"turn:4?transport=udp turn:6?transport=udp turn:4?transport=tcp turn:6?transport=tcp turns:4?transport=tcp turns:6?transport=tcp",
			"turn:4?transport=udp turn:4?transport=tcp turns:4?transport=tcp",
		},
		"one kind": {"turn:1?transport=udp turn:2?transport=udp turn:3?transport=udp turn:4?transport=udp", "turn:1?transport=udp turn:2?transport=udp turn:3?transport=udp"},
		"none":     {"", ""},
	} {
		if got := strings.Join(half(strings.Fields(c.urls)), " "); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// What differs is named, but where one is a later version that has more to say.
func TestDifferencesAreNamed(t *testing.T) {
	all := startMany(t, redisAt(serveRedis(t)), 2)
	all[1].be(func(s *Self) { s.Same = map[string]string{"turn.realm": "another", "a later version's": "x"} })
	all[0].until("it is named", func() bool {
		return strings.Contains(all[0].foundNow()["fleet.machine.m1"], "has another turn.realm than")
	})
	all[1].be(func(s *Self) { s.Same = map[string]string{"turn.realm": "crolang"} })
	all[0].until("it is well", func() bool { return len(all[0].foundNow()) == 0 })
}
