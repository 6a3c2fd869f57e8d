package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs"
)

func selfSigned(t *testing.T) certs.Config {
	return certs.Config{
		Dir: filepath.Join(t.TempDir(), "data"), PublicHost: "turn.example.org",
		Hosts: []string{"box.local", "203.0.113.9"}, Addresses: addrs("192.0.2.7", "2001:db8::7", "fe80::1"),
		Now: newClock().now,
	}
}

func TestFirstStartMakesAPair(t *testing.T) {
	cfg := selfSigned(t)
	k := mustNew(t, cfg)

	leaf := k.Certificate().Leaf
	if key, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok || key.Curve != elliptic.P256() {
		t.Errorf("key is %T, want ECDSA P-256", leaf.PublicKey)
	}
	for _, host := range []string{"localhost", "127.0.0.1", "::1", "turn.example.org", "box.local", "203.0.113.9", "192.0.2.7", "2001:db8::7"} {
		if err := leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
	if leaf.VerifyHostname("fe80::1") == nil {
		t.Error("a link-local address is named")
	}
	if got, want := leaf.NotAfter, today.Add(certs.DefaultValidity); !got.Equal(want) {
		t.Errorf("ends %s, want %s", got, want)
	}
	info := k.Info()
	if !info.SelfSigned || info.Verifiable || k.Verifiable() {
		t.Errorf("SelfSigned %v, Verifiable %v", info.SelfSigned, info.Verifiable)
	}
	if !slices.Contains(info.Names, "192.0.2.7") || info.Source != filepath.Join(cfg.Dir, certs.SelfSignedFile) || len(info.Fingerprint) != 64 {
		t.Errorf("info %+v", info)
	}
	wantMode(t, cfg.Dir, 0o700)
	wantMode(t, info.Source, 0o600)

	if again := mustNew(t, cfg).Info(); again.Fingerprint != info.Fingerprint {
		t.Error("the second start made another pair")
	}
	if list, _ := os.ReadDir(cfg.Dir); len(list) != 1 {
		t.Errorf("folder holds %v, want the one file", list)
	}
}

func wantMode(t *testing.T, name string, want os.FileMode) {
	t.Helper()
	st, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := st.Mode().Perm(); got != want {
		t.Errorf("%s: mode %o, want %o", name, got, want)
	}
}

// What the second start finds decides whether the pair is made anew.
func TestMadeAnewAtStart(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, cfg *certs.Config, c *clock, file string)
		anew   bool
	}{
		{"nothing changed", func(*testing.T, *certs.Config, *clock, string) {}, false},
		{"not yet time", func(_ *testing.T, _ *certs.Config, c *clock, _ string) { c.add(334 * 24 * time.Hour) }, false},
		{"ends soon", func(_ *testing.T, _ *certs.Config, c *clock, _ string) { c.add(336 * 24 * time.Hour) }, true},
		{"ended", func(_ *testing.T, _ *certs.Config, c *clock, _ string) { c.add(400 * 24 * time.Hour) }, true},
		{"clock put back", func(_ *testing.T, _ *certs.Config, c *clock, _ string) { c.add(-48 * time.Hour) }, true},
		{"another public host", func(_ *testing.T, cfg *certs.Config, _ *clock, _ string) { cfg.PublicHost = "other.example.org" }, true},
		{"another host", func(_ *testing.T, cfg *certs.Config, _ *clock, _ string) {
			cfg.Hosts = append(cfg.Hosts, "198.51.100.1")
		}, true},
		{"one host less", func(_ *testing.T, cfg *certs.Config, _ *clock, _ string) { cfg.Hosts = nil }, false},
		{"same host in capitals", func(_ *testing.T, cfg *certs.Config, _ *clock, _ string) { cfg.PublicHost = "TURN.example.org." }, false},
		{"another IPv4 address", func(_ *testing.T, cfg *certs.Config, _ *clock, _ string) { cfg.Addresses = addrs("192.0.2.8") }, true},
		{"another IPv6 address", func(_ *testing.T, cfg *certs.Config, _ *clock, _ string) {
			cfg.Addresses = addrs("192.0.2.7", "2001:db8::8")
		}, false},
		{"file cut short", func(t *testing.T, _ *certs.Config, _ *clock, file string) {
			if err := os.Truncate(file, 300); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"file of something else", func(t *testing.T, _ *certs.Config, _ *clock, file string) {
			if err := os.WriteFile(file, []byte("hello"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"a crash left a half file beside it", func(t *testing.T, _ *certs.Config, _ *clock, file string) {
			if err := os.WriteFile(file+".tmp", []byte("-----BEGIN"), 0o400); err != nil {
				t.Fatal(err)
			}
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, c := selfSigned(t), newClock()
			cfg.Now = c.now
			before := mustNew(t, cfg).Info()
			tt.change(t, &cfg, c, before.Source)
			after := mustNew(t, cfg).Info()
			if anew := before.Fingerprint != after.Fingerprint; anew != tt.anew {
				t.Errorf("made anew: %v, want %v", anew, tt.anew)
			}
			if tt.anew {
				if again := mustNew(t, cfg).Info(); again.Fingerprint != after.Fingerprint {
					t.Error("the new pair was not kept")
				}
			}
		})
	}
}

// A pair is renewed while it is in use, and no connection notices.
func TestRenewedUnderLiveConnections(t *testing.T) {
	cfg, c, l := selfSigned(t), newClock(), &logs{}
	cfg.Now, cfg.Logger, cfg.Poll = c.now, l.logger(), time.Millisecond
	onChange, changed := changes()
	cfg.OnChange = onChange
	k := mustNew(t, cfg)
	run(t, k)
	addr := echoTLS(t, &tls.Config{GetCertificate: k.GetCertificate})

	old, first := dialTLS(t, addr, c)
	c.add(336 * 24 * time.Hour)
	info := await(t, changed)
	_, second := dialTLS(t, addr, c)
	if first.Equal(second) {
		t.Error("the same certificate after its renewal")
	}
	if want := c.now().Add(certs.DefaultValidity); !info.NotAfter.Equal(want) || !second.NotAfter.Equal(want) {
		t.Errorf("ends %s and %s, want %s", info.NotAfter, second.NotAfter, want)
	}
	echo(t, old)
	if again := mustNew(t, cfg).Info(); again.Fingerprint != info.Fingerprint {
		t.Error("the renewed pair is not the one that was kept")
	}
}

func echoTLS(t *testing.T, cfg *tls.Config) string {
	t.Helper()
	ln, err := tls.Listen("tcp", "127.0.0.1:0", cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				b := make([]byte, 64)
				for {
					n, err := conn.Read(b)
					if err != nil {
						return
					}
					if _, err := conn.Write(b[:n]); err != nil {
						return
					}
				}
			}()
		}
	}()
	return ln.Addr().String()
}

func dialTLS(t *testing.T, addr string, c *clock) (*tls.Conn, *x509.Certificate) {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true, Time: c.now})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	echo(t, conn)
	return conn, conn.ConnectionState().PeerCertificates[0]
}

func echo(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write([]byte("ping")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4)
	if _, err := conn.Read(b); err != nil || string(b) != "ping" {
		t.Fatalf("echo %q, %v", b, err)
	}
}

func TestSetNames(t *testing.T) {
	cfg := selfSigned(t)
	k := mustNew(t, cfg)
	before := k.Info()
	if err := k.SetNames("bad name", nil); !errors.Is(err, certs.ErrName) {
		t.Errorf("bad name: %v", err)
	}
	if k.Info().Fingerprint != before.Fingerprint {
		t.Error("a refused name changed the pair")
	}
	if err := k.SetNames("198.51.100.77", []string{"[2001:db8::99]", "*.example.net"}); err != nil {
		t.Fatal(err)
	}
	leaf := k.Certificate().Leaf
	for _, host := range []string{"198.51.100.77", "2001:db8::99", "a.example.net", "localhost"} {
		if err := leaf.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
}

func TestRefusedConfigs(t *testing.T) {
	dir := t.TempDir()
	for _, tt := range []struct {
		name string
		cfg  certs.Config
		want error
	}{
		{"certificate without key", certs.Config{CertFile: "a"}, certs.ErrConfig},
		{"key without certificate", certs.Config{KeyFile: "a", Dir: dir}, certs.ErrConfig},
		{"nowhere", certs.Config{}, certs.ErrConfig},
		{"renewed before it begins", certs.Config{Dir: dir, Validity: time.Hour, RenewBefore: time.Hour}, certs.ErrConfig},
		{"negative", certs.Config{Dir: dir, Validity: -1}, certs.ErrConfig},
		{"host with a port", certs.Config{Dir: dir, PublicHost: "a.example:443"}, certs.ErrName},
		{"host not in ASCII", certs.Config{Dir: dir, Hosts: []string{"bücher.example"}}, certs.ErrName},
		{"host with a newline", certs.Config{Dir: dir, Hosts: []string{"a\nb"}}, certs.ErrName},
		{"label too long", certs.Config{Dir: dir, Hosts: []string{strings.Repeat("a", 64) + ".example"}}, certs.ErrName},
		{"star alone", certs.Config{Dir: dir, Hosts: []string{"*"}}, certs.ErrName},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := certs.New(tt.cfg)
			if !errors.Is(err, tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want %q in one line", err, tt.want)
			}
		})
	}
}

func TestFolderThatCannotBeWritten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := selfSigned(t)
	cfg.Dir = filepath.Join(file, "data")
	k := mustNew(t, cfg)
	want := cfg.Dir + ": the self-signed certificate cannot be kept here: not a directory; the certificate in use stays, until "
	if d := k.Doubts(); len(d) != 1 || d[0].ID != "kept" || !strings.HasPrefix(d[0].Detail, want) || d[0].Remedy != "give a folder that can be written" {
		t.Errorf("doubts: %+v", d)
	}
	if i := k.Info(); i.StandIn || !k.Usable() {
		t.Errorf("%+v", i)
	}
}

// A renewal that the disk does not take is used all the same, said once, and kept when there is room again.
func TestRenewedWithoutADisk(t *testing.T) {
	cfg, c, l := selfSigned(t), newClock(), &logs{}
	cfg.Now, cfg.Logger, cfg.Poll = c.now, l.logger(), time.Millisecond
	onChange, changed := changes()
	cfg.OnChange = onChange
	k := mustNew(t, cfg)
	aside := cfg.Dir + ".aside"
	if err := os.Rename(cfg.Dir, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cfg.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, k)
	c.add(336 * 24 * time.Hour)
	info := await(t, changed)
	eventually(t, "a line about it", func() bool { return l.count("cannot be kept here") > 0 })
	if err := k.Reload(); !errors.Is(err, certs.ErrStore) {
		t.Errorf("Reload: %v", err)
	}
	c.add(2 * time.Minute)
	if err := os.Remove(cfg.Dir); err != nil {
		t.Fatal(err)
	}
	if err := k.Reload(); err != nil {
		t.Fatal(err)
	}
	if n := l.count("cannot be kept here"); n != 1 {
		t.Errorf("%d lines about it, want 1", n)
	}
	if again := mustNew(t, cfg).Info(); again.Fingerprint != info.Fingerprint {
		t.Error("the pair in use was not kept")
	}
}
