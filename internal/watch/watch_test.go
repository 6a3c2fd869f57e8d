package watch

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// round looks until the files have settled and reports whether they have changed; add is what the reader reads then.
func (w *Watcher) round(add ...string) bool {
	w.look()
	if !w.look() {
		return false
	}
	w.begin()
	for _, path := range add {
		w.Add(path)
	}
	w.forget()
	return true
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestContentCounts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	put(t, file, "one")
	st, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	w := New(time.Hour)
	w.Add(file)
	if w.round(file) {
		t.Error("nothing has changed")
	}
	put(t, file, "two")
	if err := os.Chtimes(file, st.ModTime(), st.ModTime()); err != nil {
		t.Fatal(err)
	}
	if !w.round(file) {
		t.Error("the same size and time, and another content")
	}
	if w.round(file) {
		t.Error("said twice")
	}
	put(t, file, "two") // another time
	if w.round(file) {
		t.Error("only the time is another one")
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if !w.round(file) {
		t.Error("it is gone")
	}
	put(t, file, "two")
	if !w.round(file) {
		t.Error("it is back")
	}
}

// Kubernetes turns one symbolic link, ..data, from the old folder to the new.
func TestSwappedLink(t *testing.T) {
	dir := t.TempDir()
	at := func(name ...string) string { return filepath.Join(append([]string{dir}, name...)...) }
	for _, version := range []string{"one", "two"} {
		if err := os.Mkdir(at(version), 0o700); err != nil {
			t.Fatal(err)
		}
		put(t, at(version, "token"), version)
	}
	for _, link := range [][2]string{{"one", "..data"}, {filepath.Join("..data", "token"), "token"}, {"two", "new"}} {
		if err := os.Symlink(link[0], at(link[1])); err != nil {
			t.Skip(err)
		}
	}
	w := New(time.Hour)
	w.Add(at("token"))
	if err := os.Rename(at("new"), at("..data")); err != nil {
		t.Fatal(err)
	}
	if !w.round(at("token")) {
		t.Error("not noticed")
	}
}

func TestWaitsUntilItSettles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	put(t, file, "one")
	w := New(time.Hour)
	w.Add(file)
	for _, text := range []string{"", "t", "tw", "two"} {
		put(t, file, text)
		if w.look() {
			t.Errorf("said at %q", text)
		}
	}
	if !w.look() {
		t.Error("not said when it had settled")
	}
}

func TestForgetsWhatIsNotRead(t *testing.T) {
	dir := t.TempDir()
	a, b, c := filepath.Join(dir, "a"), filepath.Join(dir, "b"), filepath.Join(dir, "c")
	for _, file := range []string{a, b, c} {
		put(t, file, "one")
	}
	w := New(time.Hour)
	w.Add(a)
	w.Add(b)
	put(t, a, "two")
	if !w.round(a, c) {
		t.Fatal("not noticed")
	}
	put(t, b, "two")
	if w.round(a, c) {
		t.Error("what is not read any more is followed")
	}
	put(t, c, "two")
	if !w.round(a, c) {
		t.Error("what is read now is not followed")
	}
}

// What was added before it was read and has changed since is noticed.
func TestChangeWhileItIsRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	put(t, file, "one")
	w := New(time.Hour)
	w.Add(file)
	put(t, file, "two")
	w.Add(file)
	if !w.round(file) {
		t.Error("not noticed")
	}
}

func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	put(t, file, "one")
	w := New(time.Millisecond)
	w.Add(file)
	ctx, cancel := context.WithCancel(t.Context())
	hup, called, done := make(chan os.Signal), make(chan struct{}), make(chan error)
	go func() {
		done <- w.Run(ctx, hup, func(bool) bool {
			w.Add(file)
			called <- struct{}{}
			return true
		})
	}()
	put(t, file, "two")
	<-called
	hup <- os.Interrupt
	<-called
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
