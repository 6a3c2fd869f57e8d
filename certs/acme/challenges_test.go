package acme_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs/acme"
	"github.com/crolang-p2p/crolang-aio/internal/acmetest"
)

// Where nothing answers at port 443, http-01 is tried next. Its listener is open only while the CA asks, answers nothing but
// the challenge, and sends everybody else to https on a host of ours.
func TestHTTP01(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	cfg := config(t, ca, "turn.example.org")
	cfg.Challenges = []string{acme.HTTP01}
	strange := make(chan string, 1000)
	cfg.Dated = func(time.Time) { // while the CA is asked
		for host, path := range map[string]string{"evil.example.net": "/x", "turn.example.org": "/.well-known/acme-challenge/none"} {
			r, _ := http.NewRequest(http.MethodGet, "http://"+cfg.HTTPListen+path, nil)
			r.Host = host
			if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
				b, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				strange <- fmt.Sprint(res.StatusCode, " ", res.Header.Get("Location"), " ", strings.Contains(string(b), "crolang"))
			}
		}
	}
	r := start(t, cfg)
	r.await(t, "a certificate", r.has(1))
	if err := leaf(t, r.Certificates()[0]).VerifyHostname("turn.example.org"); err != nil {
		t.Error(err)
	}
	if at, ok := r.Listening(); ok {
		t.Errorf("still listening on %s", at)
	}
	if res, err := http.Get("http://" + cfg.HTTPListen + "/"); err == nil {
		_ = res.Body.Close()
		t.Error("somebody answers still")
	}
	close(strange)
	seen := map[string]bool{}
	for s := range strange {
		seen[s] = true
	}
	if len(seen) != 2 || !seen["308 https://turn.example.org/x false"] || !seen["308 https://turn.example.org/.well-known/acme-challenge/none false"] {
		t.Errorf("strangers got %v", seen)
	}
}

func TestNextChallenge(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	r := start(t, config(t, ca, "turn.example.org", "127.0.0.1")) // nobody listens at TLSPort
	r.await(t, "two certificates", r.has(2))
	if len(r.Troubles()) != 0 {
		t.Errorf("%+v", r.Troubles())
	}
}

// command writes a dns_command that talks to the CA's DNS server, after a prelude.
func command(t *testing.T, ca *acmetest.CA, prelude string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "acme-dns")
	script := `#!/bin/sh
` + prelude + `
case $1 in present) call=set-txt ;; *) call=clear-txt ;; esac
echo "$*" >>"$(dirname "$0")/calls"
exec curl -fsS -d "{\"host\":\"$2.\",\"value\":\"$3\"}" "` + ca.DNS + `/$call"
`
	if err := os.WriteFile(file, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return file
}

// A wildcard and a name, by a command that sees nothing of this program's configuration.
func TestDNS01(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	t.Setenv("CROLANG_AIO_CREDENTIALS_SECRET", "hush")
	t.Setenv("NOTIFY_SOCKET", "/run/x")
	cfg := config(t, ca, "*.example.org", "example.org")
	cfg.Challenges = []string{acme.DNS01}
	cfg.DNSCommand = command(t, ca, `[ -z "$CROLANG_AIO_CREDENTIALS_SECRET$NOTIFY_SOCKET" ] || { echo "it sees too much" >&2; exit 1; }`)
	r := start(t, cfg)
	r.await(t, "two certificates", r.has(2))
	if err := leaf(t, r.Certificates()[0]).VerifyHostname("turn.example.org"); err != nil {
		t.Error(err)
	}
	b, err := os.ReadFile(filepath.Join(filepath.Dir(cfg.DNSCommand), "calls"))
	if err != nil {
		t.Fatal(err)
	}
	calls := strings.Fields(string(b))
	if len(calls) != 12 || calls[0] != "present" || calls[1] != "_acme-challenge.example.org" || len(calls[2]) != 43 ||
		calls[3] != "cleanup" || calls[4] != calls[1] || calls[5] != calls[2] {
		t.Errorf("called with %s", b)
	}
}

// A command that fails, hangs or lies is a line that says so, and no certificate.
func TestBadDNSCommand(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	for _, tt := range []struct {
		name, prelude string
		cause         acme.Cause
		want          []string
	}{
		{"fails", "echo first >&2; printf 'no zone\\033[31m for it\\n' >&2; exit 3", acme.CauseCommand, []string{"present failed", "exit status 3", "no zone [31m for it"}},
		{"lies", "exit 0", acme.CauseUnproven, []string{"answers to dns-01", "TXT"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := config(t, ca, "turn.example.org")
			cfg.Challenges = []string{acme.DNS01}
			cfg.DNSCommand = command(t, ca, tt.prelude)
			r := start(t, cfg)
			r.await(t, "a failure", func() bool { return len(r.Troubles()) == 1 })
			f := r.Troubles()[0]
			for _, w := range tt.want {
				if !strings.Contains(f.What, w) || strings.ContainsAny(f.What, "\n\x1b") || f.Remedy == "" || f.Cause != tt.cause {
					t.Errorf("%s: %q; %q", f.Cause, f.What, f.Remedy)
				}
			}
		})
	}
}
