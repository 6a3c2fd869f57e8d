package usage

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// rig is a Keeper under clocks that the test moves.
type rig struct {
	*Keeper
	dir string

	mu      sync.Mutex
	wall    time.Time
	elapsed time.Duration
	found   []findings.Finding
	notes   []string
}

var november = time.Date(2026, 11, 26, 12, 0, 0, 0, time.UTC)

func newRig(t testing.TB, dir string, edit func(*Config)) *rig {
	t.Helper()
	r := &rig{dir: dir, wall: november}
	cfg := Config{
		DataDir: dir, Settings: Settings{Keep: 400 * 24 * time.Hour},
		Now:   func() time.Time { r.mu.Lock(); defer r.mu.Unlock(); return r.wall },
		Found: r.note,
		Note:  func(node, detail string) { r.notes = append(r.notes, node+": "+detail) },
	}
	if edit != nil {
		edit(&cfg)
	}
	var err error
	if r.Keeper, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	r.Keeper.steady = func() time.Duration { r.mu.Lock(); defer r.mu.Unlock(); return r.elapsed }
	t.Cleanup(r.Close)
	return r
}

func (r *rig) note(now []findings.Finding) {
	r.mu.Lock()
	r.found = now
	r.mu.Unlock()
}

// pass lets time pass, with a look each second of it that matters.
func (r *rig) pass(d time.Duration) {
	r.mu.Lock()
	r.wall = r.wall.Add(d)
	r.elapsed += d
	r.mu.Unlock()
	r.look()
}

// set sets the clock.
func (r *rig) set(at time.Time) {
	r.mu.Lock()
	r.wall = at
	r.mu.Unlock()
	r.look()
}

func (r *rig) ids() (ids []string) {
	for _, f := range r.found {
		ids = append(ids, f.ID)
	}
	return ids
}

func (r *rig) report(t testing.TB, m string) Report {
	t.Helper()
	month, err := ParseMonth(m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Report(month)
	if err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(got.Lines, func(a, b Line) int { return strings.Compare(a.Node, b.Node) })
	return got
}

func TestCountedAndKept(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, dir, nil)
	r.Opened("alice")
	r.Used("alice", 1000, 200, 1500*time.Millisecond)
	r.Used("alice", 1, 2, time.Second)
	r.Message("bob")
	want := Report{
		Month: MonthOf(november), Sum: Record{Up: 1001, Down: 202, Time: 2500 * time.Millisecond, Allocations: 1, Messages: 1},
		Lines: []Line{
			{"alice", Record{Up: 1001, Down: 202, Time: 2500 * time.Millisecond, Allocations: 1}}, {"bob", Record{Messages: 1}},
		},
	}
	if got := r.report(t, "2026-11"); !reflect.DeepEqual(got, want) {
		t.Errorf("in memory: %+v", got)
	}
	r.Close()
	r = newRig(t, dir, nil)
	if got := r.report(t, "2026-11"); !reflect.DeepEqual(got, want) {
		t.Errorf("after a restart: %+v", got)
	}
	r.Used("bob", 5, 0, time.Second)
	r.Close()
	r = newRig(t, dir, nil)
	if m, got := r.This("bob"); m != want.Month || got != (Record{Up: 5, Time: time.Second, Messages: 1}) {
		t.Errorf("after another: %+v", got)
	}
	if st := r.Stats(); st.Nodes != 2 || st.Sum.Up != 1006 || st.Unkept || len(r.found) != 0 {
		t.Errorf("%+v, found %v", st, r.found)
	}
	if st, err := os.Stat(filepath.Join(dir, fileName)); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", st.Mode(), err)
	}
}

// What was written once a minute is there although the process is gone without a word.
func TestNothingWrittenIsLost(t *testing.T) {
	r := newRig(t, t.TempDir(), nil)
	r.Used("alice", 100, 0, time.Second)
	r.write()
	r.Used("alice", 23, 0, time.Second) // within the minute
	copied, err := os.ReadFile(filepath.Join(r.dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, fileName), copied, 0o600); err != nil {
		t.Fatal(err)
	}
	after := newRig(t, dir, nil)
	if _, got := after.This("alice"); got.Up != 100 {
		t.Errorf("%+v", got)
	}
}

// The month ends by UTC; a clock that goes on and back continues the month that it comes to, and nothing is deleted by it.
func TestMonthsAndTheClock(t *testing.T) {
	r := newRig(t, t.TempDir(), func(c *Config) { c.Settings.BytesPerNode = 1000 })
	r.set(time.Date(2026, 11, 30, 18, 59, 59, 0, time.FixedZone("EST", -5*3600))) // 23:59:59 UTC
	r.Used("alice", 1000, 0, time.Second)
	if l, detail := r.Exhausted("alice"); l != NodeLimit || !strings.Contains(detail, "its 1 kB of this month") {
		t.Errorf("%v %q", l, detail)
	}
	r.pass(time.Second)
	if l, _ := r.Exhausted("alice"); l != NoLimit {
		t.Error("the limit of November holds in December")
	}
	r.Used("alice", 7, 0, time.Second)
	r.set(november) // back, before December was ever written
	if l, _ := r.Exhausted("alice"); l != NodeLimit {
		t.Error("November is forgotten")
	}
	r.Used("alice", 1, 0, time.Second)
	for range 5 { // December leaves memory
		r.pass(time.Minute)
		r.write()
	}
	if len(r.books) != 1 {
		t.Errorf("%d months in memory", len(r.books))
	}
	r.set(time.Date(2026, 12, 3, 0, 0, 0, 0, time.UTC))
	r.Used("alice", 3, 0, time.Second)
	r.set(time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))
	r.Message("alice")
	for range 60 * 5 {
		r.pass(time.Second)
		r.write()
	}
	r.set(november)
	if got := r.report(t, "2026-11").Sum.Up; got != 1001 {
		t.Errorf("November has %d", got)
	}
	if got := r.report(t, "2026-12").Sum.Up; got != 10 {
		t.Errorf("December has %d", got)
	}
	all, err := r.Months()
	if err != nil || fmt.Sprint(all) != "[2099-01 2026-12 2026-11]" {
		t.Errorf("%v %v", all, err)
	}
	months, err := r.Node("alice")
	if err != nil || len(months) != 3 || months[0].Messages != 1 || months[1].Up != 10 || months[2].Up != 1001 {
		t.Errorf("%+v %v", months, err)
	}
}

// Months that are over for longer than usage.keep go, whole, once the clock has run steadily for a while.
func TestOldMonthsGo(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, dir, func(c *Config) { c.Settings.Keep = 31 * 24 * time.Hour })
	r.set(time.Date(2026, 10, 1, 0, 0, 0, 0, time.UTC))
	r.Used("a-Node-of-October", 1, 0, time.Second)
	r.write()
	r.set(time.Date(2026, 11, 30, 23, 0, 0, 0, time.UTC))
	r.Used("a-Node-of-November", 1, 0, time.Second)
	for range 9 {
		r.pass(time.Minute)
		r.write()
	}
	r.set(time.Date(2026, 12, 2, 0, 0, 0, 0, time.UTC)) // 31 days after October: due, but by a clock that was just set
	r.write()
	if all, err := r.Months(); err != nil || len(all) != 3 {
		t.Errorf("%v %v", all, err)
	}
	for range 11 {
		r.pass(time.Minute)
		r.write()
	}
	if all, err := r.Months(); err != nil || fmt.Sprint(all) != "[2026-12 2026-11]" {
		t.Errorf("%v %v", all, err)
	}
	r.write()
	if strings.Contains(content(t, dir), "a-Node-of-October") || !strings.Contains(content(t, dir), "a-Node-of-November") {
		t.Error("the file has what was deleted, or not what was kept")
	}
}

func content(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, fileName))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestDelete(t *testing.T) {
	dir := t.TempDir()
	r := newRig(t, dir, nil)
	for i := range 2000 {
		r.Used(fmt.Sprintf("other-%d", i), 1, 0, time.Second)
	}
	for range 5 { // its record wanders through the file
		r.Used("who-wants-to-go", 10, 0, time.Second)
		r.Used("other-7", 1, 0, time.Second)
		r.write()
	}
	r.set(time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC))
	r.Used("who-wants-to-go", 10, 0, time.Second)
	if err := r.Delete("who-wants-to-go"); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(content(t, dir), "who-wants") {
		t.Error("the file has a trace")
	}
	if err := r.Delete("who-wants-to-go"); !errors.Is(err, ErrUnknown) {
		t.Errorf("again: %v", err)
	}
	if list, err := r.Node("who-wants-to-go"); err != nil || len(list) != 0 {
		t.Errorf("%v %v", list, err)
	}
	if got := r.report(t, "2026-11"); got.Sum.Up != 2055 || len(got.Lines) != 2000 {
		t.Errorf("sum %+v, %d lines", got.Sum, len(got.Lines))
	}
	r.Used("who-wants-to-go", 3, 0, time.Second)
	r.Close()
	r = newRig(t, dir, nil)
	if list, err := r.Node("who-wants-to-go"); err != nil || len(list) != 1 || list[0].Up != 3 {
		t.Errorf("%v %v", list, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left over: %v", left)
	}
}

func TestLimits(t *testing.T) {
	elsewhere := map[string]uint64{}
	r := newRig(t, t.TempDir(), func(c *Config) {
		c.Settings.Bytes, c.Settings.BytesPerNode = 10_000, 1000
		c.Elsewhere = func(_ Month, node string) uint64 { return elsewhere[node] }
	})
	use := func(node string, n uint64) {
		r.Used(node, n/2, n-n/2, time.Second)
		r.look()
	}
	use("alice", 799)
	if len(r.ids()) != 0 || len(r.notes) != 0 {
		t.Errorf("below 80 %%: %v %v", r.found, r.notes)
	}
	use("alice", 1)
	use("alice", 1)
	if !slices.Equal(r.ids(), []string{"usage.nodes"}) || len(r.notes) != 1 || r.notes[0] !=
		"alice: 80 % of the 1 kB that a Node may relay this month are used (turn.limits.bytes_per_month_per_node)" {
		t.Errorf("at 80 %%: %v %v", r.found, r.notes)
	}
	use("alice", 199)
	if l, _ := r.Exhausted("alice"); l != NodeLimit {
		t.Error("not exhausted")
	}
	if l, _ := r.Exhausted("bob"); l != NoLimit {
		t.Error("bob pays for alice")
	}
	if st := r.Stats(); st.Near != 1 || st.Exhausted != 1 {
		t.Errorf("%+v", st)
	}
	for i := range 7 {
		use(fmt.Sprint("n", i), 1000)
	}
	if !slices.Equal(r.ids(), []string{"usage.server", "usage.nodes"}) || !strings.Contains(r.found[0].Detail, "more than 80 %") {
		t.Errorf("%v", r.found)
	}
	elsewhere[""], elsewhere["bob"] = 2000, 999 // on the fleet's other machines
	if l, detail := r.Exhausted("bob"); l != ServerLimit || !strings.Contains(detail, "the 10 kB of this month") {
		t.Errorf("%v %q", l, detail)
	}
	r.write()
	if !strings.Contains(r.found[0].Detail, "nothing is relayed") {
		t.Errorf("%v", r.found)
	}
	elsewhere[""] = 0
	use("bob", 1)
	if l, _ := r.Exhausted("bob"); l != NodeLimit {
		t.Error("what bob used elsewhere does not count")
	}
	change, err := r.Prepare(Settings{BytesPerNode: 1200})
	if err != nil {
		t.Fatal(err)
	}
	change.Apply()
	r.look()
	if l, _ := r.Exhausted("alice"); l != NoLimit || !slices.Equal(r.ids(), []string{"usage.nodes"}) || strings.Contains(r.found[0].Detail, "nothing is relayed") {
		t.Errorf("after a reload: %v %v", l, r.found)
	}
	change, _ = r.Prepare(Settings{})
	change.Apply()
	r.look()
	if r.Limited() || len(r.found) != 0 {
		t.Errorf("without limits: %v", r.found)
	}
}

func TestNoRoom(t *testing.T) {
	r := newRig(t, t.TempDir(), func(c *Config) { c.MaxNodes = 100 })
	for i := range 150 {
		r.Used(fmt.Sprint("n", i), 1, 0, time.Second)
	}
	r.write()
	if got := r.report(t, "2026-11"); got.Sum.Up != 150 || len(got.Lines) != 100 || !slices.Equal(r.ids(), []string{"usage.room"}) {
		t.Errorf("%+v, %d lines, %v", got.Sum, len(got.Lines), r.found)
	}
	r.Used("n0", 1, 0, time.Second)
	if _, got := r.This("n0"); got.Up != 2 {
		t.Errorf("%+v", got)
	}
}

// Many goroutines count while months roll and the file is written: nothing is lost, nothing counted twice.
func TestAllAtOnce(t *testing.T) {
	r := newRig(t, t.TempDir(), nil)
	months := []time.Time{november, november.AddDate(0, 1, 0), november.AddDate(0, 2, 0)}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 2000 {
				r.Used(fmt.Sprint("n", (g*7+i)%50), 1, 1, time.Millisecond)
				if i%100 == 0 {
					r.Exhausted("n1")
					_ = r.Stats()
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	for i := 0; ; i++ {
		r.set(months[i%3])
		r.write()
		select {
		case <-done:
			r.Close()
			r.Keeper = newRig(t, r.dir, nil).Keeper
			var sum, nodes Record
			for _, m := range months {
				rep := r.report(t, MonthOf(m).String())
				sum.add(rep.Sum)
				for _, l := range rep.Lines {
					nodes.add(l.Record)
				}
			}
			if sum != nodes || sum.Up != 16000 || sum.Down != 16000 || sum.Time != 16*time.Second {
				t.Errorf("sum %+v, of Nodes %+v", sum, nodes)
			}
			return
		default:
		}
	}
}

func TestRecord(t *testing.T) {
	for _, r := range []Record{{}, {1, 2, 3 * time.Millisecond, 4, 5}, {1 << 63, 1<<64 - 1, 1 << 50 * time.Nanosecond, 0, 1}} {
		r.Time = r.Time.Truncate(time.Millisecond)
		b := r.encode(nil)
		if got, err := decode(b); err != nil || got != r {
			t.Errorf("%+v: %+v %v", r, got, err)
		}
		for i := range b {
			if _, err := decode(b[:i]); err == nil {
				t.Errorf("%x is read", b[:i])
			}
		}
		if _, err := decode(append(bytes.Clone(b), 0)); err == nil {
			t.Error("more than a record is read")
		}
	}
}

func TestMonth(t *testing.T) {
	m, err := ParseMonth("2026-12")
	if err != nil || m.String() != "2026-12" || m.End().Format(time.DateOnly) != "2027-01-01" || MonthOf(m.End().Add(-1)) != m {
		t.Errorf("%v %v", m, err)
	}
	for _, s := range []string{"", "2026", "2026-13", "2026-1", "26-01", "2026-11-01", "x"} {
		if _, err := ParseMonth(s); !errors.Is(err, ErrMonth) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
