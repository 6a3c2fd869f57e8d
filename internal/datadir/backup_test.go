package datadir

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A backup that somebody has tampered with, or that is not whole, brings nothing back.
func TestRestoreRefuses(t *testing.T) {
	from := filepath.Join(t.TempDir(), "data")
	if err := errors.Join(os.MkdirAll(filepath.Join(from, "sub"), 0o700), os.WriteFile(filepath.Join(from, "sub", "file"), []byte("text"), 0o600),
		os.WriteFile(filepath.Join(from, "half.tmp"), []byte("half"), 0o600), os.WriteFile(filepath.Join(from, "lock"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	good := filepath.Join(t.TempDir(), "good")
	if n, err := Backup(from, good, "v1"); err != nil || n != 1 {
		t.Fatal(n, err)
	}
	if st, err := os.Stat(good); err != nil || st.Mode().Perm() != 0o600 {
		t.Error(st.Mode(), err)
	}
	if _, err := Backup(from, good, "v1"); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{
		"empty":      nil,
		"cut":        whole[:len(whole)/2],
		"no gzip":    []byte("text"),
		"no head":    packed(t, "bans.json", "{}"),
		"outside":    packed(t, backupName, `{"format":1,"files":1}`, "../evil", "x"),
		"absolute":   packed(t, backupName, `{"format":1,"files":1}`, "/tmp/evil", "x"),
		"twice":      packed(t, backupName, `{"format":1,"files":2}`, "bans.json", "x", "bans.json", "y"),
		"the lock":   packed(t, backupName, `{"format":1,"files":1}`, "lock", "x"),
		"unclean":    packed(t, backupName, `{"format":1,"files":1}`, "a/./b", "x"),
		"the stage":  packed(t, backupName, `{"format":1,"files":1}`, stageName+"/../bans.json", "x"),
		"no version": packed(t, backupName, `{}`),
	} {
		file, to := filepath.Join(t.TempDir(), "backup"), filepath.Join(t.TempDir(), "data")
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Restore(to, file); !errors.Is(err, ErrNoBackup) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(to); err == nil {
			t.Errorf("%s: something was brought back", name)
		}
	}
	later := filepath.Join(t.TempDir(), "later")
	if err := os.WriteFile(later, packed(t, backupName, `{"format":2,"program":"v9"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Restore(filepath.Join(t.TempDir(), "data"), later); err == nil || !strings.Contains(err.Error(), "made by crolang-aio v9") {
		t.Error(err)
	}
	to := filepath.Join(t.TempDir(), "data")
	if m, err := Restore(to, good); err != nil || m.Files != 1 || m.Program != "v1" || time.Since(m.Made) > time.Hour {
		t.Error(m, err)
	}
	if b, err := os.ReadFile(filepath.Join(to, "sub", "file")); err != nil || string(b) != "text" {
		t.Error(string(b), err)
	}
	if _, err := Restore(to, good); !errors.Is(err, ErrExists) {
		t.Error(err)
	}
}

// packed is an archive of names and texts in turns.
func packed(t *testing.T, namesAndTexts ...string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	for i := 0; i < len(namesAndTexts); i += 2 {
		if err := add(w, namesAndTexts[i], []byte(namesAndTexts[i+1]), time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
