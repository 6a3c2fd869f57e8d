package nodes

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// disk is a data_dir that takes nothing while it is full.
type disk struct {
	t    *testing.T
	path string
}

// fill lets every write fail: nothing can be in the temporary file's place.
func (d disk) fill() {
	d.t.Helper()
	if err := os.MkdirAll(filepath.Join(d.path, bansName+".tmp", "in the way"), 0o700); err != nil {
		d.t.Fatal(err)
	}
}

func (d disk) free() {
	d.t.Helper()
	if err := os.RemoveAll(filepath.Join(d.path, bansName+".tmp")); err != nil {
		d.t.Fatal(err)
	}
}

// has are the Nodes whose bans would survive a restart now.
func (d disk) has() (ids []string) {
	d.t.Helper()
	bans, err := banFile{filepath.Join(d.path, bansName)}.read()
	if err != nil {
		d.t.Fatal(err)
	}
	for id := range bans {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// board remembers what was found last.
type board struct {
	mu   sync.Mutex
	last []findings.Finding
	told chan struct{}
}

func newBoard() *board { return &board{told: make(chan struct{}, 100)} }

func (b *board) found(now []findings.Finding) {
	b.mu.Lock()
	b.last = now
	b.mu.Unlock()
	b.told <- struct{}{}
}

func (b *board) ids() (ids []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, f := range b.last {
		ids = append(ids, f.ID)
		if f.Remedy == "" || strings.Contains(f.Detail, "\n") {
			ids = append(ids, "and a bad text: "+f.Detail)
		}
	}
	return ids
}

func TestBanThatTheDiskDoesNotTakeIsInForce(t *testing.T) {
	d, b := disk{t, t.TempDir()}, newBoard()
	r := newRegistry(t, Config{DataDir: d.path, Found: b.found})
	relays := &fakeRelays{list: []allocation{{ID: "1", Node: "alice"}}}
	r.Attach(relays)
	ban(t, r, "bob", "", 0)
	d.fill()
	done, err := r.Ban("alice", "spam", 0)
	if err != nil || outcome(done) != (Banned{Closed: 1}) || !r.Banned("alice") || len(relays.list) != 0 {
		t.Errorf("%+v, %v; banned %v, left %v", done, err, r.Banned("alice"), relays.list)
	}
	if got := b.ids(); !slices.Equal(got, []string{"bans.unkept"}) {
		t.Errorf("found %v", got)
	}
	if done, err := r.Ban("alice", "more spam", time.Hour); err != nil || outcome(done) != (Banned{Replaced: true}) {
		t.Errorf("banned again: %+v, %v", done, err)
	}
	// What lets somebody in waits for the disk, unless the disk has nothing of the ban.
	if err := r.Unban("bob"); err == nil || !r.Banned("bob") || !strings.HasPrefix(err.Error(), "the ban stays: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("unban of bob: %v, banned %v", err, r.Banned("bob"))
	}
	ban(t, r, "carol", "", 0)
	if err := r.Unban("carol"); err != nil || r.Banned("carol") {
		t.Errorf("unban of carol: %v", err)
	}
	if got := d.has(); !slices.Equal(got, []string{"bob"}) {
		t.Errorf("on the disk: %v", got)
	}
	d.free()
	if done, err := r.Ban("dave", "", 0); err != nil || !done.Kept {
		t.Errorf("with room again: %+v, %v", done, err)
	}
	if got := d.has(); !slices.Equal(got, []string{"alice", "bob", "dave"}) || len(b.ids()) != 0 {
		t.Errorf("on the disk: %v, found %v", got, b.ids())
	}
}

// A lift that fails leaves nothing behind, so there is nothing to find.
func TestFailedUnbanIsNoFinding(t *testing.T) {
	d, b := disk{t, t.TempDir()}, newBoard()
	r := newRegistry(t, Config{DataDir: d.path, Found: b.found})
	ban(t, r, "bob", "", 0)
	d.fill()
	if err := r.Unban("bob"); err == nil {
		t.Error("lifted")
	}
	if len(b.told) != 0 {
		t.Errorf("found %v", b.ids())
	}
}

// Run writes what the disk did not take, as soon as it does.
func TestUnkeptBansAreWrittenLater(t *testing.T) {
	d, b := disk{t, t.TempDir()}, newBoard()
	r := newRegistry(t, Config{DataDir: d.path, Found: b.found})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = r.Run(ctx) })
	defer running.Wait()
	defer cancel()
	d.fill()
	ban(t, r, "alice", "", 0)
	<-b.told // by the ban
	<-b.told // by a try of Run
	d.free()
	for len(b.ids()) > 0 {
		<-b.told
	}
	if got := d.has(); !slices.Equal(got, []string{"alice"}) {
		t.Errorf("on the disk: %v", got)
	}
}

// The end is one more try.
func TestUnkeptBansAreWrittenAtTheEnd(t *testing.T) {
	d := disk{t, t.TempDir()}
	r := newRegistry(t, Config{DataDir: d.path})
	d.fill()
	ban(t, r, "alice", "", 0)
	d.free()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.Run(ended); err != nil {
		t.Fatal(err)
	}
	if got := d.has(); !slices.Equal(got, []string{"alice"}) {
		t.Errorf("on the disk: %v", got)
	}
}

// The store cuts for every ban that comes into force, not only for those of Ban.
func TestBanFromElsewhereCuts(t *testing.T) {
	r := newRegistry(t, Config{})
	relays := &fakeRelays{list: []allocation{{ID: "1", Node: "alice"}}}
	r.Attach(relays)
	c := change{id: "alice", ban: &Ban{Node: "alice", Since: time.Now()}, by: "another machine"}
	if err := r.bans.do(&c); err != nil || c.did.Closed != 1 || len(relays.list) != 0 {
		t.Errorf("%+v, %v, left %v", c.did, err, relays.list)
	}
	_, events, _ := r.Lookup("alice")
	if got := details(events); len(got) != 1 || got[0] != "banned: banned by another machine; 1 allocation closed" {
		t.Errorf("events %q", got)
	}
}

// Timed bans that end while the disk is full do not apply, and are no finding.
func TestBansEndOnAFullDisk(t *testing.T) {
	d, b, c := disk{t, t.TempDir()}, newBoard(), newClock()
	r := newRegistry(t, Config{DataDir: d.path, Found: b.found, Now: c.now})
	ban(t, r, "alice", "", time.Minute)
	d.fill()
	c.add(time.Minute)
	r.tidy()
	if r.Banned("alice") || len(r.Bans()) != 0 || len(b.told) != 0 {
		t.Errorf("bans %v, found %v", r.Bans(), b.ids())
	}
	d.free()
	ban(t, r, "bob", "", 0)
	if got := d.has(); !slices.Equal(got, []string{"bob"}) {
		t.Errorf("on the disk: %v", got)
	}
}
