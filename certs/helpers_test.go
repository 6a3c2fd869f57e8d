package certs_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs"
	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
)

// today is the day on which the tests' clocks start.
var today = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clock is a clock that a test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: today} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// logs keeps what was logged, a line each.
type logs struct{ logtest.Buffer }

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// count is the number of lines with text in them.
func (l *logs) count(text string) int {
	n := 0
	for line := range strings.Lines(l.String()) {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

// noAddrs is a machine without addresses of its own.
func noAddrs() ([]netip.Addr, error) { return nil, nil }

func addrs(list ...string) func() ([]netip.Addr, error) {
	return func() ([]netip.Addr, error) {
		var out []netip.Addr
		for _, s := range list {
			out = append(out, netip.MustParseAddr(s))
		}
		return out, nil
	}
}

// authority signs certificates for tests; zero fields of a leaf are filled in.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	key := ecKey(t)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"},
		NotBefore: today.AddDate(-1, 0, 0), NotAfter: today.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{t, cert, key}
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// leaf is a PEM certificate for key, signed by a (by key itself when a is nil).
func (a *authority) leaf(t *testing.T, tmpl x509.Certificate, key crypto.Signer) []byte {
	t.Helper()
	tmpl.SerialNumber, _ = rand.Int(rand.Reader, big.NewInt(1<<60))
	if tmpl.NotBefore.IsZero() {
		tmpl.NotBefore = today.AddDate(0, 0, -1)
	}
	if tmpl.NotAfter.IsZero() {
		tmpl.NotAfter = today.AddDate(0, 0, 89)
	}
	if tmpl.ExtKeyUsage == nil {
		tmpl.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	}
	if tmpl.DNSNames == nil {
		tmpl.DNSNames = []string{"turn.example.org"}
	}
	tmpl.Subject.CommonName = "leaf"
	parent, signer := &tmpl, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &tmpl, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func keyPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

// files is a folder with an operator's pair in it.
type files struct {
	t         *testing.T
	cert, key string
}

func newFiles(t *testing.T) *files {
	dir := t.TempDir()
	return &files{t, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
}

func (f *files) writeCert(b []byte) { f.write(f.cert, b) }
func (f *files) writeKey(b []byte)  { f.write(f.key, b) }

func (f *files) write(name string, b []byte) {
	f.t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// pair writes a fresh pair of a, and returns its certificate.
func (f *files) pair(a *authority, tmpl x509.Certificate) []byte {
	f.t.Helper()
	key := ecKey(f.t)
	cert := a.leaf(f.t, tmpl, key)
	f.writeCert(append(bytes.Clone(cert), a.pem()...))
	f.writeKey(keyPEM(f.t, key))
	return cert
}

func mustNew(t *testing.T, cfg certs.Config) *certs.Keeper {
	t.Helper()
	k, err := certs.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// run runs k until the test ends, and waits for it.
func run(t *testing.T, k *certs.Keeper) {
	t.Helper()
	ctx := t.Context()
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	t.Cleanup(func() {
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(10 * time.Second):
			t.Error("Run does not end")
		}
	})
}

// changes is an OnChange and the channel it feeds.
func changes() (func(certs.Info), <-chan certs.Info) {
	c := make(chan certs.Info, 16)
	return func(i certs.Info) { c <- i }, c
}

func await[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(10 * time.Second):
		t.Fatal("nothing happened in 10 s")
		panic("unreachable")
	}
}

// eventually polls for what has no event of its own (a log line).
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in 10 s: %s", what)
		}
	}
}
