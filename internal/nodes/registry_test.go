package nodes

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// clock is a clock that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	c.t = c.t.Add(d)
	c.mu.Unlock()
}

func newRegistry(t testing.TB, cfg Config) *Registry {
	t.Helper()
	if cfg.DataDir == "" {
		cfg.DataDir = t.TempDir()
	}
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *Registry) knows(id string) bool {
	_, _, ok := r.Lookup(id)
	return ok
}

func TestConfigErrors(t *testing.T) {
	for _, cfg := range []Config{{}, {DataDir: t.TempDir(), MaxNodes: -1}, {DataDir: t.TempDir(), MaxBans: -1}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v was accepted", cfg)
		}
	}
}

func TestLeastRecentlySeenGoFirst(t *testing.T) {
	r := newRegistry(t, Config{MaxNodes: 10})
	for i := range 10 {
		r.Refused(fmt.Sprint("n", i), "x")
	}
	r.Refused("n0", "y")
	for i := 10; i < 15; i++ {
		r.Refused(fmt.Sprint("n", i), "x")
	}
	for i := range 15 {
		want := i == 0 || i >= 6
		if r.knows(fmt.Sprint("n", i)) != want {
			t.Errorf("n%d remembered: %v, want %v", i, !want, want)
		}
	}
	if st := r.Stats(); st.Nodes != 10 || st.Evicted != 5 {
		t.Errorf("stats %+v", st)
	}
}

func TestStrangersDoNotDisplaceTheKnown(t *testing.T) {
	r := newRegistry(t, Config{MaxNodes: 100})
	ids := []string{}
	for i := range 60 {
		ids = append(ids, fmt.Sprint("known", i))
	}
	r.Validated(ids)
	for i := range 1000 {
		r.Refused(fmt.Sprint("invented", i), "credential unknown")
	}
	for _, id := range ids {
		if !r.Connected(id) {
			t.Fatalf("%s was forgotten", id)
		}
	}
	if st := r.Stats(); st.Nodes != 100 || st.Connected != 60 {
		t.Errorf("stats %+v", st)
	}
	// The known displace strangers down to a quarter, then each other.
	for i := range 200 {
		r.Issued(fmt.Sprint("other", i), time.Now())
	}
	if r.knows("known0") {
		t.Error("the oldest known Node is still there")
	}
	strangers := 0
	list, _ := r.List("invented", 0)
	for range list {
		strangers++
	}
	if strangers != 25 {
		t.Errorf("%d strangers left, want 25", strangers)
	}
}

// allocation stands for a live one.
type allocation struct{ ID, Node string }

// fakeRelays stands for the TURN server.
type fakeRelays struct {
	mu     sync.Mutex
	list   []allocation
	closed []string
	onShut func(node string)
}

func (f *fakeRelays) LiveByNode() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	live := make(map[string]int)
	for _, a := range f.list {
		live[a.Node]++
	}
	return live
}

func (f *fakeRelays) CloseNode(node, cause string) int {
	if f.onShut != nil {
		f.onShut(node)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	n, kept := 0, f.list[:0]
	for _, a := range f.list {
		if a.Node == node {
			n++
			f.closed = append(f.closed, a.ID+" "+cause)
			continue
		}
		kept = append(kept, a)
	}
	f.list = kept
	return n
}

func TestLiveNodesAreNeverDropped(t *testing.T) {
	r := newRegistry(t, Config{MaxNodes: 50})
	relays := &fakeRelays{list: []allocation{{ID: "a", Node: "live0"}}}
	r.Attach(relays)
	for i := range 80 {
		r.Opened(fmt.Sprint("live", i), "allocated udp")
	}
	flood := func() {
		for i := range 500 {
			r.Refused(fmt.Sprint("x", i), "x")
			r.Issued(fmt.Sprint("y", i), time.Now())
		}
	}
	flood()
	for i := range 80 {
		if !r.knows(fmt.Sprint("live", i)) {
			t.Fatalf("live%d was dropped", i)
		}
	}
	r.Ended("live79", "closed by the client")
	r.Ended("live79", "a second close must not count below zero")
	flood()
	if r.knows("live79") {
		t.Error("live79 has nothing open and is still there")
	}
	// What the TURN server says corrects what was noted: only live0 is left.
	r.tidy()
	flood()
	if !r.knows("live0") || r.knows("live1") {
		t.Errorf("live0 remembered %v, live1 %v", r.knows("live0"), r.knows("live1"))
	}
	if n := r.Stats().Nodes; n > 50 {
		t.Errorf("%d Nodes remembered", n)
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestMemoryOf100000Nodes(t *testing.T) {
	before := heap()
	r := newRegistry(t, Config{})
	for i := range 100_000 {
		id := fmt.Sprintf("node-%08d-abcdefgh", i)
		r.Issued(id, time.Now())
		r.Opened(id, "allocated 203.0.113.5:50123 on udp, credential ends 12:05:00 UTC")
		r.Refused(id, "peer 10.0.0.5 refused: private address, see turn.peers.allow")
		r.Ended(id, "allocation closed after 42 s: by the client")
	}
	used := heap() - before
	if n := r.Stats().Nodes; n != 100_000 {
		t.Errorf("%d of 100000 Nodes remembered", n)
	}
	t.Logf("100000 Nodes with 4 events each: %d MB", used>>20)
	if used > 60<<20 {
		t.Errorf("they take %d MB", used>>20)
	}
	runtime.KeepAlive(r)
}

func TestInventedIdsLeaveMemoryBounded(t *testing.T) {
	r := newRegistry(t, Config{})
	long := strings.Repeat("x", 240)
	fill := func(from, to int) {
		for i := from; i < to; i++ {
			id := fmt.Sprintf("%08d%s", i, long)
			r.Observed(id, long)
			r.Refused(id, long)
			r.Authorized("same", id)
		}
	}
	before := heap()
	fill(0, 200_000)
	first := heap() - before
	fill(200_000, 300_000)
	second := heap() - before
	t.Logf("after 200000 ids %d MB, after 300000 ids %d MB", first>>20, second>>20)
	if n := r.Stats().Nodes; n < 100_000 || n > DefaultMaxNodes {
		t.Errorf("%d Nodes remembered", n)
	}
	if second > first+first/4 || second > 300<<20 {
		t.Error("memory grows with the number of invented ids")
	}
	runtime.KeepAlive(r)
}

func TestConcurrentUse(t *testing.T) {
	r := newRegistry(t, Config{MaxNodes: 500})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- r.Run(ctx) }()
	events := r.Subscribe(ctx)
	go func() {
		for range events {
		}
	}()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				id := fmt.Sprint("n", (i*7+g)%700)
				r.Opened(id, "a")
				r.SeenAt(id, addr(i))
				r.Authorized(id, "n1")
				r.Issued(id, time.Now())
				r.Validated([]string{id, "n2"})
				r.AuthorizedSince(id, "n1", time.Time{})
				r.SeenPartner("n1", addr(i), time.Time{})
				r.Ended(id, "c")
				r.Lookup(id)
				if i%100 == 0 {
					r.List("n", 5)
					r.Stats()
					r.tidy()
				}
			}
		})
	}
	wg.Wait()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func BenchmarkNote(b *testing.B) {
	r := newRegistry(b, Config{})
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		i := 0
		ids := make([]string, 1000)
		for j := range ids {
			ids[j] = fmt.Sprint("node", j)
		}
		for pb.Next() {
			i++
			r.Refused(ids[i%1000], detailsForBench[i%3])
		}
	})
}

var detailsForBench = [3]string{"allocation refused: credential expired 42 s ago", "peer 10.0.0.5 refused: private address", "16 of 16 in use"}
