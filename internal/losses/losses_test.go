package losses

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// rig is a Watch of counters that the test sets, under a clock that the test moves.
type rig struct {
	*Watch
	now   time.Time
	n     map[Count]uint64
	drops []NodeDrops
	found []findings.Finding
	notes []string
	log   bytes.Buffer
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), n: make(map[Count]uint64)}
	var err error
	r.Watch, err = New(Config{
		Read: func() (all []Count) {
			for c, n := range r.n {
				c.N = n
				all = append(all, c)
			}
			return all
		},
		Found: func(now []findings.Finding) { r.found = now },
		Drops: func() []NodeDrops { return r.drops },
		Note:  func(node, detail string) { r.notes = append(r.notes, node+": "+detail) },
		Log:   slog.New(slog.NewTextHandler(&r.log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	r.noted = r.now
	return r
}

func (r *rig) lose(area Area, cause string, n uint64) { r.n[Count{Area: area, Cause: cause}] += n }

// pass lets time pass, with a look every five seconds.
func (r *rig) pass(d time.Duration) {
	for end := r.now.Add(d); r.now.Before(end); {
		r.now = r.now.Add(5 * time.Second)
		r.look(r.now)
	}
}

func (r *rig) ids() (ids []string) {
	for _, f := range r.found {
		ids = append(ids, f.ID)
	}
	return ids
}

// A cause is found for as long as it goes on, and a minute longer.
func TestFindingWhileItLasts(t *testing.T) {
	r := newRig(t)
	r.pass(time.Minute)
	if r.found != nil {
		t.Errorf("found %v", r.found)
	}
	r.lose(Requests, "no_port", 1)
	r.pass(5 * time.Second)
	if got := r.ids(); !slices.Equal(got, []string{"losses.requests.no_port"}) || r.found[0].Detail == "" || r.found[0].Remedy == "" {
		t.Errorf("found %+v", r.found)
	}
	for range 10 {
		r.pass(50 * time.Second)
		if r.lose(Requests, "no_port", 1); len(r.found) != 1 {
			t.Fatalf("it goes on, and is not found: %v", r.found)
		}
	}
	r.pass(55 * time.Second)
	if len(r.found) != 1 {
		t.Error("gone within a minute")
	}
	r.pass(10 * time.Second)
	if len(r.found) != 0 {
		t.Errorf("still found: %v", r.found)
	}
}

// What anybody can bring about is found when there is much of it within a minute.
func TestLeast(t *testing.T) {
	r := newRig(t)
	for range 20 {
		r.lose(Datagrams, "no_permission", many/2)
		r.pass(time.Minute)
	}
	if len(r.found) != 0 || r.log.Len() != 0 {
		t.Errorf("found %v, logged %s", r.found, &r.log)
	}
	r.lose(Datagrams, "no_permission", many)
	r.pass(5 * time.Second)
	if got := r.ids(); !slices.Equal(got, []string{"losses.datagrams.no_permission"}) {
		t.Errorf("found %v", got)
	}
}

// A cause that nobody here has heard of is shown in general words.
func TestUnknownCause(t *testing.T) {
	r := newRig(t)
	r.lose(Connections, "moon_phase", many)
	r.lose("tea", "cold", many)
	r.pass(5 * time.Second)
	if got := r.ids(); !slices.Equal(got, []string{"losses.connections.moon_phase", "losses.tea.cold"}) {
		t.Errorf("found %v", got)
	}
	if f := r.found[0]; f.Detail != "connections of clients are turned away (moon phase)" || f.Remedy == "" {
		t.Errorf("%+v", f)
	}
}

// The log has one line a minute, however much is lost.
func TestOneLineAMinute(t *testing.T) {
	r := newRig(t)
	for range 5 * 12 {
		r.lose(Requests, "no_port", 1000)
		r.lose(Connections, "over_share", 7)
		r.pass(5 * time.Second)
	}
	lines := strings.Split(strings.TrimSpace(r.log.String()), "\n")
	if len(lines) != 5 || !strings.Contains(lines[4], `causes="requests no_port 12000, connections over_share 84"`) {
		t.Errorf("%d lines:\n%s", len(lines), &r.log)
	}
}

// Where a Node is known, its why-record has the cause, once for all its allocations.
func TestWhyRecord(t *testing.T) {
	r := newRig(t)
	set := func(a, b, c uint64) {
		r.drops = []NodeDrops{
			{"1", "alice", map[string]uint64{"no_permission": a}}, {"2", "alice", map[string]uint64{"no_permission": b, "queue_full": c}},
			{"3", "bob", map[string]uint64{"queue_full": 0}},
		}
	}
	set(1, 2, 0)
	r.pass(time.Minute)
	if len(r.notes) != 1 || !strings.HasPrefix(r.notes[0], "alice: dropped no_permission: ") {
		t.Errorf("notes %q", r.notes)
	}
	r.pass(10 * time.Minute)
	if len(r.notes) != 1 {
		t.Errorf("nothing more was dropped, and noted: %q", r.notes)
	}
	set(1, 3, 1)
	r.pass(time.Minute)
	if len(r.notes) != 3 || r.notes[1] != r.notes[0] || !strings.HasPrefix(r.notes[2], "alice: dropped queue_full: ") {
		t.Errorf("notes %q", r.notes)
	}
}

// Every cause has what an operator needs, in one line.
func TestWords(t *testing.T) {
	for _, area := range Areas() {
		if general[area] == "" {
			t.Errorf("%s has no general words", area)
		}
		for name, c := range Causes(area) {
			if c.Means == "" || c.Remedy == "" || c.Least == 0 || strings.ContainsAny(c.Means+c.Remedy, "\n") {
				t.Errorf("%s %s: %+v", area, name, c)
			}
			if got := Of(area, name); got != c {
				t.Errorf("%s %s: %+v", area, name, got)
			}
		}
	}
}

func TestConfig(t *testing.T) {
	read, found := func() []Count { return nil }, func([]findings.Finding) {}
	for i, c := range []Config{{}, {Read: read}, {Found: found}, {Read: read, Found: found, Note: func(_, _ string) {}}} {
		if _, err := New(c); err == nil {
			t.Errorf("%d was taken", i)
		}
	}
}

// Run looks by itself, and ends when it is told.
func TestRun(t *testing.T) {
	found := make(chan []findings.Finding, 1)
	w, err := New(Config{
		Every: time.Millisecond, Read: func() []Count { return []Count{{Requests, "no_port", 1}} },
		Found: func(now []findings.Finding) {
			select {
			case found <- now:
			default:
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	if now := <-found; len(now) != 1 {
		t.Errorf("found %v", now)
	}
	cancel()
	running.Wait()
}

func ExampleOf() {
	fmt.Println(Of(Datagrams, "moon_phase").Means)
	// Output: datagrams are dropped (moon phase)
}
