package admin

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

// relays stands for the TURN server.
type relays struct {
	mu     sync.Mutex
	list   []adminapi.Allocation
	letsIn map[string]netip.Addr // by the id of an allocation
}

func (f *relays) Toward(node string, peers []netip.Addr) (out []adminapi.Allocation) {
	for _, al := range f.Allocations() {
		f.mu.Lock()
		if al.Node == node && slices.Contains(peers, f.letsIn[al.ID]) {
			out = append(out, al)
		}
		f.mu.Unlock()
	}
	return out
}

func (f *relays) Allocations() []adminapi.Allocation {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]adminapi.Allocation(nil), f.list...)
}

func (f *relays) LiveByNode() map[string]int { return liveByNode(f.Allocations()) }

func liveByNode(all []adminapi.Allocation) map[string]int {
	live := make(map[string]int)
	for _, a := range all {
		live[a.Node]++
	}
	return live
}

func (f *relays) drop(match func(a adminapi.Allocation) bool) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	kept := []adminapi.Allocation{}
	for _, a := range f.list {
		if !match(a) {
			kept = append(kept, a)
		}
	}
	n := len(f.list) - len(kept)
	f.list = kept
	return n
}

func (f *relays) CloseNode(node, _ string) int {
	return f.drop(func(a adminapi.Allocation) bool { return a.Node == node })
}

func (f *relays) CloseAllocation(id, _ string) bool {
	return f.drop(func(a adminapi.Allocation) bool { return a.ID == id }) > 0
}

var started = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func allocation(id, node string) adminapi.Allocation {
	return adminapi.Allocation{
		ID: id, Node: node, Transport: "udp", Client: netip.MustParseAddrPort("198.51.100.7:4000"),
		Relayed: netip.MustParseAddrPort("203.0.113.5:50123"), Created: started, Expires: started.Add(10 * time.Minute),
		BytesIn: 1500, BytesOut: 2_500_000, DatagramsIn: 3, DatagramsOut: 4, Drops: 1, Peers: 2, Channels: 1,
	}
}

// server is a running admin listener.
type server struct {
	t        *testing.T
	url      string
	token    string
	admin    *Admin
	registry *nodes.Registry
	relays   *relays
	mu       sync.Mutex
	notReady []string
	stop     func()
	guard    *webguard.Guard
}

func (s *server) setNotReady(list ...string) {
	s.mu.Lock()
	s.notReady = list
	s.mu.Unlock()
}

func serve(t *testing.T, token string, change func(*Config)) *server {
	t.Helper()
	s := &server{t: t, token: token, relays: &relays{}}
	var err error
	if s.registry, err = nodes.New(nodes.Config{DataDir: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	s.registry.Attach(s.relays)
	cfg := Config{
		Nodes: s.registry, Relays: s.relays,
		Status: func() adminapi.Status { return adminapi.Status{Version: "1.2.3", Started: started} },
		NotReady: func() []string {
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.notReady
		},
		Turn: func() adminapi.TurnStats {
			return adminapi.TurnStats{
				Transports: []adminapi.TransportStats{
					{Transport: "udp", Allocations: 2, Opened: 5, In: adminapi.Flow{Datagrams: 10, Bytes: 1000}, Out: adminapi.Flow{Datagrams: 20, Bytes: 2000}},
					{Transport: "tls", Allocations: 1, Opened: 1, In: adminapi.Flow{Datagrams: 1, Bytes: 10}},
				},
				Refusals: []adminapi.Refusal{{Code: 401, Cause: "expired", Count: 7}, {Code: 486, Cause: "node_full", Count: 2}},
				Drops:    map[string]uint64{"no_permission": 3, "rate": 4},
			}
		},
	}
	if change != nil {
		change(&cfg)
	}
	if s.admin, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	guard, err := webguard.New(webguard.Config{
		Key: "admin.listen", Listen: "127.0.0.1:0", Handler: s.admin, Settings: webguard.Settings{Token: token}, Exempt: Exempt, CheckHost: webguard.OwnHosts,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.url, s.guard = "http://"+guard.Addr().String(), guard
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := guard.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if err := s.admin.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	s.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	t.Cleanup(s.stop)
	return s
}

// do sends a request and returns status, header and body.
func (s *server) do(method, path, body string, header ...string) (int, http.Header, string) {
	s.t.Helper()
	req, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

// want checks status and body of an answer; a body that starts with "~" must only be contained.
func (s *server) want(method, path, body string, status int, answer string) {
	s.t.Helper()
	got, _, data := s.do(method, path, body)
	data = strings.TrimSuffix(data, "\n")
	part, contained := strings.CutPrefix(answer, "~")
	if got != status || contained && !strings.Contains(data, part) || !contained && data != answer {
		s.t.Errorf("%s %s: %d %s\nwant %d %s", method, path, got, data, status, answer)
	}
}
