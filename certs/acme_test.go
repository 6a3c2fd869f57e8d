package certs_test

import (
	"crypto/tls"
	"crypto/x509"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs"
	"github.com/crolang-p2p/crolang-aio/certs/acme"
)

// away are settings of a CA that nobody reaches.
func away(domains ...string) *acme.Settings {
	return &acme.Settings{
		Domains: domains, Directory: "https://127.0.0.1:1/directory", Challenges: []string{acme.TLSALPN01}, HTTPListen: "127.0.0.1:0",
	}
}

func ids(k *certs.Keeper) (all []string) {
	for _, d := range k.Doubts() {
		all = append(all, d.ID)
	}
	return all
}

// Until the CA has given one a self-signed certificate serves, which no client is told to use.
func TestAwaitsTheCA(t *testing.T) {
	cfg, l := selfSigned(t), &logs{}
	cfg.ACME, cfg.PublicHost, cfg.Logger = away(), "turn.example.org", l.logger()
	cfg.Pace = acme.Pace{Look: time.Second, Retry: 10 * time.Millisecond}
	k := mustNew(t, cfg)
	if i := k.Info(); i.Kind != certs.ACME || !i.StandIn || k.Verifiable() || k.Usable() || !slices.Contains(ids(k), "awaited") {
		t.Errorf("%+v, %v", i, ids(k))
	}
	if _, err := k.GetCertificate(&tls.ClientHelloInfo{ServerName: "turn.example.org", SupportedProtos: []string{"acme-tls/1"}}); err == nil {
		t.Error("a question that no CA asks is answered")
	}
	if c, err := k.GetCertificate(&tls.ClientHelloInfo{ServerName: "turn.example.org"}); err != nil || c.Leaf.VerifyHostname("turn.example.org") != nil {
		t.Errorf("%v", err)
	}
	run(t, k)
	eventually(t, "it is said that the CA cannot be reached", func() bool { return slices.Contains(ids(k), "unusable") })
	d := k.Doubts()[0]
	if !strings.Contains(d.Detail, "turn.example.org: there is no certificate: 127.0.0.1:1 cannot be reached") || !strings.Contains(d.Detail, "tried again at") || d.Remedy == "" {
		t.Errorf("%+v", d)
	}
	if k.Attempts()["away"] == 0 {
		t.Errorf("%v", k.Attempts())
	}
}

// A reload that turns the CA on leaves the certificate of the files in use until there is another; one that turns it off ends
// the asking.
func TestSwitchToTheCAAndBack(t *testing.T) {
	a, f := newAuthority(t), newFiles(t)
	f.pair(a, x509.Certificate{})
	cfg := f.config()
	cfg.Dir, cfg.Pace = t.TempDir(), acme.Pace{Retry: 10 * time.Millisecond}
	k := mustNew(t, cfg)
	run(t, k)
	before := k.Info()
	next := cfg
	next.CertFile, next.KeyFile, next.ACME = "", "", away("turn.example.org")
	for range 3 {
		c, err := k.Prepare(next)
		if err != nil {
			t.Fatal(err)
		}
		c.Apply()
		eventually(t, "the CA is asked", func() bool { return k.Attempts()["away"] > 0 })
		if i := k.Info(); i.Fingerprint != before.Fingerprint || i.StandIn || !k.Verifiable() || !k.Usable() {
			t.Errorf("%+v", i)
		}
		if all := ids(k); !slices.Contains(all, "kept") {
			t.Errorf("%v", all)
		}
		if c, err = k.Prepare(cfg); err != nil {
			t.Fatal(err)
		}
		c.Apply()
		if i := k.Info(); i.Fingerprint != before.Fingerprint || i.Kind != certs.Files || len(k.Doubts()) != 0 || k.Attempts() != nil {
			t.Errorf("%+v, %v", i, ids(k))
		}
	}
	next.CertFile = f.cert
	if _, err := k.Prepare(next); err == nil {
		t.Error("a CA and files at once")
	}
	next.CertFile, next.ACME.CAFile = "", f.key
	if _, err := k.Prepare(next); err == nil || !strings.Contains(err.Error(), "certs.acme.ca_file") {
		t.Errorf("roots that are none: %v", err)
	}
}
