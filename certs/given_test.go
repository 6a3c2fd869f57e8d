package certs_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs"
)

func (f *files) config() certs.Config {
	return certs.Config{CertFile: f.cert, KeyFile: f.key, PublicHost: "turn.example.org", Addresses: noAddrs, Now: newClock().now}
}

func TestGivenPairs(t *testing.T) {
	a := newAuthority(t)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	sec1 := ecKey(t)
	sec1DER, err := x509.MarshalECPrivateKey(sec1)
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string][2][]byte{
		"RSA, PKCS 8":       {a.leaf(t, x509.Certificate{}, rsaKey), keyPEM(t, rsaKey)},
		"RSA, PKCS 1":       {a.leaf(t, x509.Certificate{}, rsaKey), pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)})},
		"Ed25519":           {a.leaf(t, x509.Certificate{}, edKey), keyPEM(t, edKey)},
		"ECDSA, SEC 1":      {a.leaf(t, x509.Certificate{}, sec1), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1DER})},
		"parameters before": {a.leaf(t, x509.Certificate{}, sec1), append([]byte("-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"), keyPEM(t, sec1)...)},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFiles(t)
			f.writeCert(append(pair[0], a.pem()...))
			f.writeKey(pair[1])
			k := mustNew(t, f.config())
			info := k.Info()
			if info.SelfSigned || !info.Verifiable || info.Source != f.cert {
				t.Errorf("%+v", info)
			}
			if n := len(k.Certificate().Certificate); n != 2 {
				t.Errorf("chain of %d, want 2", n)
			}
		})
	}
}

// Both in one file, named twice.
func TestGivenPairInOneFile(t *testing.T) {
	a, f, key := newAuthority(t), newFiles(t), ecKey(t)
	f.writeCert(append(a.leaf(t, x509.Certificate{}, key), keyPEM(t, key)...))
	f.key = f.cert
	mustNew(t, f.config())
}

// Every bad pair is one line that names the file and the remedy.
func TestBadPairs(t *testing.T) {
	a := newAuthority(t)
	for _, tt := range []struct {
		name string
		make func(f *files)
		want error
		text string // with CERT and KEY for the files
	}{
		{"no certificate", func(f *files) { os.Remove(f.cert) }, certs.ErrUnreadable,
			"CERT: no such file or directory; check the path, or put the file there"},
		{"no key", func(f *files) { os.Remove(f.key) }, certs.ErrUnreadable,
			"KEY: no such file or directory; check the path, or put the file there"},
		{"a folder", func(f *files) { os.Remove(f.key); os.Mkdir(f.key, 0o700) }, certs.ErrUnreadable,
			"KEY: is not a file; give a PEM file"},
		{"huge", func(f *files) { f.writeCert(make([]byte, 1<<20+1)) }, certs.ErrUnreadable,
			"CERT: is larger than 1 MiB; give a PEM file"},
		{"empty certificate", func(f *files) { f.writeCert(nil) }, certs.ErrUnreadable,
			"CERT: holds no PEM certificate; give the certificate chain as PEM, the server's certificate first"},
		{"DER", func(f *files) { f.writeCert(a.cert.Raw) }, certs.ErrUnreadable,
			"CERT: holds no PEM certificate; give the certificate chain as PEM, the server's certificate first"},
		{"empty key", func(f *files) { f.writeKey(nil) }, certs.ErrUnreadable,
			"KEY: holds no PEM private key; give the certificate's key as PEM"},
		{"files the wrong way round", func(f *files) { f.cert, f.key = f.key, f.cert }, certs.ErrUnreadable,
			"CERT: holds no PEM certificate; give the certificate chain as PEM, the server's certificate first"},
		{"chain cut short", func(f *files) { f.truncate(f.cert, 40) }, certs.ErrUnreadable,
			"CERT: is cut short; write the whole PEM file, best under another name that is then renamed"},
		{"garbled key", func(f *files) {
			f.writeKey(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("hello")}))
		}, certs.ErrUnreadable, ""},
		{"encrypted key", func(f *files) {
			f.writeKey(pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("hello")}))
		}, certs.ErrUnreadable,
			"KEY: the private key is encrypted; write it without a passphrase (openssl pkey -in OLD -out NEW)"},
		{"another pair's key", func(f *files) { f.writeKey(keyPEM(f.t, ecKey(f.t))) }, certs.ErrMismatch,
			"KEY: this key does not belong to the certificate in CERT; give the two files of one pair"},
		{"issuer first", func(f *files) {
			key := ecKey(f.t)
			f.writeCert(append(a.pem(), a.leaf(f.t, x509.Certificate{}, key)...))
			f.writeKey(keyPEM(f.t, key))
		}, certs.ErrMismatch,
			"CERT: the server's certificate is not the first of the chain; put it before those of its issuers"},
		{"expired", func(f *files) {
			f.pair(a, x509.Certificate{NotBefore: today.AddDate(-1, 0, 0), NotAfter: today.Add(-time.Minute)})
		}, certs.ErrExpired,
			"CERT: the certificate expired on 2026-03-01 11:59 UTC; renew it (this machine's clock says 2026-03-01 12:00 UTC)"},
		{"not valid yet", func(f *files) { f.pair(a, x509.Certificate{NotBefore: today.Add(time.Hour)}) }, certs.ErrNotYetValid,
			"CERT: the certificate is not valid before 2026-03-01 13:00 UTC; check this machine's clock, which says 2026-03-01 12:00 UTC"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFiles(t)
			f.pair(a, x509.Certificate{})
			tt.make(f)
			err := certs.Check(f.cert, f.key, "", today)
			if !errors.Is(err, tt.want) {
				t.Fatalf("error %v, want %v", err, tt.want)
			}
			if _, err := mustNew(t, certs.Config{Dir: t.TempDir(), Addresses: noAddrs, Now: newClock().now}).Prepare(f.config()); !errors.Is(err, tt.want) {
				t.Errorf("prepared: %v", err)
			}
			text := strings.NewReplacer("CERT", f.cert, "KEY", f.key).Replace(tt.text)
			if tt.text != "" && err.Error() != text {
				t.Errorf("error  %s\nwant   %s", err, text)
			}
			if strings.Contains(err.Error(), "\n") || strings.Contains(err.Error(), "PRIVATE KEY") {
				t.Errorf("error %q: more than a line, or a key", err)
			}
		})
	}
}

// truncate takes n bytes off the end.
func (f *files) truncate(name string, n int64) {
	f.t.Helper()
	st, err := os.Stat(name)
	if err == nil {
		err = os.Truncate(name, st.Size()-n)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

func TestKeyThatMayNotBeRead(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	a, f := newAuthority(t), newFiles(t)
	f.pair(a, x509.Certificate{})
	if err := os.Chmod(f.key, 0); err != nil {
		t.Fatal(err)
	}
	err := certs.Check(f.cert, f.key, "", today)
	if !errors.Is(err, certs.ErrUnreadable) || !errors.Is(err, os.ErrPermission) || !strings.HasPrefix(err.Error(), f.key+": ") {
		t.Errorf("error %v", err)
	}
}

// The certificate comes first, its key later: in between the old pair stays, and the log has one line.
func TestReloadedWhenBothChanged(t *testing.T) {
	a, f, l := newAuthority(t), newFiles(t), &logs{}
	f.pair(a, x509.Certificate{})
	cfg := f.config()
	cfg.Logger, cfg.Poll = l.logger(), time.Millisecond
	onChange, changed := changes()
	cfg.OnChange = onChange
	k := mustNew(t, cfg)
	before := k.Info().Fingerprint
	run(t, k)

	key := ecKey(t)
	f.writeCert(a.leaf(t, x509.Certificate{DNSNames: []string{"turn.example.org", "new.example.org"}}, key))
	eventually(t, "a line about it", func() bool { return l.count("does not belong") > 0 })
	if err := k.Reload(); !errors.Is(err, certs.ErrMismatch) {
		t.Errorf("Reload: %v", err)
	}
	if k.Info().Fingerprint != before {
		t.Error("half a pair came into use")
	}
	f.writeKey(keyPEM(t, key))
	info := await(t, changed)
	if info.Fingerprint == before || info.Names[1] != "new.example.org" {
		t.Errorf("%+v", info)
	}
	if n := l.count("does not belong"); n != 1 {
		t.Errorf("%d lines, want 1", n)
	}
}

// Kubernetes turns one symbolic link, ..data, from the old folder to the new.
func TestReloadedThroughALink(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	version := func(name string) []byte {
		sub := filepath.Join(dir, name)
		if err := os.Mkdir(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		f := &files{t, filepath.Join(sub, "tls.crt"), filepath.Join(sub, "tls.key")}
		return f.pair(a, x509.Certificate{})
	}
	link := func(target, name string) {
		t.Helper()
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	version("one")
	link("one", "..data")
	link(filepath.Join("..data", "tls.crt"), "tls.crt")
	link(filepath.Join("..data", "tls.key"), "tls.key")

	f := &files{t, filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")}
	cfg := f.config()
	cfg.Poll = time.Millisecond
	onChange, changed := changes()
	cfg.OnChange = onChange
	k := mustNew(t, cfg)
	run(t, k)

	want, _ := pem.Decode(version("two"))
	link("two", "..data_tmp")
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	await(t, changed)
	if !bytes.Equal(k.Certificate().Certificate[0], want.Bytes) {
		t.Error("not the second pair")
	}
}

// Whatever becomes of the files, the pair in use stays, and each cause has one line.
func TestKeptWhenTheFilesGoBad(t *testing.T) {
	a, f, l := newAuthority(t), newFiles(t), &logs{}
	f.pair(a, x509.Certificate{})
	cfg := f.config()
	cfg.Logger, cfg.Poll = l.logger(), time.Millisecond
	k := mustNew(t, cfg)
	before := k.Info().Fingerprint
	run(t, k)

	f.pair(a, x509.Certificate{NotBefore: today.AddDate(-1, 0, 0), NotAfter: today.Add(-time.Minute)})
	eventually(t, "expired", func() bool { return l.count("expired on") == 1 })
	f.pair(a, x509.Certificate{NotBefore: today.Add(time.Hour)})
	eventually(t, "not valid yet", func() bool { return l.count("not valid before") == 1 })
	if err := os.Remove(f.key); err != nil {
		t.Fatal(err)
	}
	eventually(t, "gone", func() bool { return l.count("no such file") == 1 })
	if err := k.Reload(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Reload: %v", err)
	}
	if k.Info().Fingerprint != before {
		t.Error("the pair in use was replaced")
	}
	if d := k.Doubts(); len(d) != 1 || d[0].ID != "kept" || !strings.HasPrefix(d[0].Detail, f.key+": no such file") || d[0].Remedy == "" {
		t.Errorf("doubts: %+v", d)
	}
	for _, text := range []string{"expired on", "not valid before", "no such file"} {
		if n := l.count(text); n != 1 {
			t.Errorf("%d lines with %q, want 1", n, text)
		}
	}
}

func TestWarnings(t *testing.T) {
	a := newAuthority(t)
	for _, tt := range []struct {
		name string
		make func(f *files, cfg *certs.Config, c *clock)
		text string // nothing: no warning at all
		id   string // of the finding
	}{
		{"fine", func(*files, *certs.Config, *clock) {}, "", ""},
		{"ends tomorrow", func(f *files, _ *certs.Config, _ *clock) {
			f.pair(a, x509.Certificate{NotAfter: today.AddDate(0, 0, 1)})
		}, "expires soon", "soon"},
		{"ends in 13 days", func(_ *files, _ *certs.Config, c *clock) { c.add(76 * 24 * time.Hour) }, "expires soon", "soon"},
		{"short-lived, half gone", func(f *files, _ *certs.Config, _ *clock) {
			f.pair(a, x509.Certificate{NotBefore: today.AddDate(0, 0, -3), NotAfter: today.AddDate(0, 0, 3)})
		}, "", ""},
		{"key open to all", func(f *files, _ *certs.Config, _ *clock) { os.Chmod(f.key, 0o644) }, "can be read by every user", "mode"},
		{"another name", func(_ *files, cfg *certs.Config, _ *clock) { cfg.PublicHost = "203.0.113.1" }, "does not name the public host", "names"},
		{"for clients only", func(f *files, _ *certs.Config, _ *clock) {
			f.pair(a, x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
		}, "not for servers", "usage"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, l, c := newFiles(t), &logs{}, newClock()
			f.pair(a, x509.Certificate{})
			cfg := f.config()
			cfg.Logger, cfg.Now = l.logger(), c.now
			tt.make(f, &cfg, c)
			k := mustNew(t, cfg)
			for range 3 {
				if err := k.Reload(); err != nil {
					t.Fatal(err)
				}
			}
			var ids []string
			for _, d := range k.Doubts() {
				ids = append(ids, d.ID)
			}
			if got := strings.Join(ids, " "); got != tt.id {
				t.Errorf("doubts %q, want %q", got, tt.id)
			}
			if tt.text == "" && l.count("") != 0 {
				t.Errorf("logged: %s", l.String())
			}
			if tt.text != "" && (l.count(tt.text) != 1 || l.count("") != 1) {
				t.Errorf("want one line with %q, logged: %s", tt.text, l.String())
			}
		})
	}
}

// A pair that ends while it is in use: said once as it comes, once as it is there.
func TestExpiresInUse(t *testing.T) {
	a, f, l, c := newAuthority(t), newFiles(t), &logs{}, newClock()
	f.pair(a, x509.Certificate{})
	cfg := f.config()
	cfg.Logger, cfg.Now = l.logger(), c.now
	k := mustNew(t, cfg)
	for range 100 {
		c.add(24 * time.Hour)
		if err := k.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	if d := k.Doubts(); len(d) != 1 || d[0].ID != "expired" {
		t.Errorf("doubts: %+v", d)
	}
	if l.count("expires soon") != 1 || l.count("the certificate expired on") != 1 || l.count("") != 2 {
		t.Errorf("logged: %s", l.String())
	}
}

// What is wrong with the files at the start is said, and does not keep the rest from starting: something is shown
// meanwhile, no client is told to use it, and the right pair comes into use as soon as it is there.
func TestStandsInForABadPair(t *testing.T) {
	a := newAuthority(t)
	for _, tt := range []struct {
		name    string
		make    func(f *files)
		standIn bool
		id      string
	}{
		{"no key", func(f *files) { os.Remove(f.key) }, true, "unusable"},
		{"another pair's key", func(f *files) { f.writeKey(keyPEM(f.t, ecKey(f.t))) }, true, "unusable"},
		{"expired", func(f *files) {
			f.pair(a, x509.Certificate{NotBefore: today.AddDate(-1, 0, 0), NotAfter: today.Add(-time.Minute)})
		}, false, "expired"},
		{"not valid yet", func(f *files) { f.pair(a, x509.Certificate{NotBefore: today.Add(time.Hour)}) }, false, "early"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, l := newFiles(t), &logs{}
			f.pair(a, x509.Certificate{})
			tt.make(f)
			cfg := f.config()
			onChange, changed := changes()
			cfg.Logger, cfg.OnChange = l.logger(), onChange
			k := mustNew(t, cfg)
			if i := k.Info(); i.Kind != certs.Files || i.StandIn != tt.standIn || k.Verifiable() || k.Usable() {
				t.Errorf("%+v, usable: %v", i, k.Usable())
			}
			if err := k.Certificate().Leaf.VerifyHostname("turn.example.org"); err != nil {
				t.Error(err)
			}
			if d := k.Doubts(); len(d) != 1 || d[0].ID != tt.id || d[0].Remedy == "" || !strings.HasPrefix(d[0].Detail, filepath.Dir(f.cert)) {
				t.Errorf("doubts: %+v", d)
			}
			_ = k.Reload()
			if l.count("") != 1 || l.count("clients refuse") != 1 {
				t.Errorf("want one line, logged: %s", l.String())
			}
			want := f.pair(a, x509.Certificate{})
			if err := k.Reload(); err != nil {
				t.Fatal(err)
			}
			if i := await(t, changed); i.StandIn || !i.Verifiable || !k.Usable() || len(k.Doubts()) != 0 {
				t.Errorf("with the right pair: %+v, %+v", i, k.Doubts())
			}
			if block, _ := pem.Decode(want); !bytes.Equal(k.Certificate().Certificate[0], block.Bytes) {
				t.Error("not the right pair")
			}
		})
	}
}

// Who is told to use TLS learns that the certificate has ended.
func TestEndedIsNotVerifiable(t *testing.T) {
	a, f, c := newAuthority(t), newFiles(t), newClock()
	f.pair(a, x509.Certificate{})
	cfg := f.config()
	onChange, changed := changes()
	cfg.Now, cfg.OnChange = c.now, onChange
	k := mustNew(t, cfg)
	if !k.Verifiable() {
		t.Fatal("not verifiable from the start")
	}
	c.add(100 * 24 * time.Hour)
	_ = k.Reload()
	if i := await(t, changed); i.Verifiable || k.Verifiable() || k.Usable() {
		t.Errorf("%+v", i)
	}
}

func TestPrepare(t *testing.T) {
	a, f, l := newAuthority(t), newFiles(t), &logs{}
	f.pair(a, x509.Certificate{})
	own := selfSigned(t)
	own.Logger = l.logger()
	k := mustNew(t, own)
	before := k.Info()
	next := f.config()
	c, err := k.Prepare(next)
	if err != nil {
		t.Fatal(err)
	}
	c.Drop()
	if k.Info().Fingerprint != before.Fingerprint || k.Info().Kind != certs.SelfSigned {
		t.Errorf("a change that was dropped holds: %+v", k.Info())
	}
	if c, err = k.Prepare(next); err != nil {
		t.Fatal(err)
	}
	c.Apply()
	if i := k.Info(); i.Kind != certs.Files || i.Source != f.cert {
		t.Errorf("%+v", i)
	}
	// The files go bad: that is no mistake of settings that do not name other ones.
	given := k.Info().Fingerprint
	f.writeKey(nil)
	next.PublicHost = "other.example.org"
	if c, err = k.Prepare(next); err != nil {
		t.Fatal(err)
	}
	c.Apply()
	var ids []string
	for _, d := range k.Doubts() {
		ids = append(ids, d.ID)
	}
	if got := strings.Join(ids, " "); k.Info().Fingerprint != given || got != "names kept" {
		t.Errorf("%+v, %s", k.Info(), got)
	}
	if c, err = k.Prepare(own); err != nil {
		t.Fatal(err)
	}
	c.Apply()
	if i := k.Info(); i.Kind != certs.SelfSigned || i.Fingerprint != before.Fingerprint || len(k.Doubts()) != 0 {
		t.Errorf("%+v, %+v", i, k.Doubts())
	}
}

func TestVerifiable(t *testing.T) {
	a := newAuthority(t)
	for _, tt := range []struct {
		name string
		tmpl x509.Certificate
		by   *authority
		host string
		want bool
	}{
		{"of an authority", x509.Certificate{}, a, "turn.example.org", true},
		{"of an authority, host unknown", x509.Certificate{}, a, "", true},
		{"of an authority, another host", x509.Certificate{}, a, "other.example.org", false},
		{"wildcard", x509.Certificate{DNSNames: []string{"*.example.org"}}, a, "turn.example.org", true},
		{"address", x509.Certificate{IPAddresses: []net.IP{net.IPv4(203, 0, 113, 1)}}, a, "203.0.113.1", true},
		{"self-signed", x509.Certificate{}, nil, "turn.example.org", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f, key := newFiles(t), ecKey(t)
			f.writeCert(tt.by.leaf(t, tt.tmpl, key))
			f.writeKey(keyPEM(t, key))
			cfg := f.config()
			cfg.PublicHost = tt.host
			k := mustNew(t, cfg)
			if got := k.Verifiable(); got != tt.want {
				t.Errorf("Verifiable %v, want %v", got, tt.want)
			}
			if got := k.Info().SelfSigned; got != (tt.by == nil) {
				t.Errorf("SelfSigned %v", got)
			}
			if err := k.SetNames("other.example.net", nil); err != nil {
				t.Fatal(err)
			}
			if k.Verifiable() {
				t.Error("SetNames did not change Verifiable")
			}
		})
	}
}
