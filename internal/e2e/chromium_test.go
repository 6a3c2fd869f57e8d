package e2e

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// browser opens url in headless Chromium until the test ends.
func browser(t *testing.T, url string) *bytes.Buffer {
	t.Helper()
	path, err := exec.LookPath("chromium")
	peer(t, "chromium", err == nil)
	var log bytes.Buffer
	cmd := exec.Command(path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "--disable-features=WebRtcHideLocalIpsWithMdns", "--enable-logging=stderr", url)
	cmd.Stderr = &log
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return &log
}

// Headless Chromium makes a relay-only data-channel connection with the configuration exactly as the webhook gave it.
func TestChromiumRelayOnly(t *testing.T) {
	s := serve(t, `ice_transport_policy = "all"`, `ice_transport_policy = "relay"`)
	for _, c := range []struct{ name, keep, protocol string }{
		{"as returned", "", ""},
		{"TURN over UDP alone", "transport=udp", "relay udp"},
		{"TURN over TCP alone", "transport=tcp", "relay tcp"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, raw := s.resolve(t, "Chromium "+c.name)
			if c.keep != "" {
				raw = only(t, raw, c.keep)
			}
			page, err := os.ReadFile("testdata/relay.html")
			if err != nil {
				t.Fatal(err)
			}
			result := make(chan string, 1)
			web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path != "/result" {
					w.Header().Set("Content-Type", "text/html")
					_, _ = w.Write(bytes.Replace(page, []byte("CONFIGURATION"), raw, 1))
					return
				}
				var b bytes.Buffer
				_, _ = b.ReadFrom(r.Body)
				select {
				case result <- b.String():
				default:
				}
			}))
			t.Cleanup(web.Close)
			log := browser(t, web.URL)
			select {
			case got := <-result:
				if !strings.Contains(got, `"ok":true`) || !strings.Contains(got, "echo hello") || !strings.Contains(got, c.protocol) {
					t.Errorf("the page says %s\n%s", got, s.logs())
				}
			case <-time.After(60 * time.Second):
				t.Fatalf("no word from Chromium within 60 s\n%s", log)
			}
		})
	}
	version, _, _ := strings.Cut(strings.TrimPrefix(says("chromium", "--version"), "Chromium "), " ")
	tried(t, "Chromium", version,
		"a data channel by relays alone, with the RTC configuration as it is given, over UDP and over TCP")
}

// only keeps the URLs with a text in them, and servers that still have any.
func only(t *testing.T, raw json.RawMessage, keep string) json.RawMessage {
	t.Helper()
	var conf map[string]any
	if err := json.Unmarshal(raw, &conf); err != nil {
		t.Fatal(err)
	}
	var servers []any
	for _, v := range conf["iceServers"].([]any) {
		server := v.(map[string]any)
		var urls []any
		for _, u := range server["urls"].([]any) {
			if strings.Contains(u.(string), keep) {
				urls = append(urls, u)
			}
		}
		if len(urls) > 0 {
			server["urls"] = urls
			servers = append(servers, server)
		}
	}
	conf["iceServers"] = servers
	b, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
