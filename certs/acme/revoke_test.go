package acme_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/certmagic"
	"github.com/mholt/acmez/v3"
	acmeproto "github.com/mholt/acmez/v3/acme"

	"github.com/crolang-p2p/crolang-aio/certs/acme"
	"github.com/crolang-p2p/crolang-aio/internal/acmetest"
)

// revoke has the CA revoke a certificate, with the account that it was given to.
func revoke(t *testing.T, ca *acmetest.CA, cfg acme.Config, c acme.Certificate) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(cfg.Dir, "accounts", "*.json"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	var kept struct {
		Account acmeproto.Account
		Key     string
	}
	if err := json.Unmarshal(b, &kept); err != nil {
		t.Fatal(err)
	}
	key, err := certmagic.PEMDecodePrivateKey([]byte(kept.Key))
	if err != nil {
		t.Fatal(err)
	}
	kept.Account.PrivateKey = key
	client := acmez.Client{Client: &acmeproto.Client{Directory: ca.URL, HTTPClient: ca.Client()}}
	if err := client.RevokeCertificate(t.Context(), kept.Account, leaf(t, c), key, acmeproto.ReasonKeyCompromise); err != nil {
		t.Fatal(err)
	}
	if !ca.Revoked(leaf(t, c)) {
		t.Fatal("the CA has not revoked it")
	}
}
