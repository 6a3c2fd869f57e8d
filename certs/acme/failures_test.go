package acme_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs/acme"
	"github.com/crolang-p2p/crolang-aio/internal/acmetest"
)

// What a CA refuses is one line with its own reason and the remedy.
func TestRefusals(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{Refused: []string{"blocked.example.org"}})
	ca.Set("add-caa", map[string]any{"host": "caa.example.org.", "policies": []map[string]string{{"tag": "issue", "value": "other.example"}}})
	ca.Set("add-a", map[string]any{"host": "elsewhere.example.org.", "addresses": []string{"127.0.0.2"}})
	ca.Set("set-servfail", map[string]any{"host": "broken.example.org."})
	for _, tt := range []struct {
		name   string
		change func(*acme.Config)
		cause  acme.Cause
		what   string
		remedy string
	}{
		{"blocked.example.org", nil, acme.CauseRefused, "answers", "choose another name"},
		{"elsewhere.example.org", nil, acme.CauseUnproven, "refused", "port 443"},
		{"broken.example.org", nil, acme.CauseUnproven, "answers to tls-alpn-01", "port 443"},
		{"turn.example.org", func(c *acme.Config) { c.CAFile = "" }, acme.CauseAway, "not trusted", "certs.acme.ca_file"},
		{"turn.example.org", func(c *acme.Config) { c.Directory = "https://127.0.0.1:1/dir" }, acme.CauseAway, "cannot be reached", "certs.acme.directory"},
		{"turn.example.org", func(c *acme.Config) { c.Directory = strings.TrimSuffix(ca.URL, "dir") + "none" }, acme.CauseNoACME, "does not answer as an ACME server", "certs.acme.directory"},
		{"turn.example.org", func(c *acme.Config) { c.Email = "admin@example.org, b@example.org" }, acme.CauseRefused, "contact", "certs.acme.email"},
		{"*.example.org", nil, acme.CauseChallenge, "no challenge", "dns-01"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(t, ca, tt.name)
			cfg.Retry = time.Hour
			if tt.change != nil {
				tt.change(&cfg)
			}
			r := start(t, cfg)
			r.await(t, "a failure", func() bool { return len(r.Troubles()) == 1 })
			f := r.Troubles()[0]
			if f.Cause != tt.cause || !strings.Contains(f.What, tt.what) || !strings.Contains(f.Remedy, tt.remedy) || strings.Contains(f.What, "\n") {
				t.Errorf("%s: %s; %s", f.Cause, f.What, f.Remedy)
			}
			if wait := time.Until(f.Next); wait < 50*time.Minute || r.Stats().Failed[f.Cause] != 1 {
				t.Errorf("tried again in %s, %+v", wait, r.Stats())
			}
			t.Log(f.Error())
		})
	}
}

// A CA that is away, or answers slowly, is asked again until it is there; what it has given stays meanwhile.
func TestAway(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{Validity: 20 * time.Second})
	cfg := config(t, ca, "turn.example.org")
	r := start(t, cfg)
	r.answer(t, ca)
	r.await(t, "a certificate", r.has(1))
	first := leaf(t, r.Certificates()[0])
	ca.Stop()
	r.await(t, "a failure", func() bool { return len(r.Troubles()) == 1 })
	if f := r.Troubles()[0]; f.Cause != acme.CauseAway || len(r.Certificates()) != 1 {
		t.Errorf("%+v", f)
	}
	ca.Restart() // without its accounts
	r.await(t, "another certificate", func() bool {
		return leaf(t, r.Certificates()[0]).NotAfter.After(first.NotAfter) && len(r.Troubles()) == 0
	})
}

// A limit of the CA is waited for, as long as it says, and over a restart.
func TestLimited(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	var asked atomic.Int32
	limited := proxy(t, ca, func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/order-plz" {
			return false
		}
		asked.Add(1)
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("Retry-After", "7200")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = fmt.Fprint(w, `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many certificates already issued","status":429}`)
		return true
	})
	cfg := config(t, ca, "turn.example.org")
	cfg.Directory, cfg.CAFile = limited.URL+"/dir", certFile(t, limited)
	r := start(t, cfg)
	r.await(t, "a failure", func() bool { return len(r.Troubles()) == 1 })
	check := func(f acme.Trouble) {
		t.Helper()
		if wait := time.Until(f.Next); f.Cause != acme.CauseLimited || wait < 119*time.Minute || wait > 121*time.Minute || !strings.Contains(f.What, "too many certificates already issued") {
			t.Errorf("%+v, in %s", f, wait)
		}
	}
	check(r.Troubles()[0])
	r.stop()
	again := start(t, cfg)
	again.await(t, "the same failure", func() bool { return len(again.Troubles()) == 1 })
	check(again.Troubles()[0])
	if n := asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
}

// proxy is in front of ca, on an address of its own. What first answers does not reach ca.
func proxy(t *testing.T, ca *acmetest.CA, first func(http.ResponseWriter, *http.Request) bool) *httptest.Server {
	t.Helper()
	to, err := url.Parse(ca.URL)
	if err != nil {
		t.Fatal(err)
	}
	to.Path = ""
	p := &httputil.ReverseProxy{Transport: ca.Client().Transport, Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host }}
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !first(w, r) {
			p.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func certFile(t *testing.T, s *httptest.Server) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "root.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Failed checks are not repeated beyond what CAs allow in an hour, however often the program is started.
func TestChecksInAnHour(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	var checks atomic.Int32
	counting := proxy(t, ca, func(_ http.ResponseWriter, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/chalZ/") {
			checks.Add(1)
		}
		return false
	})
	cfg := config(t, ca, "turn.example.org")
	ca.Set("add-a", map[string]any{"host": "turn.example.org.", "addresses": []string{"127.0.0.2"}}) // where nobody listens
	cfg.Directory, cfg.CAFile = counting.URL+"/dir", certFile(t, counting)
	cfg.Retry = time.Microsecond
	for range 4 {
		r := start(t, cfg)
		r.await(t, "a failure that is waited for", func() bool {
			all := r.Troubles()
			return len(all) == 1 && time.Until(all[0].Next) > 50*time.Minute
		})
		if f := r.Troubles()[0]; f.Cause != acme.CauseUnproven || !strings.Contains(f.What, "tls-alpn-01") || !strings.Contains(f.What, "http-01") {
			t.Errorf("%+v", f)
		}
		r.stop()
	}
	// A challenge is posted to once to begin it, with another nonce where the CA refuses one; its state is read from authZ.
	if n := checks.Load(); n < 4 || n > 12 {
		t.Errorf("%d requests for challenges, want some for 4 checks", n)
	}
}

// A certificate that the CA has revoked is replaced: the CA says so when it is asked when to renew.
func TestRevoked(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	cfg := config(t, ca, "turn.example.org")
	r := start(t, cfg)
	r.answer(t, ca)
	r.await(t, "a certificate", r.has(1))
	r.stop()
	revoke(t, ca, cfg, r.Certificates()[0])
	ca.Suggest(leaf(t, r.Certificates()[0]), time.Now().Add(-time.Hour))
	// The CA has asked not to be asked again for six hours: let them pass.
	file := r.Certificates()[0].File
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block := metadataOf(t, b)
	old := regexp.MustCompile(`_retryAfter":\s*"[^"]+"`)
	if !old.Match(block.Bytes) {
		t.Fatalf("no time to ask again in %s", block.Bytes)
	}
	was := pem.EncodeToMemory(block)
	block.Bytes = old.ReplaceAll(block.Bytes, []byte(`_retryAfter":"2020-01-01T00:00:00Z"`))
	if err := os.WriteFile(file, []byte(strings.Replace(string(b), string(was), string(pem.EncodeToMemory(block)), 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	first := leaf(t, r.Certificates()[0])
	again := start(t, cfg)
	again.await(t, "another", func() bool { return leaf(t, again.Certificates()[0]).SerialNumber.Cmp(first.SerialNumber) != 0 })
}

func metadataOf(t *testing.T, b []byte) *pem.Block {
	t.Helper()
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			t.Fatal("no metadata")
		}
		if strings.Contains(block.Type, "METADATA") {
			return block
		}
	}
}

// A file that is damaged is done without.
func TestDamagedFile(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	cfg := config(t, ca, "turn.example.org")
	r := start(t, cfg)
	r.answer(t, ca)
	r.await(t, "a certificate", r.has(1))
	r.stop()
	file := r.Certificates()[0].File
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for name, damage := range map[string][]byte{"cut short": b[:len(b)/2], "empty": nil, "another key": []byte(strings.Replace(string(b), "MHc", "MHd", 1))} {
		if err := os.WriteFile(file, damage, 0o600); err != nil {
			t.Fatal(err)
		}
		again := start(t, cfg)
		if n := len(again.Certificates()); n != 0 && name != "another key" {
			t.Errorf("%s: %d certificates", name, n)
		}
		again.await(t, "another, for one that is "+name, again.has(1))
		again.stop()
	}
}

// Where the disk takes nothing the CA is not asked for what could not be kept, and is as soon as there is room.
func TestNoRoom(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	cfg := config(t, ca, "turn.example.org")
	blocked := filepath.Dir(cfg.Dir)
	if err := os.WriteFile(cfg.Dir, nil, 0o600); err != nil { // a file where the folder should be
		t.Fatal(err)
	}
	r := start(t, cfg)
	r.answer(t, ca)
	r.await(t, "a failure", func() bool { return len(r.Troubles()) == 1 })
	if f := r.Troubles()[0]; f.Cause != acme.CauseStore || !strings.Contains(f.What, blocked) {
		t.Errorf("%+v", f)
	}
	if err := os.Remove(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	r.await(t, "a certificate", r.has(1))
	r.await(t, "no trouble", func() bool { return len(r.Troubles()) == 0 })
}

// Machines may have one account: each gets its own certificate with it.
func TestSharedAccount(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	one, other := config(t, ca, "turn.example.org"), config(t, ca, "turn.example.org")
	a := start(t, one)
	a.answer(t, ca)
	a.await(t, "a certificate", a.has(1))
	a.stop()
	if err := os.CopyFS(filepath.Join(other.Dir, "accounts"), os.DirFS(filepath.Join(one.Dir, "accounts"))); err != nil {
		t.Fatal(err)
	}
	other.Challenges = []string{acme.HTTP01}
	b := start(t, other)
	b.await(t, "a certificate", b.has(1))
	if leaf(t, a.Certificates()[0]).SerialNumber.Cmp(leaf(t, b.Certificates()[0]).SerialNumber) == 0 {
		t.Error("the same certificate")
	}
	read := func(c acme.Config) string {
		files, _ := filepath.Glob(filepath.Join(c.Dir, "accounts", "*.json"))
		text, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if read(one) != read(other) {
		t.Error("another account")
	}
}

// An answer that takes its time, and a CA that forgets its accounts, are no failure.
func TestSlow(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	slow := proxy(t, ca, func(http.ResponseWriter, *http.Request) bool {
		time.Sleep(500 * time.Millisecond)
		return false
	})
	cfg := config(t, ca, "turn.example.org")
	cfg.Directory, cfg.CAFile = slow.URL+"/dir", certFile(t, slow)
	cfg.Challenges = []string{acme.HTTP01}
	r := start(t, cfg)
	r.await(t, "a certificate", r.has(1))
	if s := r.Stats(); s.Failed[acme.CauseAway] != 0 {
		t.Errorf("%+v", s)
	}
}

func TestNewRefuses(t *testing.T) {
	ca := &acmetest.CA{URL: "https://127.0.0.1:1/dir"}
	bad := filepath.Join(t.TempDir(), "bad.pem")
	if err := os.WriteFile(bad, []byte("no PEM"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*acme.Config){
		"certs.acme.domains": func(c *acme.Config) { c.Domains = nil },
		"holds no PEM":       func(c *acme.Config) { c.CAFile = bad },
		"no such file":       func(c *acme.Config) { c.CAFile = bad + ".none" },
		"is not a file":      func(c *acme.Config) { c.CAFile = t.TempDir() },
	} {
		cfg := config(t, ca, "turn.example.org")
		change(&cfg)
		if _, err := acme.New(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
