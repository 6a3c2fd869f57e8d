package e2e

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"os/exec"
	"strings"
	"testing"
	"time"
)

// A person opens the link of test-link in Chromium, which trusts the server's certificate, and presses the button: STUN, TURN over UDP,
// TCP and TLS are tried, and what was found is in the Node's why-record. Only the page of the test is at that port.
func TestLinkChromium(t *testing.T) {
	_, err := exec.LookPath("chromium")
	peer(t, "chromium", err == nil)
	s, r := onePort(t, `"broker", "hooks", "admin"`, `"test"`)
	r.trust(t)
	out, err := run(t, binary, "test-link", "Alice", "--config", s.config)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	link, _, _ := strings.Cut(out, "\n")
	if !strings.HasPrefix(link, "https://localhost:") || !strings.Contains(link, "/try#") {
		t.Fatal(out)
	}
	for _, path := range []string{"/", "/api/status", "/assets/app.js", "/socket.io/", "/try/other"} {
		base, _, _ := strings.Cut(link, "/try#")
		if status, _ := r.fetch(t, strings.TrimPrefix(base, "https://"), path, operatorsToken); status != 404 {
			t.Errorf("%s: %d", path, status)
		}
	}
	press(t, link, "start")
	var why string
	for end := time.Now().Add(150 * time.Second); !strings.Contains(why, "URLs work from there"); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no result\n%s\n%s", why, s.logs())
		}
		why, _ = run(t, binary, "why", "Alice", "--config", s.config)
	}
	for _, want := range []string{"stun:localhost", "?transport=udp works: ", "?transport=tcp works: ", "turns:localhost", "% lost"} {
		if !strings.Contains(why, want) {
			t.Errorf("lacks %q", want)
		}
	}
	if strings.Contains(why, "0 of") || t.Failed() {
		t.Errorf("%s\n%s", why, s.logs())
	}
}

// press opens a page in Chromium until the test ends, and presses a button there once it can be.
func press(t *testing.T, url, id string) {
	t.Helper()
	profile := t.TempDir()
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
		"--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--user-data-dir="+profile, "--remote-debugging-port=0",
		"--disable-features=WebRtcHideLocalIpsWithMdns", url)
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		at, err := os.ReadFile(filepath.Join(profile, "DevToolsActivePort"))
		if err != nil {
			continue
		}
		port, _, _ := strings.Cut(string(at), "\n")
		resp, err := http.Get("http://127.0.0.1:" + port + "/json")
		if err != nil {
			continue
		}
		var pages []struct {
			URL string
			At  string `json:"webSocketDebuggerUrl"`
		}
		err = json.NewDecoder(resp.Body).Decode(&pages)
		_ = resp.Body.Close()
		if err != nil || len(pages) == 0 || !strings.HasPrefix(pages[0].URL, "https://") {
			continue
		}
		conn, _, _, err := ws.Dial(context.Background(), pages[0].At)
		if err != nil {
			continue
		}
		const script = `{"id":1,"method":"Runtime.evaluate","params":{"expression":"document.readyState === 'complete' && (document.getElementById('ID').click(), true)","returnByValue":true}}`
		err = wsutil.WriteClientText(conn, []byte(strings.Replace(script, "ID", id, 1)))
		answer, _, errRead := wsutil.ReadServerData(conn)
		_ = conn.Close()
		if err == nil && errRead == nil && strings.Contains(string(answer), `"value":true`) {
			return
		}
	}
	t.Fatal("Chromium does not show " + url)
}
