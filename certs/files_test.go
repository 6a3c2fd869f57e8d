package certs

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Whoever reads while pairs are stored, or after a crash between any two stores, finds a whole pair.
func TestStoreIsAllOrNothing(t *testing.T) {
	name := filepath.Join(t.TempDir(), SelfSignedFile)
	v := view{now: time.Now(), validity: DefaultValidity}
	var data [2][]byte
	for i := range data {
		var err error
		if _, data[i], err = makeSelfSigned(name, v); err != nil {
			t.Fatal(err)
		}
	}
	if err := store(name, data[0]); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				done <- nil
				return
			default:
				if err := store(name, data[i%2]); err != nil {
					done <- err
					return
				}
			}
		}
	}()
	for range 500 {
		b, _, err := readFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (rawPair{certFile: name, keyFile: name, cert: b, key: b}).parse(); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// A store that fails leaves what was there, and nothing beside it.
func TestFailedStoreLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "folder")
	if err := os.MkdirAll(filepath.Join(name, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := store(name, []byte("x")); !errors.Is(err, ErrStore) {
		t.Fatalf("error %v", err)
	}
	if list, _ := os.ReadDir(dir); len(list) != 1 {
		t.Errorf("left behind: %v", list)
	}
}

func TestStoreErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{&os.PathError{Op: "write", Path: "/d/x.tmp", Err: syscall.ENOSPC},
			"/d/x: the self-signed certificate cannot be kept here: no space left on device; free some space"},
		{&os.PathError{Op: "open", Path: "/d/x.tmp", Err: syscall.EROFS},
			"/d/x: the self-signed certificate cannot be kept here: read-only file system; give a folder that can be written"},
	} {
		err := unstorable("/d/x", tt.err)
		if err.Error() != tt.want || !errors.Is(err, ErrStore) || !errors.Is(err, tt.err) {
			t.Errorf("error %s\nwant  %s", err, tt.want)
		}
	}
}
