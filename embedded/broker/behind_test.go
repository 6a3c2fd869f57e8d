package broker

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// flood sends events from one Node to another, which does not read, until one is refused; it returns how many were not.
func flood(r *rig, from *wire, to string) (passed int) {
	r.t.Helper()
	inner := `{"to":"` + to + `","x":"` + strings.Repeat("x", 500_000) + `"}`
	for ; ; passed++ {
		from.write(payload(passed, "CONNECTION_REFUSAL", inner))
		switch m := from.read(); m {
		case fmt.Sprintf(`43%d["OK"]`, passed):
		case fmt.Sprintf(`43%d["NOT_CONNECTED"]`, passed):
			return passed
		default:
			r.t.Fatalf("answered %q", m)
		}
		if passed > 100 {
			r.t.Fatal("nothing is refused")
		}
	}
}

// Nobody ends a Node by sending faster than its line is: what does not fit is refused, and what was answered OK comes.
func TestSlowNodeIsNotEndedByOthers(t *testing.T) {
	r := start(t, func(c *Config) { c.Settings.Limits = Limits{WaitingBytes: 2_000_000, MessagesPerSecond: 1_000_000} })
	slow, mallory := r.join("Slow"), r.join("Mallory")
	passed := flood(r, mallory, "Slow")
	slow.write(payload(1, askConnected, `{"ids":["Slow"]}`)) // its own answers still have room
	for range passed {
		if m := slow.read(); !strings.HasPrefix(m, `42["CONNECTION_REFUSAL",`) {
			t.Fatalf("%.60q", m)
		}
	}
	slow.want(`431["{\"results\":[{\"id\":\"Slow\",\"connected\":true}]}"]`)
	mallory.write(payload(1, "CONNECTION_REFUSAL", `{"to":"Slow"}`))
	mallory.want(`431["OK"]`)
	slow.want(`42["CONNECTION_REFUSAL","{\"to\":\"Slow\"}"]`)
	if s := r.b.Stats(); s.Unread != 0 || s.Behind != 1 {
		t.Errorf("%+v", s)
	}
}

// A ping that waits behind what others have sent is not held against a Node.
func TestPingBehindAFlood(t *testing.T) {
	r := start(t, func(c *Config) {
		c.Settings.Limits = Limits{WaitingBytes: 2_000_000, MessagesPerSecond: 1_000_000}
		c.timing.tick, c.timing.pingInterval, c.timing.pingTimeout = 2*time.Millisecond, 100*time.Millisecond, 300*time.Millisecond
		c.timing.stall = 20 * time.Second
	})
	slow := r.join("Slow")
	passed := flood(r, r.join("Mallory"), "Slow")
	r.join("Mute") // is pinged later than Slow, and does not answer
	r.events.await(t, func(e Event) bool { return e.Kind == Left && e.Node == "Mute" && e.Cause == "it did not answer a ping" })
	for range passed {
		if m := slow.read(); !strings.HasPrefix(m, `42["CONNECTION_REFUSAL",`) {
			t.Fatalf("%.60q", m)
		}
	}
}
