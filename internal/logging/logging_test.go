package logging

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
)

func TestDurationsInTheLogAreReadable(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		var out bytes.Buffer
		newLog(t, &out, format).With("component", "certs").Warn("ends soon", "left", 36*time.Hour)
		if !strings.Contains(out.String(), "36h0m0s") {
			t.Errorf("%s: %s", format, out.String())
		}
	}
}

// stuck is a log whose reader hangs until it is let go.
type stuck struct {
	logtest.Buffer
	free chan struct{}
}

func (s *stuck) Write(b []byte) (int, error) {
	<-s.free
	return s.Buffer.Write(b)
}

// A reader of the log that hangs costs one who logs a second, once, and a limited amount of memory.
func TestLogOfAStuckReader(t *testing.T) {
	s := &stuck{free: make(chan struct{})}
	log := newLog(t, s, "json")
	began := time.Now()
	for range 10_000 {
		log.Info(strings.Repeat("x", 100))
	}
	if took := time.Since(began); took > 10*patience {
		t.Errorf("10 000 records took %v", took)
	}
	close(s.free)
	for more := 1; ; more++ {
		log.Info("still there")
		text := s.String()
		if strings.Contains(text, "still there") && strings.Contains(text, `"records":`) {
			n := strings.Count(text, "\n") - 1
			if len(text) > 2*maxPending || n < 100 || !strings.Contains(text, fmt.Sprintf(`"records":%d}`, 10_000+more-n)) {
				t.Errorf("%d records of 10 000, %d bytes; the end: %s", n, len(text), text[len(text)-200:])
			}
			return
		}
		if time.Since(began) > time.Minute {
			t.Fatal("does not recover")
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func TestColours(t *testing.T) {
	for _, c := range []struct {
		noColor, term string
		want          bool
	}{{"", "xterm", true}, {"", "", true}, {"1", "xterm", false}, {"", "dumb", false}} {
		env := map[string]string{"NO_COLOR": c.noColor, "TERM": c.term}
		if got := colours(func(name string) string { return env[name] }); got != c.want {
			t.Errorf("NO_COLOR=%q TERM=%q: %v", c.noColor, c.term, got)
		}
	}
}

func newLog(t *testing.T, w io.Writer, format string) *Logger {
	t.Helper()
	l, err := New(w, slog.LevelInfo, format)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestUnknownFormat(t *testing.T) {
	if _, err := New(io.Discard, slog.LevelInfo, "xml"); err == nil {
		t.Error("taken")
	}
}
