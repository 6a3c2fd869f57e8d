package clock

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
)

// A clock that jumps is told once, until it has been put right.
func TestJumps(t *testing.T) {
	var log logtest.Buffer
	found := findings.NewSet(slog.New(slog.NewTextHandler(&log, nil)))
	c := New(found)
	var shift time.Duration
	read := c.read
	c.read = func() reading {
		r := read()
		r.wall = r.wall.Add(shift)
		return r
	}
	warns := func() bool { c.look(); return len(found.All()) == 1 }
	if warns() {
		t.Error("warned of nothing")
	}
	for range 2 {
		if shift = time.Hour; !warns() {
			t.Error("an hour is not noticed")
		}
		if shift = 0; warns() {
			t.Error("it was put right, and is still told")
		}
	}
	if n := strings.Count(log.String(), "the clock jumped by 1h0m0s while this runs"); n != 1 {
		t.Errorf("said %d times:\n%s", n, log.String())
	}
}

// A jump is told for an hour, and then taken for settled.
func TestJumpIsForgotten(t *testing.T) {
	var j jumps
	if got := j.look(reading{time.Unix(7200, 0), time.Second}); got == 0 {
		t.Error("not noticed")
	}
	if got := j.look(reading{time.Unix(7200, 0).Add(2 * time.Hour), 2*time.Hour + time.Second}); got != 0 {
		t.Errorf("%v is told for ever", got)
	}
}
