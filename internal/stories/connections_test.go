package stories

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestConnections(t *testing.T) {
	k, now := New(), time.Unix(100_000, 0)
	note := func(from, to, event, candidate string) {
		now = now.Add(time.Second)
		sig := Signal{From: from, To: to, Event: event, Answer: OK, At: now}
		if candidate != "" {
			sig.Candidates = map[string]int{candidate: 1}
		}
		k.Note(sig)
	}
	note("Bob", "Alice", ToAsked, "host") // of an attempt before the process's time
	note("Alice", "Bob", Attempt, "")
	note("Alice", "Bob", ToAsked, "host")
	note("Alice", "Bob", ToAsked, "srflx")
	note("Bob", "Alice", ToAsker, "relay")
	note("Bob", "Alice", Acceptance, "")
	note("Carol", "Bob", Attempt, "")
	all := k.Connections(time.Time{}, "")
	if len(all) != 2 || all[0].Asker != "Carol" || all[1].FromAsker != Host|Srflx || all[1].FromAsked != Relay || !all[1].Accepted() || all[1].Replied.IsZero() {
		t.Fatalf("%+v", all)
	}
	if of := k.Connections(time.Time{}, "Carol"); len(of) != 1 || len(k.Connections(now, "Alice")) != 0 {
		t.Errorf("%+v", of)
	}
	open := k.Open(time.Time{})
	if len(open) != 1 || open[0].Asker != "Alice" {
		t.Fatalf("%+v", open)
	}
	// Asked for again soon, an attempt whose path nobody knows has failed; one that is known to be relayed has not.
	note("Bob", "Alice", Attempt, "")
	if c := k.Connections(time.Time{}, "")[2]; c.Again != now {
		t.Errorf("%+v", c)
	}
	note("Alice", "Bob", Acceptance, "")
	k.Settle(k.Open(time.Time{})[0].Number, Relayed)
	note("Bob", "Alice", Attempt, "")
	if c := k.Connections(time.Time{}, "")[1]; !c.Again.IsZero() || c.Path != Relayed {
		t.Errorf("%+v", c)
	}
	for i := range 2 * maxAttempts {
		note(fmt.Sprint("Node", i), "Bob", Attempt, "")
	}
	all = k.Connections(time.Time{}, "")
	if len(all) != maxAttempts || all[0].Asker != fmt.Sprint("Node", 2*maxAttempts-1) || all[0].At.Before(all[1].At) {
		t.Errorf("%d, %+v", len(all), all[0])
	}
	k.Settle(1, Direct) // forgotten
	last := fmt.Sprint("Node", 2*maxAttempts-1)
	if !k.Forget(last) || k.Forget(last) {
		t.Error("a Node is not forgotten once")
	}
	if all = k.Connections(time.Time{}, ""); len(all) != maxAttempts-1 || all[0].Asker != fmt.Sprint("Node", 2*maxAttempts-2) {
		t.Errorf("%d, %+v", len(all), all[0])
	}
	note("Alice", "Bob", Attempt, "")
	note("Carol", "Bob", Attempt, "")
	if all = k.Connections(time.Time{}, ""); len(all) != maxAttempts || all[0].Asker != "Carol" || all[1].Asker != "Alice" || all[maxAttempts-1].At.After(all[0].At) {
		t.Errorf("%d, %+v", len(all), all[0])
	}
}

// One Node's attempts push out none of another's, and no text is kept that is no id.
func TestOneNodeCannotFillTheList(t *testing.T) {
	k, now := New(), time.Unix(1000, 0)
	k.Note(Signal{From: "Alice", To: "Bob", Event: Attempt, Answer: OK, At: now})
	for i := range 2 * maxAttempts {
		k.Note(Signal{From: "Mallory", To: fmt.Sprint("n", i), Event: Attempt, Answer: "NOT_CONNECTED", At: now.Add(time.Second)})
	}
	if all := k.Connections(now, "Alice"); len(all) != 1 {
		t.Errorf("of Alice: %+v", all)
	}
	if all := k.Connections(now, "Mallory"); len(all) != maxOfOne || all[0].Asked != fmt.Sprint("n", 2*maxAttempts-1) {
		t.Errorf("of Mallory: %d", len(all))
	}
	for i := range 2 * maxAttempts { // many Nodes push out the oldest
		k.Note(Signal{From: fmt.Sprint("n", i%500), To: "Bob", Event: Attempt, Answer: OK, At: now.Add(time.Minute)})
	}
	if all := k.Connections(now, ""); len(all) != maxAttempts || len(k.attempts.of) != 500 {
		t.Errorf("%d of %d Nodes", len(all), len(k.attempts.of))
	}
	k.Note(Signal{From: "Alice", To: strings.Repeat("x", 257), Event: Attempt, Answer: OK, At: now.Add(time.Hour)})
	if all := k.Connections(now, "Alice"); len(all) != 0 {
		t.Errorf("too long an id: %+v", all)
	}
}
