package audit

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

var november = time.Date(2026, 11, 26, 20, 0, 0, 0, time.UTC)

func open(t *testing.T, dir string, change func(*Config)) *Log {
	t.Helper()
	cfg := Config{DataDir: dir, Now: func() time.Time { return november }}
	if change != nil {
		change(&cfg)
	}
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func page(t *testing.T, l *Log, q Query) Page {
	t.Helper()
	p, err := l.Page(q)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func numbers(p Page) (all []uint64) {
	for _, e := range p.Entries {
		all = append(all, e.N)
	}
	return all
}

// What was noted is there again after the process was killed, without Close, and numbers go on.
func TestOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, nil)
	l.Note(Entry{What: Ban, Node: "mallory", Reason: "spam\n\"x\"", By: "admin.token", Via: "command", From: "192.0.2.1"})
	l.Note(Entry{What: Unban, Node: "alice", Refused: "no ban"})
	again := open(t, dir, nil)
	again.Note(Entry{What: Drain, By: "SIGTERM"})
	p := page(t, again, Query{})
	if got := fmt.Sprint(numbers(p)); got != "[3 2 1]" || p.More {
		t.Fatalf("%s, more: %v", got, p.More)
	}
	want := Entry{N: 1, Time: november, What: Ban, Node: "mallory", Reason: "spam\n\"x\"", By: "admin.token", Via: "command", From: "192.0.2.1"}
	if p.Entries[2] != want {
		t.Errorf("%+v, want %+v", p.Entries[2], want)
	}
	if st, err := os.Stat(filepath.Join(dir, FileName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", st.Mode(), err)
	}
}

func TestPage(t *testing.T) {
	now := november
	l := open(t, t.TempDir(), func(c *Config) { c.Now = func() time.Time { return now } })
	for i := range 10 {
		now = november.Add(time.Duration(i) * time.Minute)
		l.Note(Entry{What: Known()[i%2], Node: fmt.Sprint("n", i%3)})
	}
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{Limit: 3}, "[10 9 8] true"},
		{Query{Limit: 3, Before: 4}, "[3 2 1] false"},
		{Query{Since: november.Add(8 * time.Minute)}, "[10 9] false"},
		{Query{What: []What{Unban}, Limit: 2}, "[10 8] true"},
		{Query{Node: "n0"}, "[10 7 4 1] false"},
		{Query{What: []What{Reload}}, "[] false"},
	} {
		p := page(t, l, c.q)
		if got := fmt.Sprint(numbers(p), p.More); got != c.want {
			t.Errorf("%+v: %s, want %s", c.q, got, c.want)
		}
	}
}

// The log turns over, keeps the newest, and never takes more than two files of their size.
func TestBounded(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, nil)
	l.limit = 2000
	for range 200 {
		l.Note(Entry{What: Ban, Node: "mallory", Reason: strings.Repeat("x", 100)})
	}
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, f := range files {
		if st, err := f.Info(); err != nil || st.Size() > 2000 || st.Size() < 1000 || st.Mode().Perm() != 0o600 {
			t.Errorf("%s: %d bytes, %v, %v", f.Name(), st.Size(), st.Mode(), err)
		}
	}
	got := numbers(page(t, l, Query{}))
	for i, n := range got {
		if n != uint64(200-i) {
			t.Fatalf("%v", got)
		}
	}
	if len(got) < 10 || l.Lost() != 0 {
		t.Errorf("%d entries, %d lost", len(got), l.Lost())
	}
	if again := open(t, dir, nil); again.last != 200 {
		t.Errorf("numbers go on from %d", again.last)
	}
}

// Long texts, also in characters of several bytes, are cut, so that no caller fills the file.
func TestLongTexts(t *testing.T) {
	l := open(t, t.TempDir(), nil)
	l.Note(Entry{What: Ban, Node: strings.Repeat("é", 5000), Refused: "x" + strings.Repeat("é", 5000)})
	e := page(t, l, Query{}).Entries[0]
	if len(e.Node) > textBytes+4 || len(e.Refused) > textBytes+4 || strings.Contains(e.Refused, "\ufffd") {
		t.Errorf("%d and %d bytes, %q", len(e.Node), len(e.Refused), e.Refused)
	}
}

// What a power cut has left half is passed over, and what follows is whole.
func TestHalfALine(t *testing.T) {
	for _, left := range []string{`{"n":1,"time"`, "\x00\x00\x00", "{}\nnonsense\n", "\n"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, FileName), []byte(left), 0o644); err != nil {
			t.Fatal(err)
		}
		l := open(t, dir, nil)
		l.Note(Entry{What: Ban, Node: "mallory"})
		p := page(t, l, Query{What: []What{Ban}})
		if len(p.Entries) != 1 || p.Entries[0].Node != "mallory" {
			t.Errorf("after %q: %+v", left, p)
		}
	}
}

// Notes, pages and the turning over go on at once, and Close loses nothing.
func TestAtOnce(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir, nil)
	l.limit = 20_000
	ctx, cancel := context.WithCancel(t.Context())
	var running, wg sync.WaitGroup
	running.Go(func() {
		if err := l.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	for range 4 {
		wg.Go(func() {
			for range 50 {
				l.Note(Entry{What: Ban, Node: "x"})
				if _, err := l.Page(Query{Limit: 5}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	cancel()
	running.Wait()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if err := l.Close(); err != nil {
		t.Error("closed twice:", err)
	}
	l.Note(Entry{What: Ban})
	if n := len(page(t, l, Query{}).Entries); n != 200 || l.Lost() != 1 {
		t.Errorf("%d entries, %d lost", n, l.Lost())
	}
}

// A folder that cannot take the file is said at the start.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, FileName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Config{DataDir: dir}); err == nil || !strings.Contains(err.Error(), "the audit log") {
		t.Errorf("%v", err)
	}
}

// FuzzPage reads files that may have been damaged in any way.
func FuzzPage(f *testing.F) {
	f.Add([]byte("{\"n\":1,\"what\":\"ban\"}\n{"), uint64(0), 1)
	f.Add([]byte("\n\n{}"), uint64(3), 0)
	f.Fuzz(func(t *testing.T, data []byte, before uint64, limit int) {
		p := Page{}
		p.collect(data, &Query{Before: before, Limit: limit})
		if limit > 0 && len(p.Entries) > limit || len(p.Entries) > bytes.Count(data, []byte("\n"))+1 {
			t.Errorf("%d entries", len(p.Entries))
		}
	})
}

// found keeps the findings of the moment.
type found struct {
	mu  sync.Mutex
	now []findings.Finding
}

func (f *found) set(now []findings.Finding) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = now
}
