// Package clock finds out whether this machine's clock is wrong, as far as that can be known without asking anybody: it
// jumped while the process ran, it is behind the last use of data_dir, or it differs from the clock of an upstream or a CA. A
// clock that was ahead before the start shows nowhere else.
package clock

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

const (
	slack  = 2 * time.Minute // HTTP dates have whole seconds, and take their time
	kept   = time.Hour       // how long a jump is told
	every  = 5 * time.Second
	remedy = "check this machine's clock (timedatectl): credentials and bans end by it"
)

// reading is a moment by the wall clock, and by one that nobody sets.
type reading struct {
	wall   time.Time
	steady time.Duration
}

// Clock watches this machine's clock. Make it with [New]. Its methods may be called from any goroutine.
type Clock struct {
	found *findings.Set
	every time.Duration
	read  func() reading
	jumps jumps
	// Whether the last comparison found a difference.
	upstream, ca atomic.Bool
}

// New returns a Clock that tells to what it finds.
func New(to *findings.Set) *Clock {
	started := time.Now()
	c := &Clock{found: to, every: every, read: func() reading {
		now := time.Now()
		return reading{now.Round(0), now.Sub(started)}
	}}
	c.jumps.last = c.read()
	return c
}

// Run looks for jumps until ctx ends.
func (c *Clock) Run(ctx context.Context) error {
	tick := time.NewTicker(c.every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			c.look()
		}
	}
}

// look brings the finding about jumps up to date.
func (c *Clock) look() {
	var found []findings.Finding
	if moved := c.jumps.look(c.read()); moved != 0 {
		found = append(found, findings.Finding{
			ID: "clock.jump", Remedy: remedy, Detail: fmt.Sprintf("the clock jumped by %s while this runs, or the machine slept", moved),
		})
	}
	c.found.Replace("clock.jump", found)
}

// jumps adds up by how much the clock was moved. It belongs to one goroutine.
type jumps struct {
	last  reading
	moved time.Duration // by the jumps that are told
	since time.Duration // steady time of the last of them
}

// look returns by how much the clock has been moved, with what was told before; 0 if it was not, or is right again.
func (j *jumps) look(now reading) time.Duration {
	jump := now.wall.Sub(j.last.wall) - (now.steady - j.last.steady)
	j.last = now
	switch {
	case jump.Abs() >= slack/2:
		j.moved += jump
		j.since = now.steady
	case now.steady-j.since > kept:
		j.moved = 0
	}
	if j.moved.Abs() < slack/2 {
		j.moved = 0
	}
	return j.moved.Round(time.Second)
}

// Behind finds a clock that is behind the last use of data_dir.
func (c *Clock) Behind(lastUse time.Time) {
	if now := time.Now(); lastUse.Sub(now) > slack {
		c.found.Replace("clock.behind", []findings.Finding{{
			ID: "clock.behind", Remedy: remedy,
			Detail: fmt.Sprintf("the clock says %s, and data_dir was last used at %s", now.UTC().Format(time.RFC3339), lastUse.UTC().Format(time.RFC3339)),
		}})
	}
}

// Upstream compares this machine's clock with the date in an answer of hooks.upstream.
func (c *Clock) Upstream(date time.Time) {
	c.compare(date, &c.upstream, "clock.upstream", "hooks.upstream")
}

// CA compares this machine's clock with the date in an answer of the CA of certs.acme.
func (c *Clock) CA(date time.Time) { c.compare(date, &c.ca, "clock.ca", "certs.acme.directory") }

func (c *Clock) compare(date time.Time, skewed *atomic.Bool, id, other string) {
	skew := time.Until(date)
	wrong := skew.Abs() > slack
	if !wrong && !skewed.Load() {
		return
	}
	skewed.Store(wrong)
	var found []findings.Finding
	if wrong {
		way := "behind"
		if skew < 0 {
			way = "ahead of"
		}
		found = append(found, findings.Finding{
			ID: id, Remedy: "set the one that is wrong (timedatectl): credentials end by this one",
			Detail: fmt.Sprintf("this machine's clock is %s %s that of %s", skew.Abs().Round(time.Minute), way, other),
		})
	}
	c.found.Replace(id, found)
}
