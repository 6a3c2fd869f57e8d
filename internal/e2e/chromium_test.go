package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
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

func TestChromiumRelayOnly(t *testing.T) {
	relaysOnly(t, "Chromium", func(t *testing.T, r *root, url string) fmt.Stringer {
		t.Helper()
		r.trust(t)
		return browser(t, url)
	}, "127.0.0.1", "[::1]")
	version, _, _ := strings.Cut(strings.TrimPrefix(says("chromium", "--version"), "Chromium "), " ")
	tried(t, "Chromium", version, "data channels by relays alone, with the RTC configuration as it is given, and with each TURN URL alone")
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
