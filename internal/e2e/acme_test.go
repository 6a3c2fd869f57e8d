package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/acmetest"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// acmeServer is a server that gets its certificate from a CA.
type acmeServer struct {
	*server
	ca *acmetest.CA
}

const acmeHost = "turn.example.org"

// serveACME starts a server for acmeHost, where ca asks. more is appended to the table [certs.acme].
func serveACME(t *testing.T, ca *acmetest.CA, more string) *acmeServer {
	t.Helper()
	table := fmt.Sprintf("[certs.acme]\nenabled = true\ndirectory = %q\nca_file = %q\nhttp_listen = \"127.0.0.1:%d\"\n%s\n[redis]\n",
		ca.URL, ca.RootFile, ca.HTTPPort, more)
	s := serveWith(t, func(s *server) {
		s.tls = fmt.Sprintf("127.0.0.1:%d", ca.TLSPort)
		s.env = append(s.env, "CROLANG_AIO_TURN_LISTEN_TLS="+s.tls)
	}, "[redis]\n", table, `host = "127.0.0.1"`, `host = "`+acmeHost+`"`)
	return &acmeServer{s, ca}
}

// status asks the admin API.
func (s *acmeServer) status(t *testing.T) (st adminapi.Status) {
	t.Helper()
	res, err := http.Get("http://" + s.admin + "/api/status") //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if err := json.NewDecoder(res.Body).Decode(&st); err != nil {
		t.Fatal(err)
	}
	return st
}

// awaitStatus polls until cond holds of the status.
func (s *acmeServer) awaitStatus(t *testing.T, what string, cond func(adminapi.Status) bool) adminapi.Status {
	t.Helper()
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		st := s.status(t)
		if cond(st) {
			return st
		}
		if time.Now().After(end) {
			t.Fatalf("not in 90 s: %s; warnings %+v\n%s", what, st.Warnings, s.logs())
		}
	}
}

// warned is the finding with that id; empty: there is none.
func warned(st adminapi.Status, id string) string {
	for _, w := range st.Warnings {
		if w.ID == id {
			return w.Detail + ": " + w.Remedy
		}
	}
	return ""
}

func tellsTLS(st adminapi.Status) bool {
	return slices.ContainsFunc(st.URLs, func(u string) bool { return strings.HasPrefix(u, "turns:"+acmeHost+":") })
}

// rewrite changes the configuration file, which the server reads again.
func (s *acmeServer) rewrite(t *testing.T, old, text string) {
	t.Helper()
	b, err := os.ReadFile(s.config)
	if err != nil || !strings.Contains(string(b), old) {
		t.Fatalf("no %q: %v", old, err)
	}
	if err := os.WriteFile(s.config, []byte(strings.Replace(string(b), old, text, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// shown is the certificate that a client that asks for name is shown.
func (s *acmeServer) shown(t *testing.T, name string) *x509.Certificate {
	t.Helper()
	c, err := tls.Dial("tcp", s.tls, &tls.Config{ServerName: name, InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0]
}

// A server that has no certificate yet serves, says why it has none, and tells no turns: URL; it does as soon as the CA has
// given one. Then 100 clients on TLS keep their allocations over renewals, over a reload to the self-signed certificate and
// back.
func TestACME(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{Validity: 30 * time.Second})
	ca.Stop()
	s := serveACME(t, ca, "")
	st := s.awaitStatus(t, "the CA is away", func(st adminapi.Status) bool { return warned(st, "certificate.unusable") != "" })
	if text := warned(st, "certificate.unusable"); tellsTLS(st) || !strings.Contains(text, "cannot be reached") || !strings.Contains(text, "tried again at") {
		t.Errorf("%v, %s", st.URLs, text)
	}
	if c := s.shown(t, acmeHost); c.Issuer.CommonName != c.Subject.CommonName {
		t.Errorf("shown is one of %s", c.Issuer)
	}
	ca.Restart()
	s.rewrite(t, "[certs.acme]\n", "[certs.acme]\nemail = \"admin@example.org\"\n")
	st = s.awaitStatus(t, "a certificate", tellsTLS)
	if st.Certificate.Kind != "acme" || st.Certificate.StandIn || !slices.Contains(st.Certificate.Names, acmeHost) || warned(st, "certificate.unusable") != "" {
		t.Errorf("%+v, %+v", st.Certificate, st.Warnings)
	}
	clients := make([]*turnclient.Client, 100)
	relayed := make([]netip.AddrPort, len(clients))
	username, password := s.credentials(t, "alice")
	for i := range clients {
		c, err := turnclient.Dial(t.Context(), turnclient.Options{
			Transport: "tls", Addr: s.tls, Username: username, Password: password, TLS: &tls.Config{ServerName: acmeHost, RootCAs: ca.Roots()},
		})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		a, err := c.Allocate(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		clients[i], relayed[i] = c, a.Relayed
	}
	alive := func(when string) {
		t.Helper()
		for i, c := range clients {
			to := (i + 1) % len(clients)
			if err := c.Permit(t.Context(), relayed[to]); err != nil {
				t.Fatalf("%s: client %d: %v", when, i, err)
			}
			if err := clients[to].Permit(t.Context(), relayed[i]); err != nil {
				t.Fatalf("%s: client %d: %v", when, to, err)
			}
			if err := c.Send(relayed[to], []byte(when)); err != nil {
				t.Fatalf("%s: client %d: %v", when, i, err)
			}
			if d, err := clients[to].Receive(t.Context()); err != nil || string(d.Data) != when {
				t.Fatalf("%s: client %d got %q, %v", when, to, d.Data, err)
			}
		}
	}
	alive("at first")
	first := s.shown(t, acmeHost)
	for range 2 {
		was := s.shown(t, acmeHost)
		s.awaitStatus(t, "a renewal", func(adminapi.Status) bool { return s.shown(t, acmeHost).SerialNumber.Cmp(was.SerialNumber) != 0 })
		alive("after a renewal")
	}
	if now := s.shown(t, acmeHost); !now.NotAfter.After(first.NotAfter) || time.Now().After(now.NotAfter) {
		t.Errorf("until %s, and before it was %s", now.NotAfter, first.NotAfter)
	}
	s.rewrite(t, "[certs.acme]\nemail = \"admin@example.org\"\nenabled = true", "[certs.acme]\nemail = \"admin@example.org\"\nenabled = false")
	s.awaitStatus(t, "the self-signed one", func(st adminapi.Status) bool { return st.Certificate.Kind == "self-signed" && !tellsTLS(st) })
	alive("after a reload")
	s.rewrite(t, "enabled = false\ndirectory", "enabled = true\ndirectory")
	s.awaitStatus(t, "the CA's again", func(st adminapi.Status) bool { return st.Certificate.Kind == "acme" && tellsTLS(st) })
	alive("after another")
	if log := s.logs(); strings.Contains(log, "PRIVATE KEY") || strings.Contains(log, "eyJ") {
		t.Errorf("a secret in the log: %s", log)
	}
}

// Names and an address have a certificate each, which the clients that ask for them are shown, and a stranger that asks as a
// CA does gets none.
func TestACMENames(t *testing.T) {
	ca := acmetest.Start(t, acmetest.Options{})
	s := serveACME(t, ca, `domains = ["`+acmeHost+`", "node.example.org", "127.0.0.1"]`)
	s.awaitStatus(t, "three certificates", func(st adminapi.Status) bool { return len(st.Certificate.Names) == 3 })
	for _, name := range []string{acmeHost, "node.example.org", "127.0.0.1"} {
		if err := s.shown(t, name).VerifyHostname(name); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.shown(t, "unknown.example.net").VerifyHostname(acmeHost); err != nil {
		t.Errorf("who asks for another name is shown %v", err)
	}
	c, err := tls.Dial("tcp", s.tls, &tls.Config{ServerName: acmeHost, NextProtos: []string{"acme-tls/1"}, InsecureSkipVerify: true})
	if err == nil {
		_ = c.Close()
		t.Error("a stranger that asks as a CA does is answered")
	}
	if l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", ca.HTTPPort)); err != nil {
		t.Errorf("http_listen is open while nobody asks: %v", err)
	} else {
		_ = l.Close()
	}
}
