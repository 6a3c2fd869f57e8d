package fleet

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/ties"
)

// startTied starts a machine that shares who may talk with whom.
func startTied(t *testing.T, url, name string) (*box, *ties.Book) {
	b := ties.New(nil)
	return start(t, url, name, "", func(c *Config) { c.Ties, c.TiesFor = b, func() time.Duration { return time.Hour } }), b
}

// Every machine knows who may talk with whom, also one that came later, after Redis was emptied, and without what was missed.
func TestTiesOverTheFleet(t *testing.T) {
	url := redisAt(serveRedis(t))
	one, a := startTied(t, url, "one")
	two, b := startTied(t, url, "two")
	one.until("both are there", func() bool { return one.upNow() == 2 && two.upNow() == 2 })
	since := time.Now().Add(-time.Minute)
	relay, host := netip.MustParseAddrPort("10.0.0.1:50000"), netip.MustParseAddr("192.0.2.7")
	a.Authorized("alice", "bob")
	a.SeenAt("alice", host)
	a.Opened("alice", relay)
	knows := func(m *box, b *ties.Book) {
		t.Helper()
		m.until("it knows them", func() bool { return b.Partner("bob", relay, since) && b.SeenPartner("bob", host, since) })
	}
	knows(two, b)
	if b.Partner("carol", relay, since) || b.SeenPartner("carol", host, since) {
		t.Error("another Node")
	}

	three, c := startTied(t, url, "three")
	knows(three, c)

	one.client.FlushAll(t.Context())
	four, d := startTied(t, url, "four")
	knows(four, d)

	// What was said and not heard is fetched.
	one.toldTies.mu.Lock()
	one.toldTies.seq += 3
	one.toldTies.mu.Unlock()
	two.until("the last word is known", func() bool { return two.upNow() == 4 })
	a.Ended(relay)
	second := netip.MustParseAddrPort("10.0.0.1:50001")
	a.Opened("alice", second)
	for m, b := range map[*box]*ties.Book{two: b, three: c, four: d} {
		m.until("it knows the other relay alone", func() bool {
			_, old := b.Held(relay)
			return !old && b.Partner("bob", second, since)
		})
		m.until("nothing is missing any more", func() bool {
			m.heardTies.mu.Lock()
			defer m.heardTies.mu.Unlock()
			of := m.heardTies.of[one.boot]
			return of != nil && !of.missed
		})
	}

	one.die()
	for m, b := range map[*box]*ties.Book{two: b, three: c, four: d} {
		m.until("the relays of a machine that is gone are forgotten", func() bool { _, held := b.Held(second); return !held })
		if !b.AuthorizedSince("alice", "bob", since) {
			t.Error("who may talk is forgotten with it")
		}
	}
}

// Where nobody asks for them, nothing is shared, and all is when that changes.
func TestTiesWhereNobodyAsks(t *testing.T) {
	url := redisAt(serveRedis(t))
	var wanted atomic.Int64
	a := ties.New(nil)
	one := start(t, url, "one", "", func(c *Config) { c.Ties, c.TiesFor = a, func() time.Duration { return time.Duration(wanted.Load()) } })
	two, b := startTied(t, url, "two")
	one.until("both are there", func() bool { return one.upNow() == 2 && two.upNow() == 2 })
	a.Authorized("alice", "bob")
	one.until("it is taken note of", func() bool {
		one.toldTies.mu.Lock()
		defer one.toldTies.mu.Unlock()
		return one.toldTies.behind
	})
	if n, err := one.client.HLen(t.Context(), tiesKey).Result(); err != nil || n > 1 {
		t.Errorf("%d in Redis, %v", n, err)
	}
	if b.AuthorizedSince("alice", "bob", time.Unix(1, 0)) {
		t.Error("it was shared")
	}
	wanted.Store(int64(time.Hour))
	two.until("it is shared", func() bool { return b.AuthorizedSince("alice", "bob", time.Now().Add(-time.Minute)) })
}

// Where the machines have their relays is told when it changes, of those alone that are there.
func TestRelaying(t *testing.T) {
	url := redisAt(serveRedis(t))
	var told atomic.Pointer[[]Relaying]
	told.Store(new([]Relaying))
	one := start(t, url, "one", "", func(c *Config) { c.Relaying = func(all []Relaying) { told.Store(&all) } })
	two := start(t, url, "two", "")
	one.until("both are there", func() bool { return one.upNow() == 2 })
	if len((*told.Load())) != 0 {
		t.Errorf("%+v", (*told.Load()))
	}
	two.mu.Lock()
	two.self.Relays, two.self.RelayMin, two.self.RelayMax = []netip.Addr{netip.MustParseAddr("10.0.0.2")}, 50000, 50099
	two.mu.Unlock()
	one.until("it knows where two relays", func() bool {
		all := (*told.Load())
		return len(all) == 1 && all[0].Boot == two.boot && all[0].Addrs[0].String() == "10.0.0.2" && all[0].Min == 50000 && all[0].Max == 50099
	})
	two.die()
	one.until("two is gone", func() bool { return len((*told.Load())) == 0 })
}
