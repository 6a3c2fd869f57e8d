package main

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// A certificate that is doubtful at the start, and one whose files go bad under a running server.
func TestBadCertificates(t *testing.T) {
	dir := t.TempDir()
	putPair(t, dir, 1, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(23 * time.Hour) })
	s := startSite(t, "[turn]\nlisten_tls = ['127.0.0.1:0']\n"+withCerts(dir))
	certWarnings := func() string {
		return strings.Join(slices.DeleteFunc(ids(s.status().Warnings), func(id string) bool { return !strings.HasPrefix(id, "certificate.") }), " ")
	}
	if got := certWarnings(); got != "certificate.soon" || !strings.Contains(s.log.String(), "certificate expires soon: renew it") {
		t.Errorf("of one that expires tomorrow: %q\n%s", got, s.log.String())
	}
	// The key is another one's, then the certificate is gone: the old pair stays, and both are said once.
	other := t.TempDir()
	putPair(t, other, 2, nil)
	if err := os.Rename(filepath.Join(other, "key.pem"), filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	s.reloadTo("[turn]\nlisten_tls = ['127.0.0.1:0']\n" + withCerts(dir))
	if got := certWarnings(); got != "certificate.soon certificate.kept" || !strings.Contains(s.log.String(), "this key does not belong to the certificate") {
		t.Errorf("of a wrong key: %q\n%s", got, s.log.String())
	}
	if err := errors.Join(os.Remove(filepath.Join(dir, "cert.pem"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is missed", func() bool {
		return strings.Contains(s.log.String(), "cert.pem: no such file or directory; check the path")
	})
	if got := s.serialOf(); got != 1 || certWarnings() != "certificate.soon certificate.kept" {
		t.Errorf("certificate %d is shown, %q", got, certWarnings())
	}
	putPair(t, dir, 3, nil)
	eventually(t, "the new one is found", func() bool { return certWarnings() == "" })
	if got := s.serialOf(); got != 3 {
		t.Errorf("certificate %d is shown", got)
	}
	if n := strings.Count(s.log.String(), "no such file"); n != 1 {
		t.Errorf("said %d times:\n%s", n, s.log.String())
	}
}
