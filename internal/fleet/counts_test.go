package fleet

import (
	"maps"
	"sync"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/tally"
)

// countedHere is what a machine of a test counts. Its zero value counts nothing.
type countedHere struct {
	mu      sync.Mutex
	ledger  string
	changed map[string]int
	used    map[string]uint64
	told    map[string]uint64
}

func (c *countedHere) Live() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.changed
	c.changed = nil
	return all
}

func (c *countedHere) Used(_ int, all bool) Used {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := Used{Ledger: c.ledger, Month: 24_000, Nodes: map[string]uint64{}}
	for node, n := range c.used {
		u.Bytes += n
		if all || c.told[node] != n {
			u.Nodes[node] = n
		}
	}
	c.told = maps.Clone(c.used)
	return u
}

// startCounting starts a machine that counts.
func startCounting(t *testing.T, url, name, ledger string) (*box, *countedHere) {
	c := &countedHere{ledger: ledger}
	return start(t, url, name, "", func(cfg *Config) { cfg.Counted = c }), c
}

func (c *countedHere) open(node string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.changed == nil {
		c.changed = map[string]int{}
	}
	c.changed[node] = n
}

func (c *countedHere) use(node string, n uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.used == nil {
		c.used = map[string]uint64{}
	}
	c.used[node] = n
}

func (b *box) counts(node string, live int, used uint64) {
	b.t.Helper()
	b.until("it counts "+node, func() bool { return b.LiveElsewhere(node) == live && b.UsedElsewhere(24_000, node) == used })
}

// Every machine counts what the others have, also one that came later, after Redis was emptied, and after a machine was restarted.
func TestCountsOverTheFleet(t *testing.T) {
	server := serveRedis(t)
	url := redisAt(server)
	one, a := startCounting(t, url, "one", "A")
	two, b := startCounting(t, url, "two", "B")
	one.until("both are there", func() bool { return one.upNow() == 2 && two.upNow() == 2 })
	a.open("alice", 2)
	a.use("alice", 1000)
	a.use("bob", 1)
	two.counts("alice", 2, 1000)
	two.counts("", 0, 1001)
	one.counts("alice", 0, 0) // its own do not count twice
	b.open("alice", 1)
	one.counts("alice", 1, 0)
	a.open("alice", 0)
	two.counts("alice", 0, 1000)
	a.open("alice", 3)

	three, _ := startCounting(t, url, "three", "C")
	three.counts("alice", 4, 1000)
	three.counts("", 0, 1001)

	one.client.FlushAll(t.Context())
	four, _ := startCounting(t, url, "four", "D")
	four.counts("alice", 4, 1000)

	// Gone without a word: its allocations end, what it has used stays, and is not counted twice when it is there again.
	one.die()
	for _, m := range []*box{two, three, four} {
		want := 1
		if m == two {
			want = 0
		}
		m.counts("alice", want, 1000)
	}
	two.client.FlushAll(t.Context())
	five, _ := startCounting(t, url, "five", "E")
	five.counts("alice", 1, 1000)
	_, again := startCounting(t, url, "one", "A")
	again.use("alice", 1500)
	for _, m := range []*box{two, three, four, five} {
		m.until("it counts once", func() bool { return m.UsedElsewhere(24_000, "alice") == 1500 })
	}
	if n := five.UsedElsewhere(23_999, "alice") + five.UsedElsewhere(24_001, "alice"); n != 0 {
		t.Errorf("%d in another month", n)
	}
}

// Who has missed what another said fetches it, and what came later counts again on top.
func TestCountsThatWereMissed(t *testing.T) {
	all := startMany(t, redisAt(serveRedis(t)), 2, func(c *Config) { c.gone = soon })
	f, from := all[0].Fleet, all[1].boot
	all[1].die()
	say := func(seq uint64, node string, n uint64) {
		f.takeShare(from, share{Seq: seq, Live: tally.Counts{tally.MarkOf(node): n}.Encode()})
	}
	f.elsewhere.mu.Lock()
	f.elsewhere.of[from] = &tallied{}
	f.elsewhere.mu.Unlock()
	say(1, "a", 1)
	say(3, "a", 3) // 2 was missed
	say(4, "b", 4)
	say(4, "b", 5) // a second time
	whole := func(seq uint64, c tally.Counts) { f.replaceLive(from, share{Seq: seq, Live: c.Encode()}) }
	whole(1, tally.Counts{tally.MarkOf("c"): 7})
	if n := f.LiveElsewhere("c"); n != 0 {
		t.Errorf("what is older than what was missed was taken: %d", n)
	}
	whole(3, tally.Counts{tally.MarkOf("a"): 3, tally.MarkOf("c"): 7})
	for node, want := range map[string]int{"a": 3, "b": 4, "c": 7} {
		if n := f.LiveElsewhere(node); n != want {
			t.Errorf("%s: %d", node, n)
		}
	}
	f.takeShare("nobody", share{Seq: 1, Live: tally.Counts{tally.MarkOf("a"): 9}.Encode()})
	f.takeShare(from, share{Seq: 5, Live: []byte("x"), Ledger: "x", Month: 1, Used: []byte("y")})
	if n := f.LiveElsewhere("a"); n != 3 || f.Counts().Malformed == 0 {
		t.Errorf("%d, %+v", n, f.Counts())
	}
}
