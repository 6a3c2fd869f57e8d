package audit

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// fill has the next write fail as on a full disk.
func (l *Log) fill(t *testing.T) {
	t.Helper()
	full, err := os.OpenFile("/dev/full", os.O_RDWR|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file != nil {
		if err := l.file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l.file = full
}

// A full disk is a finding; what it does not take is shown all the same, and written when there is room.
func TestFullDisk(t *testing.T) {
	var f found
	dir := t.TempDir()
	l := open(t, dir, func(c *Config) { c.Found = f.set })
	l.Note(Entry{What: Ban, Node: "before"})
	l.fill(t)
	l.Note(Entry{What: Ban, Node: "meanwhile"})
	if len(f.now) != 1 || f.now[0].ID != "audit.file" || !strings.Contains(f.now[0].Detail, "no space left on device") {
		t.Errorf("found %+v", f.now)
	}
	if got := fmt.Sprint(numbers(page(t, l, Query{}))); got != "[2 1]" || l.Lost() != 0 {
		t.Errorf("%s, %d lost", got, l.Lost())
	}
	l.mu.Lock()
	_ = l.file.Close()
	l.file = nil
	l.mu.Unlock()
	l.Note(Entry{What: Ban, Node: "after"})
	if len(f.now) != 0 {
		t.Errorf("found %+v", f.now)
	}
	if got := fmt.Sprint(numbers(page(t, open(t, dir, nil), Query{}))); got != "[3 2 1]" {
		t.Errorf("on the disk: %s", got)
	}
}

// What waits for room is bounded: the oldest are given up and counted, and so is what there is no room for at the end.
func TestNeverRoom(t *testing.T) {
	l := open(t, t.TempDir(), nil)
	l.fill(t)
	const n = 3000
	for range n {
		l.Note(Entry{What: Ban, Reason: strings.Repeat("x", 1000)})
	}
	if lost := l.Lost(); lost == 0 || l.waits > waitBytes || int(lost)+len(l.wait) != n {
		t.Errorf("%d lost, %d wait with %d bytes", lost, len(l.wait), l.waits)
	}
	if err := l.Close(); err != nil {
		t.Log(err) // what /dev/full cannot sync
	}
	if l.Lost() != n {
		t.Errorf("%d lost", l.Lost())
	}
}
