package nodes

import (
	"slices"
	"testing"
	"time"
)

// TestRecent puts the why-records of several Nodes together, the newest event first.
func TestRecent(t *testing.T) {
	c := newClock()
	r := newRegistry(t, Config{Now: c.now})
	r.Refused("alice", "long ago")
	c.add(2 * time.Hour)
	r.Opened("alice", "one")
	c.add(time.Second)
	r.Refused("bob", "two")
	c.add(time.Second)
	r.Tell(KindReloaded, "three")
	c.add(time.Second)
	r.Refused("alice", "four")
	names := func(list []Event) (out []string) {
		for _, e := range list {
			out = append(out, e.Node+" "+e.Detail)
		}
		return out
	}
	failed := func(_ Kind, failed bool) bool { return failed }
	hour := c.now().Add(-time.Hour)
	if got, want := names(r.Recent(hour, 10, nil)), []string{"alice four", " three", "bob two", "alice one"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := names(r.Recent(hour, 1, failed)), []string{"alice four"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := names(r.Recent(c.now(), 10, failed)), []string{"alice four"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	for range 2 * maxTold {
		r.Tell(KindAddress, "again")
	}
	if got := len(r.Recent(hour, 1000, nil)); got != maxTold+3 {
		t.Errorf("%d events, want %d", got, maxTold+3)
	}
}
