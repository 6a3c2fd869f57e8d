package metrics

import (
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

var update = flag.Bool("update", false, "rewrite the golden file")

func full() Config {
	return Config{
		Version: "1.2.3", Commit: "abcdef0", Go: "go1.26",
		Turn: func() adminapi.TurnStats {
			return adminapi.TurnStats{
				Transports: []adminapi.TransportStats{
					{Transport: "udp", Allocations: 2, Opened: 5, In: adminapi.Flow{Datagrams: 10, Bytes: 1000}, Out: adminapi.Flow{Datagrams: 20, Bytes: 2000}},
					{Transport: "tls", Allocations: 1, Opened: 1, Connections: 3},
				},
				Refusals: []adminapi.Refusal{{Code: 401, Cause: "expired", Count: 7}, {Code: 486, Cause: "node_full", Count: 2}},
				Drops:    map[string]uint64{"no_permission": 3},
				Ports:    16384, PortsUsed: 3, Panics: 1,
				Offload:  adminapi.Offload{On: true, Taken: 5, Apart: map[string]int{"transport": 3}, Left: map[string]uint64{"settling": 2}, Ways: []adminapi.OffloadWay{{In: "eth0", Out: "eth1", Mode: "tcx", State: "trusted"}}},
				HalfOpen: 2, Accepted: 9, Strangers: 8, Hellos: 21, Tables: 7000, MostTables: 5000,
				Cut:        map[string]uint64{"node_bytes": 3},
				TurnedAway: map[string]uint64{"over_share": 4, "displaced": 0},
			}
		},
		Nodes: func() nodes.Stats {
			return nodes.Stats{Nodes: 9, Connected: 4, Bans: 1, Evicted: 2, Lost: 3, Events: map[nodes.Kind]uint64{nodes.KindRefused: 5}}
		},
		Limits: func() map[string]int64 {
			return map[string]int64{"turn.limits.allocations_per_node": 128, "turn.limits.allocations": 0}
		},
		Certificate: func() (time.Time, bool) { return time.Unix(1_800_000_000, 0), true },
		ACME:        func() map[string]uint64 { return map[string]uint64{"obtained": 3, "away": 1} },
		Redis: func() (RedisStats, bool) {
			return RedisStats{1, 2, 3, 4, 5, map[string]uint64{"full": 6}, map[string]uint64{"memory": 0}}, true
		},
		Broker: func() (BrokerStats, bool) {
			return BrokerStats{
				Connections: 12, Nodes: 11, Waiting: 13, Joins: map[string]uint64{"joined": 14, "unauthorized": 2},
				Answers: map[string]map[string]uint64{"SOCKET_MSG_EXCHANGE": {"OK": 15, "ERROR": 1}}, Asked: 16,
				LetGo: map[string]uint64{"unread": 1}, SlowedDown: 17, Received: 18, Relayed: 19, RedisFailures: 20,
			}, true
		},
		Web: func() (WebStats, bool) {
			return WebStats{Connections: 21, Accepted: 22, NotFound: 24}, true
		},
		Fleet: func() (FleetStats, bool) {
			return FleetStats{
				RedisOK: true, Machines: map[string]int{"up": 3, "silent": 1}, Unshared: 2, Sent: 4, Received: 5, Compared: 6,
				Refused: map[string]uint64{"strange": 7, "forged": 1}, Exchanges: 8, Failure: 9,
				Differing: 1, Skew: 30 * time.Second, Latency: time.Millisecond, Answered: 10, Unanswered: 11,
			}, true
		},
		Policy: func() PolicyStats {
			return PolicyStats{
				Upstream: map[string]uint64{"answered": 7, "busy": 1}, Messages: map[string]uint64{"forwarded": 8, "dropped": 1},
				MessagesQueued: 2, TokensWatched: 4, ChecksWaiting: 3, ChecksRefused: 6,
			}
		},
		Usage: func() UsageStats {
			return UsageStats{In: 1, Out: 2, Time: 3 * time.Second, Allocations: 4, Messages: 5, Nodes: 6, Near: 2, Exhausted: 1, Unkept: true}
		},
		HTTP:  func() map[string]map[string]uint64 { return map[string]map[string]uint64{"admin": {"displaced": 22}} },
		State: func() (bool, bool) { return true, false },
	}
}

func TestLint(t *testing.T) {
	m, err := New(full())
	if err != nil {
		t.Fatal(err)
	}
	m.ObserveHook("authorize", "ok", 3*time.Millisecond)
	m.CountRefused("admin", 401)
	problems, err := testutil.GatherAndLint(m.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestNames holds the names and labels of the program's own metrics still: dashboards and alerts of users rely on them.
func TestNames(t *testing.T) {
	m, err := New(full())
	if err != nil {
		t.Fatal(err)
	}
	m.ObserveHook("authorize", "ok", 3*time.Millisecond)
	m.CountRefused("admin", 401)
	m.CountRefused("admin", 418)
	got := ""
	for _, line := range strings.Split(scrape(t, m), "\n") {
		if strings.HasPrefix(line, namespace) {
			got += line + "\n"
		}
	}
	path := filepath.Join("testdata", "metrics.golden")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	server := httptest.NewServer(m)
	defer server.Close()
	resp, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %v %s", resp.StatusCode, err, data)
	}
	return string(data)
}

func TestNothingGiven(t *testing.T) {
	m, err := New(Config{Redis: func() (RedisStats, bool) { return RedisStats{}, false }})
	if err != nil {
		t.Fatal(err)
	}
	text := scrape(t, m)
	for _, want := range []string{"go_goroutines ", "process_cpu_seconds_total ", "crolang_aio_build_info{", "crolang_aio_redis_up 0"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(text, "crolang_aio_turn") || strings.Contains(text, "redis_keys") {
		t.Error("there are metrics of what is off")
	}
}

func TestSeriesAreBounded(t *testing.T) {
	cfg := full()
	cfg.Turn = func() adminapi.TurnStats {
		st := adminapi.TurnStats{Drops: map[string]uint64{}}
		for i := range 1000 {
			st.Refusals = append(st.Refusals, adminapi.Refusal{Code: 400, Cause: fmt.Sprint(i), Count: uint64(i)})
			st.Drops[fmt.Sprint(i)] = 1
		}
		return st
	}
	m, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 200 {
				m.ObserveHook(fmt.Sprint("hook", i), fmt.Sprint("result", i, g), time.Second)
				m.CountRefused(fmt.Sprint("listener", i), i)
			}
		})
	}
	wg.Wait()
	text := scrape(t, m)
	for name, most := range map[string]int{
		"crolang_aio_turn_refusals_total{": maxRefusals, "crolang_aio_turn_dropped_total{": maxCauses,
		"crolang_aio_hooks_request_duration_seconds_count{": (maxValues + 1) * (maxValues + 1),
		"crolang_aio_http_requests_refused_total{":          (maxValues + 1) * 3,
	} {
		if n := strings.Count(text, "\n"+name); n == 0 || n > most {
			t.Errorf("%s…: %d series, at most %d wanted", name, n, most)
		}
	}
	if !strings.Contains(text, `cause="999",code="400"} 999`) {
		t.Error("the most frequent cause is not among them")
	}
}
