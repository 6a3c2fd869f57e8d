package acme

import (
	"bytes"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/caddyserver/certmagic"
)

func pemOf(kind, content string) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: []byte(content)})
}

// put stores a certificate as certmagic does.
func put(t *testing.T, s *store, generation string) {
	t.Helper()
	for _, kv := range []struct {
		key   string
		value []byte
	}{
		{certmagic.StorageKeys.SitePrivateKey("ca", "a.example.org"), pemOf("EC PRIVATE KEY", "key "+generation)},
		{certmagic.StorageKeys.SiteCert("ca", "a.example.org"), append(pemOf("CERTIFICATE", "leaf "+generation), pemOf("CERTIFICATE", "issuer")...)},
		{certmagic.StorageKeys.SiteMeta("ca", "a.example.org"), []byte(`{"generation":"` + generation + `"}`)},
	} {
		if err := s.Store(t.Context(), kv.key, kv.value); err != nil {
			t.Fatal(err)
		}
	}
}

func has(t *testing.T, s *store, generation string) {
	t.Helper()
	key, err := s.Load(t.Context(), certmagic.StorageKeys.SitePrivateKey("ca", "a.example.org"))
	if err != nil || !bytes.Equal(key, pemOf("EC PRIVATE KEY", "key "+generation)) {
		t.Errorf("key %q, %v", key, err)
	}
	chain, err := s.Load(t.Context(), certmagic.StorageKeys.SiteCert("ca", "a.example.org"))
	if err != nil || !bytes.HasPrefix(chain, pemOf("CERTIFICATE", "leaf "+generation)) || bytes.Count(chain, []byte("BEGIN")) != 2 {
		t.Errorf("chain %q, %v", chain, err)
	}
	meta, err := s.Load(t.Context(), certmagic.StorageKeys.SiteMeta("ca", "a.example.org"))
	if err != nil || string(meta) != `{"generation":"`+generation+`"}` {
		t.Errorf("metadata %q, %v", meta, err)
	}
}

// A certificate is one file: half of another leaves it as it was, whether storing is broken off or taken back.
func TestStoreIsWhole(t *testing.T) {
	dir := t.TempDir()
	s := newStore(dir)
	put(t, s, "1")
	has(t, s, "1")
	has(t, newStore(dir), "1")
	key := certmagic.StorageKeys.SitePrivateKey("ca", "a.example.org")
	if err := s.Store(t.Context(), key, pemOf("EC PRIVATE KEY", "key 2")); err != nil {
		t.Fatal(err)
	}
	has(t, newStore(dir), "1") // the process ends here
	if err := s.Delete(t.Context(), key); err != nil {
		t.Fatal(err)
	}
	has(t, s, "1")
	if err := s.Store(t.Context(), certmagic.StorageKeys.SiteMeta("ca", "a.example.org"), []byte(`{"generation":"1"}`)); err != nil {
		t.Fatal(err) // as it does when the CA suggests another time
	}
	has(t, newStore(dir), "1")
	if _, err := s.Load(t.Context(), "nothing/here"); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// What the disk does not take is used all the same, and written when there is room.
func TestStoreKeepsWhatTheDiskDoesNotTake(t *testing.T) {
	dir := t.TempDir()
	s := newStore(dir)
	put(t, s, "1")
	away := filepath.Join(t.TempDir(), "away")
	if err := os.Rename(filepath.Join(dir, "certificates"), away); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "certificates"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	put(t, s, "2")
	has(t, s, "2")
	var f *Failure
	if err := s.Keep(); !errors.As(err, &f) || f.Cause != CauseStore || f.Remedy == "" {
		t.Errorf("%v", err)
	}
	if err := os.Remove(filepath.Join(dir, "certificates")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(away, filepath.Join(dir, "certificates")); err != nil {
		t.Fatal(err)
	}
	has(t, newStore(dir), "1")
	if err := s.Keep(); err != nil {
		t.Fatal(err)
	}
	has(t, newStore(dir), "2")
}

func TestCheckCommand(t *testing.T) {
	dir := t.TempDir()
	plain, program := filepath.Join(dir, "plain"), filepath.Join(dir, "program")
	for file, mode := range map[string]os.FileMode{plain: 0o600, program: 0o700} {
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	for file, ok := range map[string]bool{"": true, program: true, plain: false, dir: false, plain + ".none": false} {
		if err := CheckCommand(file); (err == nil) != ok {
			t.Errorf("%q: %v", file, err)
		}
	}
}
