package datadir

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecretIsMadeOnceAndKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "data")
	if _, err := Read(path, HooksToken); !errors.Is(err, ErrMissing) {
		t.Fatalf("before: %v", err)
	}
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	first, made, err := d.Secret(HooksToken)
	if err != nil || !made || len(first) != 64 {
		t.Fatalf("first: made %v, %d characters, %v", made, len(first), err)
	}
	again, made, err := d.Secret(HooksToken)
	if err != nil || made || again != first {
		t.Errorf("second: made %v, %v", made, err)
	}
	other, _, err := d.Secret(AdminToken)
	if err != nil || other == first {
		t.Errorf("another secret: %v", err)
	}
	for name, want := range map[string]os.FileMode{".": 0o700, HooksToken: 0o600} {
		st, err := os.Stat(filepath.Join(path, name))
		if err != nil || st.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	left, err := os.ReadDir(path)
	if err != nil || len(left) != 3 {
		t.Errorf("left over: %v, %v", left, err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestSecondProcessIsToldSo(t *testing.T) {
	path := t.TempDir()
	d, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); !errors.Is(err, ErrLocked) {
		t.Errorf("second: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	d, err = Open(path)
	if err != nil {
		t.Fatalf("after the first is gone: %v", err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

func TestDamagedSecretIsNotReplaced(t *testing.T) {
	path := t.TempDir()
	for _, content := range []string{"", "abc", strings.Repeat("g", 64)} {
		if err := os.WriteFile(filepath.Join(path, CredentialSecret), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if s, _, err := d.Secret(CredentialSecret); err == nil || !strings.Contains(err.Error(), "damaged") {
			t.Errorf("%q: %q, %v", content, s, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenWhereAFileStands(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(file)
	if err == nil || strings.Count(err.Error(), file) != 1 || strings.Contains(err.Error(), "\n") {
		t.Errorf("err = %v", err)
	}
}

// A command that another user runs than the server does says so.
func TestReadAsAnotherUser(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	path := t.TempDir()
	if err := os.WriteFile(filepath.Join(path, AdminToken), []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path, AdminToken); !errors.Is(err, fs.ErrPermission) || !strings.Contains(err.Error(), "run this as the user that serves") {
		t.Error(err)
	}
}
