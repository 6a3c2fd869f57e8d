package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// relaysOnly has a browser connect pages that have two ends each, relay to relay: with the RTC configuration exactly as the
// webhook gave it, and with one TURN URL alone: over UDP and TCP to the server's address in either family, over TLS to hosts.
// The browser trusts the root that start is told.
func relaysOnly(t *testing.T, client string, start func(*testing.T, *root, string) fmt.Stringer, hosts ...string) {
	t.Helper()
	dir := t.TempDir()
	r := newRoot(t, dir)
	cert, key := r.issue(t, dir)
	s, _, _ := serveBoth(t, `ice_transport_policy = "all"`, `ice_transport_policy = "relay"`,
		"[redis]\n", fmt.Sprintf("[certs]\ncert_file = %q\nkey_file = %q\n[redis]\n", cert, key))
	type trial struct{ transport, host string }
	trials := []trial{{}, {"udp", "127.0.0.1"}, {"udp", "[::1]"}, {"tcp", "127.0.0.1"}, {"tcp", "[::1]"}}
	for _, host := range hosts {
		trials = append(trials, trial{"tls", host})
	}
	var names []string
	var configurations []json.RawMessage
	for _, c := range trials {
		names = append(names, strings.TrimSpace(client+" "+c.transport+" "+c.host))
		_, raw := s.resolve(t, names[len(names)-1])
		for _, one := range []struct{ transport, url string }{
			{"udp", "turn:" + s.turn + "?transport=udp"}, {"tcp", "turn:" + s.turn + "?transport=tcp"}, {"tls", "turns:" + s.tls + "?transport=tcp"},
		} {
			if c.transport == one.transport {
				raw = bytes.ReplaceAll(only(t, raw, one.url), []byte(one.url), []byte(strings.Replace(one.url, "127.0.0.1", c.host, 1)))
			}
		}
		configurations = append(configurations, raw)
	}
	url, results := pages(t, configurations)
	log := start(t, r, url)
	late := time.After(60 * time.Second)
	for i, c := range trials {
		t.Run(names[i], func(t *testing.T) {
			var got string
			select {
			case got = <-results[i]:
			case <-late:
				t.Fatalf("no word from the browser within 60 s\n%s", log)
			}
			if !strings.Contains(got, `"ok":true`) || !strings.Contains(got, "echo hello") || !strings.Contains(got, `"relay `+c.transport) {
				t.Fatalf("the page says %s\n%s", got, s.logs())
			}
			ways := s.relaying(t, []string{names[i]}, 1, 2)
			if len(ways) == 0 {
				t.Error("nothing was relayed")
			}
			for _, w := range ways {
				if c.transport == "" {
					continue
				}
				if w.transport != c.transport || c.host == "127.0.0.1" && w.path != "IPv4" || c.host == "[::1]" && w.path != "IPv6" {
					t.Errorf("relayed over %s", w)
				}
				went(t, client, w)
			}
		})
	}
}

// pages are served in the frames of one, at url, each with an RTC configuration. What each says is in results.
func pages(t *testing.T, configurations []json.RawMessage) (url string, results []chan string) {
	t.Helper()
	page, err := os.ReadFile("testdata/relay.html")
	if err != nil {
		t.Fatal(err)
	}
	frames := "<!doctype html><title>frames</title>"
	for i := range configurations {
		frames += fmt.Sprintf("<iframe src=/%d></iframe>", i)
		results = append(results, make(chan string, 1))
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i, err := strconv.Atoi(r.URL.Path[1:])
		switch {
		case r.URL.Path == "/":
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write([]byte(frames))
		case err != nil || i < 0 || i >= len(results):
			http.NotFound(w, r)
		case r.Method == http.MethodPost:
			var b bytes.Buffer
			_, _ = b.ReadFrom(r.Body)
			select {
			case results[i] <- b.String():
			default:
			}
		default:
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write(bytes.Replace(page, []byte("CONFIGURATION"), configurations[i], 1))
		}
	}))
	t.Cleanup(web.Close)
	return web.URL, results
}
