package findings

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"
)

func TestReplace(t *testing.T) {
	var log bytes.Buffer
	s := NewSet(slog.New(slog.NewTextHandler(&log, nil)))
	far, near := Finding{"public.host", "far", "move"}, Finding{"public.stun", "near", ""}
	s.Replace("public.", []Finding{near, far})
	s.Replace("clock.", []Finding{{"clock.behind", "late", "hurry"}})
	if got := s.All(); len(got) != 3 || got[0].ID != "clock.behind" || got[1] != far {
		t.Errorf("all %v", got)
	}
	s.Replace("public.", []Finding{near})
	if got := s.All(); len(got) != 2 || slices.Contains(got, far) {
		t.Errorf("after one has gone: %v", got)
	}
	s.Replace("public.", []Finding{near, far}) // it comes and goes: one line
	if n := strings.Count(log.String(), "far: move"); n != 1 {
		t.Errorf("logged %d times:\n%s", n, log.String())
	}
	if !strings.Contains(log.String(), "msg=near\n") {
		t.Errorf("no remedy, no colon: %s", log.String())
	}
}
