package cli

import (
	"os"
	"syscall"
	"testing"
	"time"
)

func TestSecondSignal(t *testing.T) {
	term, intr := os.Signal(syscall.SIGTERM), os.Interrupt
	type sent struct {
		s  os.Signal
		at time.Duration
	}
	for name, c := range map[string]struct {
		sent []sent
		ends int // the one that ends the process at once; -1: none
	}{
		"one":                          {[]sent{{term, 0}}, -1},
		"a supervisor's two":           {[]sent{{term, 0}, {term, 5 * time.Millisecond}, {term, 999 * time.Millisecond}}, -1},
		"SIGTERM again":                {[]sent{{term, 0}, {term, 10 * time.Millisecond}, {term, time.Second}}, 2},
		"SIGINT twice":                 {[]sent{{intr, 0}, {intr, 100 * time.Millisecond}}, 1},
		"SIGINT twice, with a wrapper": {[]sent{{intr, 0}, {term, time.Millisecond}, {intr, 100 * time.Millisecond}}, 2},
		"handed on by a wrapper":       {[]sent{{intr, 0}, {term, time.Millisecond}}, -1},
		"wrapper first":                {[]sent{{term, 0}, {intr, time.Millisecond}}, -1},
		"wrapper, and then a human":    {[]sent{{term, 0}, {intr, time.Millisecond}, {intr, 200 * time.Millisecond}}, 2},
		"a human after a wrapper":      {[]sent{{intr, 0}, {term, time.Millisecond}, {intr, 2 * time.Second}}, 2},
	} {
		var e ending
		got := -1
		for i, s := range c.sent {
			if e.again(s.s, time.Time{}.Add(time.Hour+s.at)) && got < 0 {
				got = i
			}
		}
		if got != c.ends {
			t.Errorf("%s: ended by signal %d, want %d", name, got, c.ends)
		}
	}
}
