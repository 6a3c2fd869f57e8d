package durable

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func content(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// alone fails where anything is beside the file.
func alone(t *testing.T, path string) {
	t.Helper()
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("left over: %v, %v", left, err)
	}
}

func TestWriteFileReplacesTheWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for _, text := range []string{"a longer content", "short", ""} {
		if err := WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := content(t, path); got != text {
			t.Errorf("content %q, want %q", got, text)
		}
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
	alone(t, path)
}

// Whoever reads meanwhile sees one content or the other, whole.
func TestReadersSeeNoHalf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	both := [2][]byte{bytes.Repeat([]byte("a"), 200_000), bytes.Repeat([]byte("b"), 300_000)}
	if err := WriteFile(path, both[0], 0o600); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		defer close(done)
		for i := range 50 {
			if err := WriteFile(path, both[i%2], 0o600); err != nil {
				t.Error(err)
			}
		}
	})
	for ended := false; !ended; {
		select {
		case <-done:
			ended = true
		default:
		}
		if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, both[0]) && !bytes.Equal(b, both[1]) {
			t.Fatalf("%d bytes, %v", len(b), err)
		}
	}
	writing.Wait()
}

func TestFailureLeavesTheOld(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	full := errors.New("the disk is full")
	err := Write(path, 0o600, func(w io.Writer) error {
		if _, err := w.Write(make([]byte, 100_000)); err != nil {
			t.Error(err)
		}
		return full
	})
	if !errors.Is(err, full) || errors.Is(err, ErrUnsynced) || content(t, path) != "old" {
		t.Errorf("%v, content %q", err, content(t, path))
	}
	alone(t, path)
	if err := WriteFile(filepath.Join(filepath.Dir(path), "none", "f"), nil, 0o600); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a folder that is not there: %v", err)
	}
}

// What a killed process left is no hindrance, and gives nobody else's file away.
func TestLeftover(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "f"), filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, path+".tmp"); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(path, []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	if content(t, path) != "new" || content(t, victim) != "untouched" {
		t.Errorf("%q, %q", content(t, path), content(t, victim))
	}
	if err := os.WriteFile(path+".tmp", []byte("half"), 0); err != nil {
		t.Fatal(err)
	}
	if err := Sweep(path); err != nil {
		t.Error(err)
	}
	alone(t, path)
	if err := Sweep(path); err != nil {
		t.Errorf("with nothing there: %v", err)
	}
}

// The paths that errors of package os repeat are gone, and what else there is stays.
func TestBare(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	_, errOpen := os.Open(missing)
	errRename := os.Rename(missing, missing+".new")
	for _, err := range []error{errOpen, errRename, fmt.Errorf("reading: %w", errOpen)} {
		if bare := Bare(err); !errors.Is(bare, fs.ErrNotExist) || strings.Contains(bare.Error(), missing) {
			t.Errorf("%v became %v", err, bare)
		}
	}
	if bare := Bare(errors.New("other")); bare.Error() != "other" {
		t.Error(bare)
	}
}
