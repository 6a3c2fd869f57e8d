// Package acmetest runs Let's Encrypt's test CA, pebble, with its DNS server for tests. Both are tools of tools/go.mod: the
// first use builds them.
package acmetest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
)

// Options change what the CA does. The zero value is a CA in good order.
type Options struct {
	Validity time.Duration // of its certificates; default 90 days
	Refused  []string      // names that it gives no certificate for
	Nonces   int           // percent of good nonces that it refuses; default 20
	Bound    bool          // it takes new accounts with an external binding only
}

// CA is a running pebble.
type CA struct {
	URL      string // of its directory
	RootFile string // PEM of the root of its own HTTPS
	TLSPort  int    // where it asks by tls-alpn-01, on 127.0.0.1
	HTTPPort int    // where it asks by http-01
	DNS      string // management URL of its DNS server

	t          *testing.T
	dir        string
	management string
	client     *http.Client
	command    func() *exec.Cmd
	process    *exec.Cmd
}

// Start runs a CA until the test ends. Names lead to 127.0.0.1. Where it cannot be had the test is skipped, or fails if all
// peers must be there.
func Start(t *testing.T, o Options) *CA {
	t.Helper()
	pebble, dns := tool(t, "pebble"), tool(t, "pebble-challtestsrv")
	var ports [6]int
	for i := range ports {
		var err error
		if ports[i], err = freeports.Next(); err != nil {
			t.Fatal(err)
		}
	}
	at := func(i int) string { return fmt.Sprintf("127.0.0.1:%d", ports[i]) }
	c := &CA{
		t: t, dir: t.TempDir(), URL: "https://" + at(0) + "/dir", management: "https://" + at(1), TLSPort: ports[2], HTTPPort: ports[3],
		DNS: "http://" + at(5),
	}
	c.makeHTTPS()
	if o.Validity == 0 {
		o.Validity = 90 * 24 * time.Hour
	}
	if o.Nonces == 0 {
		o.Nonces = 20
	}
	profile := func(v time.Duration) map[string]any {
		return map[string]any{"description": "for tests", "validityPeriod": int(v / time.Second)}
	}
	config, err := json.Marshal(map[string]any{"pebble": map[string]any{
		"listenAddress": at(0), "managementListenAddress": at(1), "tlsPort": ports[2], "httpPort": ports[3],
		"certificate": filepath.Join(c.dir, "https.pem"), "privateKey": filepath.Join(c.dir, "https.key"), "keyAlgorithm": "ecdsa",
		"domainBlocklist": append([]string{}, o.Refused...), "externalAccountBindingRequired": o.Bound, "retryAfter": map[string]int{"authz": 1, "order": 1},
		"profiles": map[string]any{"default": profile(o.Validity), "shortlived": profile(min(o.Validity, 6*24*time.Hour))},
	}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(c.dir, "pebble.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	names := exec.Command(dns, "-dnsserver", at(4), "-management", at(5), //nolint:gosec // a tool of this module
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "", "-defaultIPv6", "")
	run(t, names)
	c.command = func() *exec.Cmd {
		cmd := exec.Command(pebble, "-config", file, "-dnsserver", at(4), "-strict") //nolint:gosec // likewise
		cmd.Env = append(os.Environ(), "PEBBLE_VA_NOSLEEP=1", "PEBBLE_AUTHZREUSE=0", fmt.Sprintf("PEBBLE_WFE_NONCEREJECT=%d", o.Nonces))
		return cmd
	}
	c.Restart()
	return c
}

// Stop ends the CA: nobody answers any more.
func (c *CA) Stop() {
	c.t.Helper()
	if c.process != nil {
		_ = c.process.Process.Kill()
		_ = c.process.Wait()
		c.process = nil
	}
}

// Restart starts the CA, and ends one that runs. It forgets its accounts, and has other roots.
func (c *CA) Restart() {
	c.t.Helper()
	c.Stop()
	c.process = run(c.t, c.command())
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := c.client.Get(c.URL)
		if err == nil {
			_ = resp.Body.Close()
			return
		}
		if time.Now().After(end) {
			c.t.Fatalf("pebble does not answer: %v", err)
		}
	}
}

// Roots are those of the certificates that the CA gives.
func (c *CA) Roots() *x509.CertPool {
	c.t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(c.RootPEM()) {
		c.t.Fatal("pebble shows no root")
	}
	return pool
}

// RootPEM is the root of the certificates that the CA gives.
func (c *CA) RootPEM() []byte {
	c.t.Helper()
	resp, err := c.client.Get(c.management + "/roots/0")
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return b
}

// Revoked reports whether the CA has revoked a certificate.
func (c *CA) Revoked(cert *x509.Certificate) bool {
	c.t.Helper()
	resp, err := c.client.Get(c.management + "/cert-status-by-serial/" + fmt.Sprintf("%x", cert.SerialNumber))
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return strings.Contains(string(b), "Revoked")
}

// Suggest has the CA suggest to renew a certificate from start on, within half an hour, as Let's Encrypt does for one that
// it has revoked. pebble's own suggestion then is a second wide, which clients take for a mistake.
func (c *CA) Suggest(cert *x509.Certificate, start time.Time) {
	c.t.Helper()
	window := fmt.Sprintf(`{"suggestedWindow":{"start":%q,"end":%q}}`, start.UTC().Format(time.RFC3339), start.Add(30*time.Minute).UTC().Format(time.RFC3339))
	body, err := json.Marshal(map[string]string{
		"Certificate": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})), "ARIResponse": window,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := c.client.Post(c.management+"/set-renewal-info/", "application/json", bytes.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		c.t.Fatal(resp.Status)
	}
}

// Client trusts the CA's HTTPS.
func (c *CA) Client() *http.Client { return c.client }

// Set calls the DNS server's management, such as Set("add-a", map[string]any{"host": "x.example.", "addresses": …}).
func (c *CA) Set(what string, body any) {
	c.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		resp, err := http.Post(c.DNS+"/"+what, "application/json", bytes.NewReader(b))
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				c.t.Fatalf("%s: %s", what, resp.Status)
			}
			return
		}
		if time.Now().After(end) {
			c.t.Fatal(err)
		}
	}
}

// makeHTTPS makes a certificate for the CA's own listener.
func (c *CA) makeHTTPS() {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "HTTPS of a test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		c.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		c.t.Fatal(err)
	}
	c.RootFile = filepath.Join(c.dir, "https.pem")
	for name, block := range map[string]*pem.Block{"https.pem": {Type: "CERTIFICATE", Bytes: der}, "https.key": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(c.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	pool := x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		c.t.Fatal(err)
	}
	pool.AddCert(cert)
	c.client = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}, Timeout: 10 * time.Second}
}

// tool finds a program of tools/go.mod, and builds it if that has not been done.
func tool(t *testing.T, name string) string {
	t.Helper()
	mod, err := exec.Command("go", "env", "GOMOD").Output()
	if err == nil {
		cmd := exec.Command("go", "tool", "-modfile=tools/go.mod", "-n", name) //nolint:gosec // one of two
		cmd.Dir = filepath.Dir(strings.TrimSpace(string(mod)))
		var out []byte
		if out, err = cmd.Output(); err == nil {
			return strings.TrimSpace(string(out))
		}
	}
	if os.Getenv("CROLANG_AIO_REQUIRE_PEERS") != "" {
		t.Fatalf("%s cannot be built: %v", name, err)
	}
	t.Skipf("%s cannot be built: %v", name, err)
	return ""
}

// run starts a program that is killed when the test ends. What it writes is shown if the test fails.
func run(t *testing.T, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	log, err := os.CreateTemp(t.TempDir(), "log")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = log.Close()
		if b, err := os.ReadFile(log.Name()); err == nil && t.Failed() {
			t.Logf("%s wrote:\n%s", filepath.Base(cmd.Path), b[max(0, len(b)-8<<10):])
		}
	})
	return cmd
}
