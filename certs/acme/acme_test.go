package acme_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs/acme"
	"github.com/crolang-p2p/crolang-aio/internal/acmetest"
)

// running is a Client that runs, and who shows its answers to a CA.
type running struct {
	*acme.Client
	cfg     acme.Config
	changed chan struct{}
	stop    func()
}

// config is for a Client of ca in a folder of its own.
func config(t *testing.T, ca *acmetest.CA, domains ...string) acme.Config {
	return acme.Config{
		Settings: acme.Settings{
			Domains: domains, Directory: ca.URL, CAFile: ca.RootFile, Challenges: []string{acme.TLSALPN01, acme.HTTP01},
			HTTPListen: fmt.Sprintf("127.0.0.1:%d", ca.HTTPPort),
		},
		Pace: acme.Pace{Look: 200 * time.Millisecond, Retry: 20 * time.Millisecond, Poll: 20 * time.Millisecond},
		Dir:  filepath.Join(t.TempDir(), "acme"), Logger: slog.New(slog.DiscardHandler),
	}
}

// start runs a Client until the test ends, or stop is called.
func start(t *testing.T, cfg acme.Config) *running {
	t.Helper()
	r := &running{cfg: cfg, changed: make(chan struct{}, 1)}
	cfg.Changed = func() {
		select {
		case r.changed <- struct{}{}:
		default:
		}
	}
	var err error
	if r.Client, err = acme.New(cfg); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	r.stop = func() {
		cancel()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Error("Run does not end")
		}
	}
	t.Cleanup(r.stop)
	return r
}

// await waits until cond holds; it looks at each change.
func (r *running) await(t *testing.T, what string, cond func() bool) {
	t.Helper()
	end := time.After(60 * time.Second)
	for !cond() {
		select {
		case <-r.changed:
		case <-end:
			t.Fatalf("not in a minute: %s; troubles: %+v", what, r.Troubles())
		}
	}
}

func (r *running) has(n int) func() bool { return func() bool { return len(r.Certificates()) == n } }

// answer listens where the CA asks by tls-alpn-01.
func (r *running) answer(t *testing.T, ca *acmetest.CA) {
	t.Helper()
	l, err := tls.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ca.TLSPort), &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{acme.Protocol},
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c, ok := r.Answer(h.ServerName); ok {
				return c, nil
			}
			return nil, fmt.Errorf("%q was not expected", h.ServerName)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { _ = c.(*tls.Conn).Handshake(); _ = c.Close() }()
		}
	}()
}

// leaf parses a certificate, whose key must belong to it.
func leaf(t *testing.T, c acme.Certificate) *x509.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(c.PEM, c.PEM)
	if err != nil {
		t.Fatal(err)
	}
	return pair.Leaf
}

// Names and addresses get a certificate each, by tls-alpn-01, from a CA that refuses every fifth nonce; the next start has
// them from the disk, where nobody else can read them.
func TestTLSALPN(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	cfg := config(t, ca, "turn.example.org", "Other.Example.org.", "127.0.0.1")
	cfg.Challenges = []string{acme.TLSALPN01}
	cfg.Email = "admin@example.org"
	r := start(t, cfg)
	r.answer(t, ca)
	r.await(t, "three certificates", r.has(3))
	roots := ca.Roots()
	for i, name := range []string{"turn.example.org", "other.example.org", "127.0.0.1"} {
		c := r.Certificates()[i]
		l := leaf(t, c)
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(c.PEM)
		if _, err := l.Verify(x509.VerifyOptions{Roots: roots, Intermediates: pool, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if days := time.Until(l.NotAfter).Hours() / 24; net.ParseIP(name) != nil && days > 6.1 { // of other profiles pebble takes any
			t.Errorf("%s: a certificate for %.1f days", name, days)
		}
	}
	if _, ok := r.Answer("turn.example.org"); ok {
		t.Error("the answer outlives the question")
	}
	if s := r.Stats(); s.Obtained != 3 || len(r.Troubles()) != 0 {
		t.Errorf("%+v, %+v", s, r.Troubles())
	}
	r.stop()
	again, err := acme.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range again.Certificates() {
		if !bytes.Equal(c.PEM, r.Certificates()[i].PEM) || c.Domain != r.Certificates()[i].Domain {
			t.Errorf("%d: another one after a restart", i)
		}
	}
	if n := len(again.Certificates()); n != 3 {
		t.Errorf("%d certificates after a restart", n)
	}
	closed(t, cfg.Dir)
}

// closed fails if anybody else could read what is in a folder.
func closed(t *testing.T, dir string) {
	t.Helper()
	files := 0
	err := filepath.Walk(dir, func(p string, st os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if st.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", p, st.Mode())
		}
		if strings.HasSuffix(p, ".tmp") {
			t.Errorf("%s is left over", p)
		}
		files++
		return nil
	})
	if err != nil || files < 5 {
		t.Errorf("%d files, %v", files, err)
	}
}
