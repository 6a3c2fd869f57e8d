package app

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
)

// TestCheckTellsTheTruth is of what serve runs with and clients cannot use, each beside another mistake: both are told.
func TestCheckTellsTheTruth(t *testing.T) {
	named := func(c *x509.Certificate) { c.DNSNames = []string{"turn.example.org"} }
	also := func(more func(*x509.Certificate)) func(*x509.Certificate) {
		return func(c *x509.Certificate) { named(c); more(c) }
	}
	const host = "[public]\nhost = 'turn.example.org'\n"
	for name, c := range map[string]struct {
		text string
		cert func(*x509.Certificate)
		harm func(dir string) error
		want string // key: error; empty if nothing is wrong
	}{
		"good":                {host, named, nil, ""},
		"expired":             {host, also(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), nil, "certs.cert_file: … the certificate expired on "},
		"too early":           {host, also(func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Hour) }), nil, "certs.cert_file: … the certificate is not valid before "},
		"another host's":      {"[public]\nhost = 'other.example.org'\n", named, nil, "certs.cert_file: … the certificate does not name the public host other.example.org"},
		"another address's":   {"[public]\nhost = '192.0.2.1'\n", named, nil, "certs.cert_file: … the certificate does not name the public host 192.0.2.1"},
		"host not known":      {"", named, nil, ""},
		"host does not count": {"[public]\nhost = 'other.example.org'\n[hooks.rtc]\nadvertise_tls = 'never'\n", named, nil, ""},
		"a client's":          {host, also(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), nil, "certs.cert_file: … the certificate is not for servers"},
		"another key": {host, named, func(dir string) error {
			other := t.TempDir()
			putPair(t, other, 2, nil)
			return os.Rename(filepath.Join(other, "key.pem"), filepath.Join(dir, "key.pem"))
		}, "certs.key_file: … this key does not belong to the certificate"},
		"no key":                  {host, named, func(dir string) error { return os.Remove(filepath.Join(dir, "key.pem")) }, "certs.key_file: … no such file"},
		"no chain":                {host, named, func(dir string) error { return os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("\n"), 0o600) }, "certs.cert_file: … holds no PEM certificate"},
		"a folder":                {host, named, func(dir string) error { return os.Rename(t.TempDir(), filepath.Join(dir, "cert.pem")) }, "certs.cert_file: "},
		"TLS alone, self-signed":  {"[turn]\ntransports = ['tls', 'dtls']\n" + host, named, nil, "turn.transports: clients are told of no listener"},
		"TLS alone, nothing else": {"[turn]\nlisten = []\n" + host, named, nil, "turn.transports: clients are told of no listener"},
		"TLS alone, wished for":   {"[turn]\ntransports = ['tls']\n[hooks.rtc]\nadvertise_tls = 'always'\n" + host, named, nil, ""},
		"TLS alone, unwanted":     {"[turn]\ntransports = ['tls']\n[hooks.rtc]\nadvertise_tls = 'never'\n" + host, named, nil, "turn.transports: clients are told of no listener"},
		"UDP without a port":      {"[turn]\nlisten = []\ntransports = ['udp', 'tcp']\n" + host, named, nil, "turn.transports: clients are told of no listener"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			putPair(t, dir, 1, c.cert)
			if c.harm != nil {
				if name == "a folder" {
					if err := os.Remove(filepath.Join(dir, "cert.pem")); err != nil {
						t.Fatal(err)
					}
				}
				if err := c.harm(dir); err != nil {
					t.Fatal(err)
				}
			}
			for _, other := range []string{"", "[credentials]\nttl = 'soon'\n"} {
				file := filepath.Join(dir, "c.toml")
				if err := os.WriteFile(file, []byte(c.text+withCerts(dir)+other), 0o600); err != nil {
					t.Fatal(err)
				}
				_, err := Check(file, config.WithEnviron(nil))
				lines := strings.Split(strings.ReplaceAll(fmt.Sprint(err), dir, "…"), "\n")
				if err == nil {
					lines = nil
				}
				found := func(want string) bool {
					key, text, _ := strings.Cut(want, ": … ")
					return slices.ContainsFunc(lines, func(l string) bool { return strings.Contains(l, key) && strings.Contains(l, text) })
				}
				wanted := 0
				for _, want := range []string{c.want, strings.Replace(other, "[credentials]\nttl = 'soon'\n", "credentials.ttl: must be a duration", 1)} {
					if want == "" {
						continue
					}
					if wanted++; !found(want) {
						t.Errorf("no %q in\n%s", want, strings.Join(lines, "\n"))
					}
				}
				if len(lines) != wanted {
					t.Errorf("%d mistakes, want %d:\n%s", len(lines), wanted, strings.Join(lines, "\n"))
				}
				if _, err := Load(file, config.WithEnviron(nil)); other == "" && err != nil {
					t.Errorf("serve does not start: %v", err)
				}
			}
		})
	}
}

// With a log.file standard error has one line, which says where the log is.
func TestOpenLog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.json")
	cfg, err := Load("", config.WithEnviron([]string{"CROLANG_AIO_LOG_FILE=" + path}))
	if err != nil {
		t.Fatal(err)
	}
	var stderr logtest.Buffer
	log, err := OpenLog(cfg, &stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Reopen() // closes it
	log.Info("in the file")
	if want := "crolang-aio: the log is in " + path + "\n"; stderr.String() != want {
		t.Errorf("%q", stderr.String())
	}
	if b, err := os.ReadFile(path); err != nil || !strings.Contains(string(b), `"msg":"in the file"`) {
		t.Error(string(b), err)
	}
	for _, at := range []string{t.TempDir(), os.DevNull} {
		if _, err := Load("", config.WithEnviron([]string{"CROLANG_AIO_LOG_FILE=" + at})); err == nil || !strings.Contains(err.Error(), "is no regular file") {
			t.Error(at, err)
		}
	}
}
