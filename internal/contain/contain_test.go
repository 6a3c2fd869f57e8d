package contain

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
)

// TestStopped has many panics at once: all are counted, and the first is logged with where it was.
func TestStopped(t *testing.T) {
	var p Panics
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(&text, nil))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			defer func() { p.Stopped(log, "a client was cut off: please report this", recover()) }()
			culprit()
		})
	}
	all.Wait()
	if got := text.String(); p.Count() != 20 || strings.Count(got, "\n") != 1 || !strings.Contains(got, "out of spoons") || !strings.Contains(got, "culprit") {
		t.Errorf("%d panics, logged: %s", p.Count(), got)
	}
}

func culprit() { panic("out of spoons") }
