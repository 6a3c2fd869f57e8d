package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

const soon = 20 * time.Second

// box is a machine of a test's fleet, with a registry and relays of its own.
type box struct {
	*Fleet
	t      testing.TB
	name   string
	dir    string
	reg    *nodes.Registry
	relays *relays
	client redis.UniversalClient
	cancel func()
	done   chan struct{}

	mu    sync.Mutex
	self  Self
	here  []string // connected Nodes
	found []findings.Finding
}

// relays are a count of live relays by Node.
type relays struct {
	mu   sync.Mutex
	live map[string]int
}

func (r *relays) CloseNode(node, _ string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := r.live[node]
	delete(r.live, node)
	return n
}

func (r *relays) LiveByNode() map[string]int { return nil }

func (r *relays) open(node string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.live == nil {
		r.live = map[string]int{}
	}
	r.live[node] = n
}

// option changes what a box is made of.
type option func(*Config)

func secrets(all ...string) option { return func(c *Config) { c.Secrets = all } }

// start starts a machine with the data_dir dir; "" is a new one.
func start(t testing.TB, url, name, dir string, opts ...option) *box {
	t.Helper()
	if dir == "" {
		dir = t.TempDir()
	}
	reg, err := nodes.New(nodes.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	client, err := redisurl.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	b := &box{t: t, name: name, dir: dir, reg: reg, relays: &relays{}, client: client, done: make(chan struct{})}
	b.self = Self{
		Version: "test", STUN: []string{"stun:" + name}, Ports: 100, FreePorts: 100,
		TURN: []string{"turn:" + name + "?transport=udp", "turn:" + name + "?transport=tcp"},
		Same: map[string]string{"turn.realm": "crolang"},
	}
	reg.Attach(b.relays)
	cfg := Config{
		Redis: client, Name: name, Settings: Settings{Secrets: []string{"the secret"}}, Dir: dir, Bans: reg,
		Self: func() Self {
			b.mu.Lock()
			defer b.mu.Unlock()
			return b.self
		},
		Found: func(now []findings.Finding) {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.found = now
		},
		Write: func(stun, turn []string) any { return [2][]string{stun, turn} },
		Connected: func() []string {
			b.mu.Lock()
			defer b.mu.Unlock()
			return slices.Clone(b.here)
		},
		beat: 100 * time.Millisecond, gone: time.Second,
	}
	for _, o := range opts {
		o(&cfg)
	}
	if b.Fleet, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer close(b.done)
		if err := b.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	b.cancel = cancel
	t.Cleanup(b.end)
	return b
}

// end ends it in order.
func (b *box) end() {
	b.cancel()
	<-b.done
	_ = b.client.Close()
}

// startMany starts n machines, and waits until each sees all.
func startMany(t testing.TB, url string, n int, opts ...option) []*box {
	t.Helper()
	var all []*box
	for i := range n {
		all = append(all, start(t, url, fmt.Sprint("m", i), "", opts...))
	}
	for _, b := range all {
		b.until("it sees all machines", func() bool { return b.upNow() == n })
	}
	return all
}

func (b *box) upNow() (n int) {
	for _, m := range b.Machines() {
		if m.State != Silent && m.State != Left && m.State != Strange {
			n++
		}
	}
	return n
}

func (b *box) state(name string) State {
	for _, m := range b.Machines() {
		if m.Name == name {
			return m.State
		}
	}
	return ""
}

func (b *box) foundNow() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := map[string]string{}
	for _, f := range b.found {
		all[f.ID] = f.Detail
	}
	return all
}

// until waits for something that comes about.
func (b *box) until(what string, f func() bool) {
	b.t.Helper()
	until(b.t, b.name+": "+what, f)
}

func until(t testing.TB, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(soon); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// ban bans at b, and returns how far that came.
func (b *box) ban(node string) Spread {
	b.t.Helper()
	_, s, err := b.Ban(context.Background(), node, "spam", 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *box) unban(node string) Spread {
	b.t.Helper()
	s, err := b.Unban(context.Background(), node)
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// serveRedis starts a redis-server.
func serveRedis(t testing.TB) *redistest.Server { return redistest.Serve(t) }

// die ends it without a word, as kill -9 does.
func (b *box) die() {
	_ = b.client.Close()
	b.end()
}

func redisAt(s *redistest.Server) string { return "redis://" + s.Addr }

// sealed is a heartbeat as it stands in Redis.
func sealed(t *testing.T, b *box, h heartbeat) string {
	t.Helper()
	text, err := json.Marshal(h)
	if err != nil {
		t.Fatal(err)
	}
	return b.ring.Load().Seal(forMachine, text)
}
