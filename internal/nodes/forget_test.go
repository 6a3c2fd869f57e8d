package nodes

import (
	"net/netip"
	"testing"
)

// Forgetting leaves nothing but what a Node is served by, and a ban.
func TestForget(t *testing.T) {
	r := newRegistry(t, Config{})
	r.Authenticated("gone", "authenticated")
	r.Opened("live", "allocation 1")
	r.SeenAt("live", netip.MustParseAddr("192.0.2.7"))
	if _, err := r.Ban("gone", "spam", 0); err != nil {
		t.Fatal(err)
	}
	if !r.Forget("gone") || r.knows("gone") || !r.Banned("gone") {
		t.Error("gone is known, or no longer banned")
	}
	if r.Forget("gone") {
		t.Error("it was forgotten twice")
	}
	if !r.Forget("live") {
		t.Error("live was not known")
	}
	n, events, ok := r.Lookup("live")
	if !ok || len(events) != 0 || len(n.Addresses) != 0 || n.Last.Kind != "" {
		t.Errorf("%+v %v", n, events)
	}
	r.Ended("live", "allocation 1 ended")
	if _, events, _ = r.Lookup("live"); len(events) != 1 {
		t.Errorf("%v", events)
	}
	for i := range r.shards {
		s := &r.shards[i]
		sum := 0
		for _, n := range s.nodes {
			sum += cap(n.log)
		}
		if s.logBytes != sum {
			t.Errorf("%d bytes of records are counted, there are %d", s.logBytes, sum)
		}
	}
}
