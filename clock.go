package main

import (
	"fmt"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// What can be known of a wrong clock without asking anybody: that it jumped while this runs, and that it is behind the
// last use of data_dir. Where there is an upstream, its answers have a date too. A clock that was ahead before the start
// shows nowhere else.
const (
	clockSlack = 2 * time.Minute // HTTP dates are in seconds, and take their time
	clockKept  = time.Hour       // how long a jump is told
)

// reading is a moment by the clock, and by one that nobody sets.
type reading struct {
	wall   time.Time
	steady time.Duration
}

func (a *app) readClock() reading {
	now := time.Now()
	return reading{now.Round(0), now.Sub(a.started)}
}

// clock watches for jumps. It belongs to the goroutine of the watch.
type clock struct {
	read  func() reading
	last  reading
	moved time.Duration // by the jumps that are told
	since time.Duration // steady time of the last of them
}

// look says by how much the clock has been moved, with what was told before; 0: not at all, or by nothing in the end.
func (c *clock) look() time.Duration {
	now := c.read()
	jump := now.wall.Sub(c.last.wall) - (now.steady - c.last.steady)
	c.last = now
	switch {
	case jump.Abs() >= clockSlack/2:
		c.moved += jump
		c.since = now.steady
	case now.steady-c.since > clockKept:
		c.moved = 0
	}
	if c.moved.Abs() < clockSlack/2 {
		c.moved = 0
	}
	return c.moved.Round(time.Second)
}

const clockRemedy = "check this machine's clock (timedatectl): credentials and bans end by it"

// lookAtClock brings the finding about jumps up to date.
func (a *app) lookAtClock(c *clock) {
	var found []findings.Finding
	if moved := c.look(); moved != 0 {
		found = append(found, findings.Finding{
			ID: "clock.jump", Remedy: clockRemedy, Detail: fmt.Sprintf("the clock jumped by %s while this runs, or the machine slept", moved),
		})
	}
	a.findings.Replace("clock.jump", found)
}

// checkStart finds what the data_dir tells at the start: a clock that is behind its last use, and another user's folder.
func (a *app) checkStart() {
	if last, now := a.dir.LastUse(), time.Now(); last.Sub(now) > clockSlack {
		a.findings.Replace("clock.behind", []findings.Finding{{
			ID: "clock.behind", Remedy: clockRemedy,
			Detail: fmt.Sprintf("the clock says %s, and data_dir was last used at %s", now.UTC().Format(time.RFC3339), last.UTC().Format(time.RFC3339)),
		}})
	}
	if uid, other := a.dir.OtherOwner(); other {
		a.findings.Replace("data_dir.owner", []findings.Finding{{
			ID: "data_dir.owner", Remedy: "chown -R it to the user that serves, and always serve as that one",
			Detail: fmt.Sprintf("data_dir %s belongs to the user with id %d, who cannot read what is made in it now", a.dir.Path(), uid),
		}})
	}
}

// upstreamDate compares this machine's clock with the one of the user's own webhook.
func (a *app) upstreamDate(at time.Time) {
	skew := time.Until(at)
	wrong := skew.Abs() > clockSlack
	if !wrong && !a.skewed.Load() {
		return
	}
	a.skewed.Store(wrong)
	var found []findings.Finding
	if wrong {
		way := "behind"
		if skew < 0 {
			way = "ahead of"
		}
		found = append(found, findings.Finding{
			ID: "clock.upstream", Remedy: "set the one that is wrong (timedatectl): credentials end by this one",
			Detail: fmt.Sprintf("this machine's clock is %s %s that of hooks.upstream", skew.Abs().Round(time.Minute), way),
		})
	}
	a.findings.Replace("clock.upstream", found)
}
