package history

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// world is a clock and counters that a test turns.
type world struct {
	now     time.Time
	in, out uint64
	found   [][]findings.Finding
}

func (w *world) open(t *testing.T, dir string) *Keeper {
	t.Helper()
	k, err := New(Config{
		DataDir: dir, Totals: func() (uint64, uint64) { return w.in, w.out }, Now: func() time.Time { return w.now },
		Found: func(now []findings.Finding) { w.found = append(w.found, now) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// pass lets seconds go by in which so many bytes are relayed each.
func (w *world) pass(k *Keeper, seconds int, in, out uint64) {
	for range seconds / 5 {
		w.now = w.now.Add(5 * time.Second)
		w.in += 5 * in
		w.out += 5 * out
		k.look()
	}
}

// values are those of the last n steps, -1 where there is none.
func values(all []*uint64, n int) (out []int) {
	for _, v := range all[len(all)-n:] {
		if v == nil {
			out = append(out, -1)
		} else {
			out = append(out, int(*v))
		}
	}
	return out
}

func TestHistory(t *testing.T) {
	dir := t.TempDir()
	w := &world{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	k := w.open(t, dir)
	w.pass(k, 55, 1000, 500)
	w.pass(k, 60, 3000, 0)
	check := func(k *Keeper, byHour bool, in, out []int) {
		t.Helper()
		s := k.Series(byHour)
		if got := values(s.In, len(in)); !equal(got, in) || !s.Until.Equal(w.now) {
			t.Errorf("in %v, want %v", got, in)
		}
		if got := values(s.Out, len(out)); !equal(got, out) {
			t.Errorf("out %v, want %v", got, out)
		}
	}
	check(k, false, []int{-1, 1000, 3000}, []int{-1, 500, 0})
	w.pass(k, 5, 3000, 0)
	if len(k.Series(false).In) != Minutes || len(k.Series(true).In) != Hours {
		t.Error("a series is not whole")
	}
	k.write()

	// A restart: counters begin at 0, and the time between is empty.
	w.in, w.out = 0, 0
	w.now = w.now.Add(3 * time.Minute)
	again := w.open(t, dir)
	w.pass(again, 30, 400, 400)
	check(again, false, []int{-1, -1, 400}, []int{-1, -1, 400})
	if got := values(again.Series(true).In, 1)[0]; got != 1746 { // of the time in which it ran
		t.Errorf("the hour's mean is %d", got)
	}
	if starts := again.Starts(); len(starts) != 2 || !starts[1].After(starts[0]) {
		t.Errorf("starts %v", starts)
	}
	// A day later the minutes are gone, and the hours are there.
	w.now = w.now.Add(25 * time.Hour)
	for _, v := range again.Series(false).In {
		if v != nil {
			t.Fatal("minutes of the day before are still there")
		}
	}
	if got := values(again.Series(true).In, 26); got[0] < 0 || got[25] != -1 {
		t.Errorf("hours %v", got)
	}
	// A clock that goes back leaves nothing in the future.
	w.now = w.now.Add(-48 * time.Hour)
	for _, v := range again.Series(true).In {
		if v != nil {
			t.Fatal("what is to come is in the series")
		}
	}
}

func equal(a, b []int) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// TestRunWrites ends a Keeper, which leaves all that it knows.
func TestRunWrites(t *testing.T) {
	dir := t.TempDir()
	w := &world{now: time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC), in: 0}
	k := w.open(t, dir)
	w.now = w.now.Add(10 * time.Second)
	w.in = 5000
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := k.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if got := values(w.open(t, dir).Series(false).In, 1)[0]; got != 500 {
		t.Errorf("%d bytes a second are left, want 500", got)
	}
	data, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil || len(data) > 64<<10 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}

// TestDamagedFile begins anew, and says that a disk takes nothing.
func TestDamagedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	w := &world{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	k := w.open(t, dir)
	if len(k.Starts()) != 1 {
		t.Error("something was read from rubbish")
	}
	if err := os.Mkdir(path+".tmp", 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path+".tmp", "full"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	k.write()
	if len(w.found) != 1 || w.found[0][0].ID != "history.file" {
		t.Fatalf("found %v", w.found)
	}
	if err := os.RemoveAll(path + ".tmp"); err != nil {
		t.Fatal(err)
	}
	k.write()
	if len(w.found) != 2 || len(w.found[1]) != 0 {
		t.Errorf("found %v", w.found)
	}
}

func FuzzParse(f *testing.F) {
	var m image
	m.began(time.Unix(1_700_000_000, 0))
	f.Add(m.encode())
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, data []byte) {
		var read image
		if read.parse(data) == nil && !bytes.Equal(read.encode(), data) {
			t.Error("what was read is written otherwise")
		}
	})
}

// TestOneNode remembers what single Nodes relayed, over a restart, until it is forgotten.
func TestOneNode(t *testing.T) {
	dir := t.TempDir()
	w := &world{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	k := w.open(t, dir)
	w.pass(k, 60, 1000, 1000)
	k.Relayed("Alice", 30_000, 6000)
	w.pass(k, 30, 1000, 1000)
	k.Relayed("Alice", 0, 0)
	w.pass(k, 25, 1000, 1000)
	k.Relayed("Alice", 3000, 0)
	k.write()
	again := w.open(t, dir)
	for _, k := range []*Keeper{k, again} {
		if got := values(k.Of("Alice", false).In, 3); !equal(got, []int{-1, 0, 550}) {
			t.Errorf("Alice sent %v", got)
		}
		if got := values(k.Of("Alice", true).Out, 1); got[0] != 52 {
			t.Errorf("in the hour Alice received %v", got)
		}
		if got := values(k.Of("Bob", false).In, 2); !equal(got, []int{0, 0}) {
			t.Errorf("Bob sent %v", got)
		}
	}
	if !again.Forget("Alice") || again.Forget("Alice") || again.nodes.cells != 0 {
		t.Error("Alice is not forgotten once")
	}
	again.write()
	if w.open(t, dir).nodes.tracks["Alice"] != nil {
		t.Error("the disk has not forgotten Alice")
	}
}

// TestNodesBeyondTheLimit forgets those that relayed nothing for the longest, and what is older than is shown.
func TestNodesBeyondTheLimit(t *testing.T) {
	b := byNode{most: 100, tracks: map[string]*track{}}
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 500 {
		b.add(string(rune('A'+i%26))+"-"+now.Format("150405"), now, 1, 1)
		now = now.Add(time.Minute)
		sum := 0
		for _, tr := range b.tracks {
			sum += tr.cells()
		}
		if sum != b.cells || sum > 100 {
			t.Fatalf("%d cells, counted %d", sum, b.cells)
		}
	}
	if b.tracks["A-120000"] != nil || len(b.tracks) < 30 {
		t.Errorf("%d Nodes are left", len(b.tracks))
	}
	b = byNode{most: maxCells, tracks: map[string]*track{}}
	for range 3000 {
		b.add("always", now, 1, 1)
		now = now.Add(time.Minute)
	}
	if tr := b.tracks["always"]; len(tr.minutes) != Minutes || len(tr.hours) > 51 {
		t.Errorf("%d minutes, %d hours", len(tr.minutes), len(tr.hours))
	}
	b.add("always", now.Add(-time.Hour), 1, 1) // a clock that is set back
	if tr := b.tracks["always"]; tr.last() != slotOf(now.Add(-time.Hour), time.Minute) {
		t.Error("what is to come is remembered")
	}
}

func FuzzParseNodes(f *testing.F) {
	b := byNode{most: maxCells, tracks: map[string]*track{}}
	f.Add(b.encode())
	b.add("Alice", time.Unix(1_700_000_000, 0), 1, 2)
	f.Add(b.encode())
	f.Fuzz(func(t *testing.T, data []byte) {
		var read byNode
		if read.parse(data) != nil {
			return
		}
		var again byNode
		if err := again.parse(read.encode()); err != nil || again.cells != read.cells || len(again.tracks) != len(read.tracks) {
			t.Error("what was read is written otherwise")
		}
	})
}
