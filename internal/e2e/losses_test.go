package e2e

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// await asks again until f is content.
func await(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); !f(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within 90 s", what)
		}
	}
}

// foundOnes are the findings of the running server, each with its remedy.
func (s *server) foundOnes(t *testing.T) map[string]string {
	t.Helper()
	_, text := s.ask(t, "GET", "/api/status", "")
	var status struct {
		Warnings []struct{ ID, Detail, Remedy string }
	}
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		t.Fatal(err)
	}
	all := make(map[string]string)
	for _, w := range status.Warnings {
		all[w.ID] = w.Remedy
	}
	return all
}

// What is refused and dropped is a metric with its cause, a finding with its remedy, and one line of the log. That they go is tested
// in package losses, under a clock that can be moved.
func TestNothingIsLostInSilence(t *testing.T) {
	s := serve(t, "[turn.limits]\n", "[turn.limits]\nconnections_per_ip = 2\nallocations_per_node = 1\n",
		"[redis]\n", "[redis]\npassword = \"the-right-one-of-all\"\n",
		`advertise_tls = "auto"`, "advertise_tls = \"auto\"\n[hooks.authorize]\nmode = \"upstream\"\n[hooks.upstream]\nauthorize_url = \"http://127.0.0.1:1/\"\ntimeout = \"1s\"")
	// More connections than one address may have.
	for i := range 5 {
		c, err := net.Dial("tcp", s.turn)
		if err == nil {
			defer c.Close()
		} else if i < 2 { // those over the limit may be reset at once
			t.Fatal(err)
		}
	}
	// More allocations than a Node may have.
	name, password := s.credentials(t, "Alice")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for i := range 2 {
		c, err := turnclient.Dial(ctx, turnclient.Options{Transport: "udp", Addr: s.turn, Username: name, Password: password})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := c.Allocate(ctx, nil); turnclient.Code(err) != []int{0, 486}[i] {
			t.Fatal(err)
		}
	}
	// An upstream that is not there.
	res, err := http.Post("http://"+s.hooks+"/authorize-nodes-communication", "application/json", strings.NewReader(`{"from":"Alice","to":"Bob"}`)) //nolint:noctx // a test
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(err, res)
	}
	_ = res.Body.Close()
	// A Broker that has a wrong password for the embedded Redis, and a page that the Broker here does not let in.
	guess, err := net.Dial("tcp", s.redis)
	if err != nil {
		t.Fatal(err)
	}
	defer guess.Close()
	for range 3 {
		if _, err := guess.Write([]byte("*2\r\n$4\r\nAUTH\r\n$5\r\nguess\r\n")); err != nil {
			t.Fatal(err)
		}
	}
	for range 20 {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.broker+"/socket.io/?EIO=4&transport=websocket", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", "https://elsewhere.example")
		res, err := http.DefaultClient.Do(req)
		if err != nil || res.StatusCode != http.StatusForbidden {
			t.Fatal(err, res)
		}
		_ = res.Body.Close()
	}

	await(t, "findings", func() bool {
		all := s.foundOnes(t)
		for _, id := range []string{"connections.over_share", "requests.node_full", "upstream.failed", "redis.password", "broker.foreign_page"} {
			if all["losses."+id] == "" {
				return false
			}
		}
		return true
	})
	_, metrics := s.ask(t, "GET", "/metrics", "")
	for _, want := range []string{
		`crolang_aio_turn_connections_turned_away_total{cause="over_share"} `, `crolang_aio_turn_refusals_total{cause="node_full",code="486"} 1`,
		`crolang_aio_hooks_upstream_total{result="failed"} 1`, `crolang_aio_redis_commands_refused_total{cause="password"} 3`,
		`crolang_aio_broker_connections_let_go_total{cause="foreign_page"} 20`,
	} {
		if !strings.Contains(metrics, want) || strings.Contains(metrics, want+"0\n") {
			t.Errorf("no %s", want)
		}
	}
	// A decision is a refusal, and to be asked for a credential is none.
	_, live := s.ask(t, "GET", "/api/events?seconds=1", "")
	for _, want := range []string{`"0 authorization":1`, `"486 node_full":1`} {
		if !strings.Contains(live, want) || strings.Contains(live+metrics, "no_credential") || strings.Contains(metrics, "crolang_aio_turn_challenges_total 0\n") {
			t.Errorf("no %s, or challenges count as refusals: %s", want, live)
		}
	}
	if out, err := run(t, binary, "why", "Alice", "--config", s.config); err != nil || !strings.Contains(out, "1 of 1 in use") || !strings.Contains(out, "refused: ") {
		t.Errorf("%v\n%s", err, out)
	}
	if log := s.logs(); strings.Count(log, "turn.limits.connections_per_ip lets it") != 1 {
		t.Errorf("the log does not say it once:\n%s", log)
	}
}
