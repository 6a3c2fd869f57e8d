package e2e

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// trust has Chromium trust a root, in a home of the test's own.
func (r *root) trust(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	t.Setenv("HOME", home)
	r.trustIn(t, home+"/.pki/nssdb")
}

// trustIn has a browser trust a root, by its store of certificates.
func (r *root) trustIn(t *testing.T, store string) {
	t.Helper()
	certutil := program(t, "certutil")
	if err := os.MkdirAll(store, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"-N", "--empty-password"}, {"-A", "-t", "C,,", "-n", "root of a test", "-i", r.file}} {
		if out, err := exec.Command(certutil, append([]string{"-d", "sql:" + store}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("certutil: %v\n%s", err, out)
		}
	}
}

// Chromium, which trusts the root and is told to ignore nothing, relays over turns: alone, joins the Broker by wss: and has the
// dashboard, all at one port.
func TestOnePortChromium(t *testing.T) {
	_, err := exec.LookPath("chromium")
	peer(t, "chromium", err == nil)
	s, r := onePort(t)
	r.trust(t)
	_, port, _ := net.SplitHostPort(s.tls)
	username, password := s.issued(t, "Chromium at one port")
	conf, err := json.Marshal(map[string]any{"iceTransportPolicy": "relay", "iceServers": []any{
		map[string]any{"urls": []string{"turns:localhost:" + port + "?transport=tcp"}, "username": username, "credential": password},
	}})
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("testdata/relay.html")
	if err != nil {
		t.Fatal(err)
	}
	page = bytes.Replace(page, []byte("CONFIGURATION"), conf, 1)
	page = append(page, []byte(`
<script>
const say = (what) => fetch("/also", {method: "POST", body: what});
const node = new WebSocket("wss://localhost:`+port+`/socket.io/?EIO=4&transport=websocket&id=Browser&version=1&runtime=BROWSER");
node.onmessage = (m) => {
  if (m.data[0] === "0") node.send("40");
  if (m.data.startsWith('42["AUTHENTICATED"')) say("joined");
};
node.onerror = () => say("the WebSocket fails");
</script>`)...)
	said := make(chan string, 8)
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost {
			w.Header().Set("Content-Type", "text/html")
			_, _ = w.Write(page)
			return
		}
		var b bytes.Buffer
		_, _ = b.ReadFrom(r.Body)
		said <- b.String()
	}))
	t.Cleanup(web.Close)
	log := browser(t, web.URL)
	var all []string
	for end := time.After(60 * time.Second); len(all) < 2; {
		select {
		case what := <-said:
			all = append(all, what)
		case <-end:
			t.Fatalf("only %q from Chromium within 60 s\n%s\n%s", all, s.logs(), log)
		}
	}
	for _, want := range []string{"relay tls", "echo hello", "joined"} {
		if !strings.Contains(strings.Join(all, "\n"), want) {
			t.Errorf("%q lacks %q\n%s", all, want, s.logs())
		}
	}
	out, err := run(t, "chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-dev-shm-usage",
		"--user-data-dir="+t.TempDir(), "--dump-dom", "https://localhost:"+port+"/")
	// The title is that of the file, or what its script has made of it already.
	if err != nil || !strings.Contains(out, "crolang-aio</title>") {
		t.Errorf("%v: no dashboard:\n%s", err, out)
	}
}
