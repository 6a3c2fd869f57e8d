package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
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

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// root is a certificate authority of a test's own.
type root struct {
	file string // its certificate, PEM
	pool *x509.CertPool
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newRoot(t *testing.T, dir string) *root {
	t.Helper()
	r := &root{file: filepath.Join(dir, "root.pem"), pool: x509.NewCertPool()}
	var err error
	if r.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "a root of a test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(240 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &r.key.PublicKey, r.key)
	if err != nil {
		t.Fatal(err)
	}
	if r.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	r.pool.AddCert(r.cert)
	writePEM(t, r.file, "CERTIFICATE", der)
	return r
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

// issue makes a certificate for localhost, 127.0.0.1 and ::1, and returns the files of it and its key.
func (r *root) issue(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost", "turn.example.org"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(200 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, r.cert, &key.PublicKey, r.key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", secret)
	return certFile, keyFile
}

// onePort starts the program with a certificate of root, and everything at its TLS port.
func onePort(t *testing.T, more ...string) (*server, *root) {
	t.Helper()
	dir := t.TempDir()
	r := newRoot(t, dir)
	cert, key := r.issue(t, dir)
	edits := append([]string{
		"[redis]\n", fmt.Sprintf("[certs]\ncert_file = %q\nkey_file = %q\n[https]\nserve = [\"broker\", \"hooks\", \"admin\"]\n[redis]\n", cert, key),
		`host = "127.0.0.1"`, `host = "localhost"`,
		"[admin]\n", "[admin]\ntoken = \"" + operatorsToken + "\"\n",
		"[hooks]\n", "[hooks]\ntoken = \"" + brokersToken + "\"\n",
	}, more...)
	return serve(t, edits...), r
}

const (
	operatorsToken = "f3b1c0a59e8d47f0b6a1d2c3e4f50617"
	brokersToken   = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
)

// issued is a credential for a Node, from the program's own command.
func (s *server) issued(t *testing.T, node string) (username, password string) {
	t.Helper()
	out, err := run(t, binary, "credential", node, "--config", s.config)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(out) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), " "); ok && key == "username" {
			username = strings.TrimSpace(value)
		} else if key == "password" {
			password = strings.TrimSpace(value)
		}
	}
	return username, password
}

// fetch gets a page over HTTPS at an address, by the name of localhost.
func (r *root) fetch(t *testing.T, at, path, token string) (int, string) {
	t.Helper()
	_, port, _ := net.SplitHostPort(at)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://localhost:"+port+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	client := http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: r.pool}, ForceAttemptHTTP2: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, at)
		},
	}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// allocation makes one at an address, and returns it.
func (s *server) allocation(t *testing.T, transport, at, node string) (*turnclient.Client, turnclient.Allocation) {
	t.Helper()
	username, password := s.issued(t, node)
	c, err := turnclient.Dial(t.Context(), turnclient.Options{
		Transport: transport, Addr: at, Username: username, Password: password, Timeout: 20 * time.Second, TLS: &tls.Config{InsecureSkipVerify: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	a, err := c.Allocate(t.Context(), nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, s.logs())
	}
	return c, a
}

// Everything is reached at one port: a relay, Nodes of the real Socket.IO client, the dashboard and the webhooks; and doctor
// finds all of it.
func TestOnePort(t *testing.T) {
	node := npm(t, "socketio")
	s, r := onePort(t)
	_, port, _ := net.SplitHostPort(s.tls)
	s.allocation(t, "tls", s.tls, "Alice at one port")
	for path, want := range map[string]int{"/": 200, "/healthz": 200, "/api/status": 401, "/nothing": 404} {
		if status, body := r.fetch(t, s.tls, path, ""); status != want {
			t.Errorf("%s: %d %s", path, status, body)
		}
	}
	status, body := r.fetch(t, s.tls, "/api/status", operatorsToken)
	for _, want := range []string{`"nodes_url":"https://localhost:` + port + `"`, `{"part":"hooks","url":"https://localhost:` + port + `"}`} {
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("%d %s lacks %s", status, body, want)
		}
	}
	cmd := exec.Command(node, "socketio/nodes.js", "https://localhost:"+port)
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+r.file)
	if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), `"ok":true`) {
		t.Errorf("%v\n%s\n%s", err, out, s.logs())
	}
	if out, err := run(t, binary, "broker-env", "--config", s.config); err != nil || !strings.Contains(out, "https://broker:"+brokersToken+"@localhost:"+port+"/validity-check") {
		t.Errorf("%v\n%s", err, out)
	}
	out, _ := run(t, binary, "doctor", "--config", s.config) // the certificate's root is not one of the system's
	for _, part := range []string{"broker", "hooks", "admin"} {
		if !strings.Contains(out, "answers on this machine ("+part+")") {
			t.Errorf("doctor does not find %s over HTTPS:\n%s", part, out)
		}
	}
}
