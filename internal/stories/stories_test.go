package stories

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

func TestStory(t *testing.T) {
	k, now := New(), time.Unix(1000, 0)
	note := func(from, to, event, answer, candidate string, bytes int) {
		now = now.Add(time.Second)
		sig := Signal{From: from, To: to, Event: event, Answer: answer, Bytes: bytes, At: now}
		if candidate != "" {
			sig.Candidates = map[string]int{candidate: 1}
		}
		k.Note(sig)
	}
	note("Alice", "Bob", Attempt, "NOT_CONNECTED", "", 10)
	if s, ok := k.Between("Bob", "Alice"); !ok || s.Answer != "NOT_CONNECTED" || s.Attempts != 1 || s.Asker != "Alice" {
		t.Errorf("%+v, %v", s, ok)
	}
	note("Alice", "Bob", Attempt, OK, "", 10)
	note("Alice", "Bob", ToAsked, OK, "host", 10)
	note("Alice", "Bob", ToAsked, OK, "relay", 10)
	note("Alice", "Bob", Acceptance, OK, "", 10) // by the wrong one
	if s, _ := k.Between("Alice", "Bob"); s.Reply != "" {
		t.Errorf("%+v", s)
	}
	note("Bob", "Alice", Acceptance, OK, "srflx", 10)
	note("Bob", "Alice", ToAsker, OK, "other", 10)
	note("Bob", "Alice", ToAsker, "NOT_CONNECTED", "host", 10)
	note("Bob", "Alice", Message, OK, "", 7)
	s, ok := k.Between("Alice", "Bob")
	if !ok || s.Reply != Acceptance || !maps.Equal(s.FromAsker, map[string]int{"host": 1, "relay": 1}) || !maps.Equal(s.FromAsked, map[string]int{"other": 1, "srflx": 1}) ||
		s.Messages != 1 || s.Bytes != 7 || s.Attempts != 2 || s.Last != now {
		t.Errorf("%+v, %v", s, ok)
	}
	note("Bob", "Alice", Attempt, OK, "relay", 10)
	if s, _ := k.Between("Alice", "Bob"); s.Asker != "Bob" || s.Reply != "" || s.FromAsker["relay"] != 1 || len(s.FromAsker)+len(s.FromAsked) != 1 || s.Messages != 1 {
		t.Errorf("a new attempt begins anew: %+v", s)
	}
	note("Alice", "Alice", Message, OK, "", 1)
	note("Alice", "", Message, "ERROR", "", 1)
	note("Carol", "Alice", Message, OK, "", 1)
	if got := k.Partners("Alice", 10); !slices.Equal(got, []string{"Carol", "Bob"}) {
		t.Errorf("partners %q", got)
	}
	if _, ok := k.Between("Alice", "Alice"); ok {
		t.Error("a story with oneself")
	}
}

// Who asks for Nodes that there are not displaces no story of those that there are.
func TestStoriesAreBounded(t *testing.T) {
	k := New()
	k.Note(Signal{From: "Alice", To: "Bob", Event: Attempt, Answer: OK})
	for i := range 3 * maxUnmet {
		k.Note(Signal{From: "Mallory", To: fmt.Sprint(i), Event: Attempt, Answer: "NOT_CONNECTED"})
	}
	if _, ok := k.Between("Alice", "Bob"); !ok || k.unmet.Len() != maxUnmet {
		t.Errorf("%v, %d kept", ok, k.unmet.Len())
	}
	for i := range 2 * maxMet {
		k.Note(Signal{From: "Mallory", To: fmt.Sprint(i), Event: Message, Answer: OK})
	}
	if k.met.Len() != maxMet {
		t.Errorf("%d kept", k.met.Len())
	}
}

func TestForget(t *testing.T) {
	k := New()
	for _, p := range [][3]string{{"Alice", "Bob", OK}, {"Carol", "Alice", "NOT_CONNECTED"}, {"Bob", "Carol", OK}} {
		k.Note(Signal{From: p[0], To: p[1], Event: Attempt, Answer: p[2]})
	}
	if !k.Forget("Alice") || k.Forget("Alice") {
		t.Error("it is to be forgotten once")
	}
	_, ab := k.Between("Alice", "Bob")
	_, ac := k.Between("Alice", "Carol")
	if _, bc := k.Between("Bob", "Carol"); ab || ac || !bc {
		t.Errorf("%v %v %v", ab, ac, bc)
	}
}

// A reply may be noted a moment before the attempt that it answers; one of long ago answers nothing.
func TestReplyBeforeItsAttempt(t *testing.T) {
	at := time.Now()
	for _, c := range []struct {
		later time.Duration
		want  string
	}{{time.Millisecond, Acceptance}, {time.Minute, ""}} {
		k := New()
		k.Note(Signal{From: "bob", To: "alice", Event: Acceptance, Answer: OK, At: at})
		k.Note(Signal{From: "alice", To: "bob", Event: Attempt, Answer: OK, At: at.Add(c.later)})
		if s, _ := k.Between("alice", "bob"); s.Reply != c.want {
			t.Errorf("after %s: %q", c.later, s.Reply)
		}
		if all := k.Connections(time.Time{}, ""); len(all) != 1 || all[0].Reply != c.want {
			t.Errorf("after %s: %+v", c.later, all)
		}
	}
}
