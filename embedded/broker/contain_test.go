package broker

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
)

// TestPanicsEndOneConnection has whatever decides panic: before a Node has joined, for an event that it sends, and when all are
// asked about. The Node concerned is let go, and nobody else notices.
func TestPanicsEndOneConnection(t *testing.T) {
	log := &logtest.Buffer{}
	r := start(t, func(c *Config) {
		c.StatusInterval = 20 * time.Millisecond
		c.Logger = slog.New(slog.NewTextHandler(log, nil))
	})
	var invalid sync.Once
	asked := make(chan struct{})
	r.decider.authenticate = func(_ context.Context, j Join) Admission {
		if j.Node == "Mallory" {
			panic("out of spoons")
		}
		return Admission{Verdict{Allowed, ""}, true}
	}
	r.decider.authorize = func(_ context.Context, _, to string) Verdict {
		if to == "Mallory" {
			panic("out of forks")
		}
		return Verdict{Allowed, ""}
	}
	again := make(chan struct{}, 1)
	r.decider.invalid = func([]string, func(string, string)) {
		first := false
		invalid.Do(func() { first = true })
		if first {
			close(asked)
			panic("out of knives")
		}
		select {
		case again <- struct{}{}:
		default:
		}
	}
	alice, bob := r.join("Alice"), r.join("Bob")
	<-asked
	<-again // it is asked on

	w := dialRaw(t, r.b.Addr().String(), nodeQuery("Mallory"))
	w.over()
	carol := r.join("Carol")
	carol.write(payload(0, "CONNECTION_ATTEMPT", `{"from":"Carol","to":"Mallory"}`))
	carol.over()
	alice.write(payload(0, "CONNECTION_ATTEMPT", `{"from":"Alice","to":"Bob"}`))
	if m := bob.read(); !strings.Contains(m, "CONNECTION_ATTEMPT") {
		t.Errorf("Bob reads %q", m)
	}
	if n := r.b.Stats().Panicked; n != 3 {
		t.Errorf("%d panics are counted", n)
	}
	if e := r.events.await(t, func(e Event) bool { return e.Kind == Left && e.Node == "Carol" }); e.Cause != "a mistake in the program ended it" {
		t.Errorf("%+v", e)
	}
	if text := log.String(); strings.Count(text, "please report this") != 1 || !strings.Contains(text, "stack=") {
		t.Errorf("log: %s", text)
	}
}
