package webguard

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func pair(t *testing.T, name string) *tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// A listener with a certificate serves HTTPS with the one of the moment, tells clients of plain HTTP what it is, and counts them.
func TestTLS(t *testing.T) {
	var now atomic.Pointer[tls.Certificate]
	g := start(t, Config{
		Handler:     http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Proto) }),
		Certificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return now.Load(), nil },
	})
	for _, name := range []string{"first.example", "second.example"} {
		now.Store(pair(t, name))
		roots := x509.NewCertPool()
		roots.AddCert(now.Load().Leaf)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: name}}}
		resp, err := client.Get("https://" + g.Addr().String() + "/")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || string(body) != "HTTP/1.1" || resp.TLS.PeerCertificates[0].DNSNames[0] != name {
			t.Errorf("%q, %v, from %v", body, err, resp.TLS.PeerCertificates[0].DNSNames)
		}
	}
	c, err := net.Dial("tcp", g.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(c)
	if !strings.HasPrefix(string(answer), "HTTP/1.0 400 ") || !strings.Contains(string(answer), "Client sent an HTTP request to an HTTPS server") {
		t.Errorf("%q, %v", answer, err)
	}
	for end := time.Now().Add(10 * time.Second); g.Lost()["bad_handshake"] != 1 || g.Open() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("lost %v, %d open", g.Lost(), g.Open())
		}
	}
}
