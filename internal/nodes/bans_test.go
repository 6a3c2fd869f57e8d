package nodes

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

func ban(t *testing.T, r *Registry, id, reason string, lasting time.Duration) {
	t.Helper()
	if _, err := r.Ban(id, reason, lasting); err != nil {
		t.Fatal(err)
	}
}

// outcome is what a ban did, without the ban.
func outcome(done Banned) Banned {
	done.Ban = Ban{}
	return done
}

func TestBanSurvivesARestart(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	r := newRegistry(t, Config{DataDir: dir, Now: c.now})
	odd := `ö "quoted" /../ <x>` + " \u2028 😀"
	ban(t, r, "alice", "spam", 0)
	ban(t, r, odd, "", time.Hour)
	ban(t, r, "bob", "by mistake", 0)
	if err := r.Unban("bob"); err != nil {
		t.Fatal(err)
	}
	if err := r.Unban("bob"); !errors.Is(err, ErrNotBanned) {
		t.Errorf("lifting a ban twice: %v", err)
	}
	again := newRegistry(t, Config{DataDir: dir, Now: c.now})
	for id, want := range map[string]bool{"alice": true, odd: true, "bob": false, "carol": false} {
		if r.Banned(id) != want || again.Banned(id) != want {
			t.Errorf("%q banned: %v before, %v after the restart, want %v", id, r.Banned(id), again.Banned(id), want)
		}
	}
	b, ok := again.BanOf("alice")
	if !ok || b.Reason != "spam" || !b.Since.Equal(c.now()) || !b.Until.IsZero() {
		t.Errorf("ban of alice: %+v", b)
	}
	info, err := os.Stat(filepath.Join(dir, bansName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("bans file: %v %v", info, err)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("the data directory has %v", files)
	}
}

func TestTimedBanEndsByTheClock(t *testing.T) {
	dir, c := t.TempDir(), newClock()
	r := newRegistry(t, Config{DataDir: dir, Now: c.now})
	ban(t, r, "alice", "", time.Hour)
	ban(t, r, "bob", "", 2*time.Hour)
	c.add(time.Hour - time.Millisecond)
	if !r.Banned("alice") {
		t.Error("the ban ended early")
	}
	c.add(time.Millisecond)
	if r.Banned("alice") || !r.Banned("bob") {
		t.Error("alice's ban did not end, or bob's did")
	}
	if err := r.Unban("alice"); !errors.Is(err, ErrNotBanned) {
		t.Errorf("lifting an ended ban: %v", err)
	}
	if list := r.Bans(); len(list) != 1 || list[0].Node != "bob" {
		t.Errorf("bans %v", list)
	}
	r.tidy()
	data, err := os.ReadFile(filepath.Join(dir, bansName))
	if err != nil || strings.Contains(string(data), "alice") || !strings.Contains(string(data), "bob") {
		t.Errorf("file %s %v", data, err)
	}
	_, events, _ := r.Lookup("alice")
	want := []string{
		"banned: banned by the operator, until 13:00:00 UTC; 0 allocations closed",
		"unbanned: the ban has ended: its time is over",
	}
	if got := details(events); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBanClosesAllocationsOnceItIsInForce(t *testing.T) {
	dir := t.TempDir()
	r := newRegistry(t, Config{DataDir: dir})
	relays := &fakeRelays{list: []allocation{{ID: "1", Node: "alice"}, {ID: "2", Node: "bob"}, {ID: "3", Node: "alice"}}}
	relays.onShut = func(node string) {
		data, _ := os.ReadFile(filepath.Join(dir, bansName))
		if !r.Banned(node) || !strings.Contains(string(data), `"`+node+`"`) {
			t.Error("allocations are closed before the ban is on disk and in force")
		}
	}
	r.Attach(relays)
	done, err := r.Ban("alice", "spam", 0)
	if err != nil || outcome(done) != (Banned{Closed: 2, Kept: true}) || done.Ban.Reason != "spam" || len(relays.list) != 1 {
		t.Errorf("%+v, %v; left %v", done, err, relays.list)
	}
	if relays.closed[0] != "1 banned by the operator: spam" {
		t.Errorf("causes %q", relays.closed)
	}
	if done, err := r.Ban("alice", "still spam", time.Hour); err != nil || outcome(done) != (Banned{Replaced: true, Kept: true}) {
		t.Errorf("banned again: %+v, %v", done, err)
	}
	if b, _ := r.BanOf("alice"); b.Reason != "still spam" || b.Until.IsZero() || len(r.Bans()) != 1 {
		t.Errorf("banned again: %+v", b)
	}
}

func TestBadBans(t *testing.T) {
	r := newRegistry(t, Config{MaxBans: 2})
	for _, c := range []struct {
		id, reason string
		lasting    time.Duration
		want       error
	}{
		{"", "", 0, nodeid.ErrEmpty},
		{strings.Repeat("x", 257), "", 0, nodeid.ErrLong},
		{"a\xff", "", 0, nodeid.ErrUTF8},
		{"a\nb", "", 0, nodeid.ErrControl},
		{"a", strings.Repeat("x", maxReason+1), 0, ErrReason},
		{"a", "\x1b[2J", 0, ErrReason},
		{"a", "\xff", 0, ErrReason},
		{"a", "", -1, ErrDuration},
	} {
		if _, err := r.Ban(c.id, c.reason, c.lasting); !errors.Is(err, c.want) {
			t.Errorf("Ban(%q, %q, %v): %v, want %v", c.id, c.reason, c.lasting, err, c.want)
		}
	}
	ban(t, r, "a", "", 0)
	ban(t, r, "b", "", 0)
	ban(t, r, "b", "again", 0)
	if _, err := r.Ban("c", "", 0); !errors.Is(err, ErrTooManyBans) || r.Banned("c") {
		t.Errorf("a third ban of two: %v", err)
	}
	if err := r.Unban("a"); err != nil {
		t.Fatal(err)
	}
	ban(t, r, "c", "", 0)
}

func TestEndedBansMakeRoom(t *testing.T) {
	c := newClock()
	r := newRegistry(t, Config{MaxBans: 1, Now: c.now})
	ban(t, r, "a", "", time.Minute)
	c.add(time.Minute)
	ban(t, r, "b", "", 0)
}

func TestDamagedBansFileIsAnError(t *testing.T) {
	dir := t.TempDir()
	r := newRegistry(t, Config{DataDir: dir})
	for i := range 5 {
		ban(t, r, fmt.Sprint("node", i), "x", 0)
	}
	path := filepath.Join(dir, bansName)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	check := func(what string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(Config{DataDir: dir})
		if !errors.Is(err, ErrBansFile) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "backup") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", what, err)
		}
	}
	for n := range len(whole) - 1 { // without the last line feed it is still whole
		check(fmt.Sprintf("the first %d bytes", n), whole[:n])
	}
	zeros := []byte(string(whole))
	copy(zeros[len(zeros)/2:], make([]byte, 8))
	check("zeros in the middle", zeros)
	for what, data := range map[string]string{
		"null":           "null",
		"no list":        `{"version":1}`,
		"null list":      `{"version":1,"bans":null}`,
		"version":        `{"version":2,"bans":[]}`,
		"unknown key":    `{"version":1,"bans":[],"more":1}`,
		"something more": `{"version":1,"bans":[]} {}`,
		"twice":          `{"version":1,"bans":[{"node":"a"},{"node":"a"}]}`,
		"bad id":         `{"version":1,"bans":[{"node":""}]}`,
		"bad reason":     `{"version":1,"bans":[{"node":"a","reason":"\u0007"}]}`,
		"bad time":       `{"version":1,"bans":[{"node":"a","since":"yesterday"}]}`,
		"not text":       "{\"version\":1,\"bans\":[{\"node\":\"a\xff\"}]}",
		"HTML":           "<html>",
	} {
		check(what, []byte(data))
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
	if n := len(newRegistry(t, Config{DataDir: dir}).Bans()); n != 5 {
		t.Errorf("%d bans read back", n)
	}
}

func TestUnreadableBansFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, bansName), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{DataDir: dir}); !errors.Is(err, ErrBansFile) {
		t.Errorf("a directory in the place of the file: %v", err)
	}
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{DataDir: file}); !errors.Is(err, ErrBansFile) {
		t.Errorf("a file in the place of the directory: %v", err)
	}
}

func TestLeftoverTemporaryFileIsRemoved(t *testing.T) {
	dir := t.TempDir()
	left := filepath.Join(dir, bansName+".tmp")
	if err := os.WriteFile(left, []byte(`{"version":1,"ba`), 0o600); err != nil {
		t.Fatal(err)
	}
	newRegistry(t, Config{DataDir: dir})
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
}

func TestThousandBansAndUnbansAtOnce(t *testing.T) {
	dir := t.TempDir()
	r := newRegistry(t, Config{DataDir: dir})
	relays := &fakeRelays{}
	for i := range 1000 {
		relays.list = append(relays.list, allocation{ID: fmt.Sprint(i), Node: fmt.Sprint("n", i)})
	}
	r.Attach(relays)
	start := time.Now()
	each := func(f func(id string) error) {
		var wg sync.WaitGroup
		for i := range 1000 {
			wg.Go(func() {
				if err := f(fmt.Sprint("n", i)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	each(func(id string) error {
		done, err := r.Ban(id, "x", 0)
		if done.Closed != 1 || !r.Banned(id) {
			t.Errorf("%s: %+v, banned %v", id, done, r.Banned(id))
		}
		return err
	})
	t.Logf("1000 bans at once: %v", time.Since(start))
	if n := len(newRegistry(t, Config{DataDir: dir}).Bans()); n != 1000 {
		t.Errorf("%d bans on disk", n)
	}
	each(func(id string) error { return r.Unban(id) })
	if n := len(newRegistry(t, Config{DataDir: dir}).Bans()) + len(r.Bans()); n != 0 || len(relays.list) != 0 {
		t.Errorf("%d bans and %d allocations left over", n, len(relays.list))
	}
}

func FuzzParseBans(f *testing.F) {
	f.Add([]byte(`{"version":1,"bans":[` + "\n" + `{"node":"a","reason":"r","since":"2026-03-01T12:00:00Z","until":"2026-03-01T13:00:00Z"}` + "\n]}\n"))
	f.Add([]byte(`{"version":1,"bans":[]}`))
	f.Add([]byte(`{"version":1,"bans":[{"node":"a"},{"node":"b","since":"0001-01-01T00:00:00+23:59"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		bans, err := parseBans(data)
		if err != nil {
			return
		}
		encoded := encode(t, bans)
		again, err := parseBans(encoded)
		if err != nil || len(again) != len(bans) {
			t.Fatalf("what was written cannot be read: %v\n%s", err, encoded)
		}
		for id, b := range bans {
			if a := again[id]; a.Reason != b.Reason || !a.Since.Equal(b.Since) || !a.Until.Equal(b.Until) {
				t.Errorf("%+v became %+v", b, a)
			}
		}
	})
}

// TestBansOfFormerSpellings reads a file in which two spellings of an id are banned.
func TestBansOfFormerSpellings(t *testing.T) {
	dir := t.TempDir()
	text := `{"version":1,"bans":[{"node":"Zoe\u0308","reason":"long","since":"2026-01-01T00:00:00Z"},` +
		`{"node":"Zo\u00eb","reason":"short","since":"2026-01-02T00:00:00Z","until":"2126-01-01T00:00:00Z"}]}`
	if err := os.WriteFile(filepath.Join(dir, bansName), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newRegistry(t, Config{DataDir: dir})
	if b, ok := r.BanOf("Zo\u00eb"); !ok || b.Reason != "long" || len(r.Bans()) != 1 {
		t.Errorf("%+v of %+v", b, r.Bans())
	}
}

// A line of the file is what encoding/json makes of the ban, to the byte.
func FuzzAppendBan(f *testing.F) {
	f.Add("alice", "spam", int64(1_700_000_000_123_000_000), int64(0))
	f.Add(`ö "quoted" \ /../ <x>&`+" \u2028 😀\xff\x7f", "\n", int64(1), int64(9_000_000_000_000_000_000))
	f.Fuzz(func(t *testing.T, node, reason string, since, until int64) {
		b := Ban{Node: node, Reason: reason, Since: time.Unix(0, since).UTC()}
		if until != 0 {
			b.Until = time.Unix(0, until)
		}
		want, errWant := json.Marshal(b)
		got, err := appendBan([]byte("x"), b)
		if (err != nil) != (errWant != nil) || err == nil && string(got) != "x"+string(want) {
			t.Errorf("%s, %v; want %s, %v", got, err, want, errWant)
		}
	})
}

// BenchmarkBan bans a Node beside a hundred thousand others.
func BenchmarkBan(b *testing.B) {
	r, err := New(Config{DataDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	all := make([]Imposed, 100_000)
	for i := range all {
		all[i] = Imposed{By: "the operator", Ban: Ban{Node: fmt.Sprint("node-number-", i), Reason: "spam and more spam", Since: time.Now().UTC()}}
	}
	r.Impose(all)
	for i := 0; b.Loop(); i++ {
		if _, err := r.Ban(fmt.Sprint("n", i), "spam", 0); err != nil {
			b.Fatal(err)
		}
	}
}
