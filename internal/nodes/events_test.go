package nodes

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func details(events []Event) []string {
	out := []string{}
	for _, e := range events {
		s := string(e.Kind) + ": " + e.Detail
		if e.Count > 0 {
			s += fmt.Sprint(" ×", e.Count)
		}
		out = append(out, s)
	}
	return out
}

func TestWhyRecord(t *testing.T) {
	c := newClock()
	r := newRegistry(t, Config{Now: c.now})
	r.Issued("alice", c.now().Add(5*time.Minute))
	c.add(time.Minute)
	for range 3 {
		c.add(time.Second)
		r.Refused("alice", "allocation refused: 16 of 16 in use")
	}
	r.Refused("alice", "peer 10.0.0.5 refused: private address, see turn.peers.allow")
	r.Observed("alice", "escape \x1b[2J \u009b and \xff\xfe")
	r.Refused("", "no id")
	r.Refused("a\nb", "no id")

	n, events, ok := r.Lookup("alice")
	want := []string{
		"credential: credential issued, ends 12:05:00 UTC",
		"refused: allocation refused: 16 of 16 in use ×3",
		"refused: peer 10.0.0.5 refused: private address, see turn.peers.allow",
		"observed: escape ?[2J ? and ?",
	}
	if got := details(events); !ok || !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if at := events[1].Time; !at.Equal(c.now()) {
		t.Errorf("the repeated event has the time %v, not that of its last happening", at)
	}
	if n.Issued != 1 || !n.CredentialEnd.Equal(newClock().now().Add(5*time.Minute)) || n.Last.Kind != KindObserved {
		t.Errorf("node %+v", n)
	}
	if list, total := r.List("", 0); total != 1 || len(list) != 1 {
		t.Errorf("%d Nodes known, want 1", total)
	}
	if _, events, ok := r.Lookup("bob"); ok || events == nil || len(events) != 0 {
		t.Errorf("unknown Node: %v %v", events, ok)
	}
}

func TestRecordKeepsTheLastEvents(t *testing.T) {
	r := newRegistry(t, Config{})
	for i := range 1000 {
		r.Refused("n", fmt.Sprintf("event %d of many that are all different", i))
	}
	_, events, _ := r.Lookup("n")
	if len(events) < 40 || len(events) > 100 {
		t.Errorf("%d events kept", len(events))
	}
	for i, e := range events {
		if want := fmt.Sprintf("event %d of many that are all different", 1000-len(events)+i); e.Detail != want {
			t.Fatalf("event %d is %q, want %q", i, e.Detail, want)
		}
	}
}

func TestLogsAreSqueezedOverBudget(t *testing.T) {
	r := newRegistry(t, Config{MaxNodes: 1000})
	s := &r.shards[0]
	s.budget = 64 << 10
	long := strings.Repeat("d", 200)
	for i := range 40 {
		for id := range 500 {
			r.Refused(fmt.Sprint("n", id), fmt.Sprint(i, long))
		}
	}
	total := 0
	for _, n := range s.nodes {
		total += cap(n.log)
		if len(n.events()) < 2 {
			t.Fatalf("%s has %d events", n.id, len(n.events()))
		}
	}
	if total != s.logBytes {
		t.Errorf("logs take %d bytes, counted are %d", total, s.logBytes)
	}
	if limit := s.budget + 500*2*squeezedLog; total > limit {
		t.Errorf("logs take %d bytes, want at most %d", total, limit)
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"plain", "plain"},
		{"0123456789ab", "0123456789"},
		{"12345678é", "12345678é"},
		{"123456789é", "123456789"},
		{"😀😀😀", "😀😀"},
		{"a\x00b\r\n\x7f", "a?b???"},
		{"\xff\xffa", "?a"},
		{"\xbf\xbf\xbf\xbf\xbf\xbf\xbf\xbf\xbf\xbf\xbf\xbf", ""},
	} {
		if got := cut(c.in, 10); got != c.want {
			t.Errorf("cut(%q) = %q, want %q", c.in, got, c.want)
		}
	}
}

func FuzzCut(f *testing.F) {
	f.Add("😀\x00\xff", 3)
	f.Fuzz(func(t *testing.T, s string, n int) {
		if n < 0 || n > 1000 {
			return
		}
		got := cut(s, n)
		if len(got) > n || !utf8.ValidString(got) || strings.ContainsAny(got, "\x00\n\x1b\x7f") {
			t.Errorf("cut(%q, %d) = %q", s, n, got)
		}
	})
}

// What failed is told by a mark, not by the words, and counted by kind.
func TestFailedIsMarked(t *testing.T) {
	r := newRegistry(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	heard := r.Subscribe(ctx)
	for _, x := range []struct {
		note   func(node, detail string)
		kind   Kind
		failed bool
	}{
		{r.Opened, KindAllocated, false},
		{r.Ended, KindClosed, false},
		{r.Refused, KindRefused, true},
		{r.Observed, KindObserved, false},
		{r.Authenticated, KindAuthentication, false},
		{r.AuthenticationRefused, KindAuthentication, true},
		{r.ConfigurationRefused, KindConfiguration, true},
		{r.AuthorizationRefused, KindAuthorization, true},
		{r.NamedInvalid, KindValidity, true},
		{func(node, _ string) { _, _ = r.Ban(node, "", 0) }, KindBanned, true},
		{func(node, _ string) { _ = r.Unban(node) }, KindUnbanned, false},
	} {
		before := r.Stats()
		x.note("n", "the same words")
		_, events, _ := r.Lookup("n")
		last := events[len(events)-1]
		told := <-heard
		if last.Kind != x.kind || last.Failed != x.failed || told.Kind != x.kind || told.Failed != x.failed || last.Count != 0 {
			t.Errorf("%s: recorded %+v, told %+v", x.kind, last, told)
		}
		after := r.Stats()
		if failed := after.Failed[x.kind] - before.Failed[x.kind]; after.Events[x.kind] != before.Events[x.kind]+1 || failed == 1 != x.failed {
			t.Errorf("%s: counted %v, failed %v", x.kind, after.Events, after.Failed)
		}
	}
}

func TestSubscribe(t *testing.T) {
	r := newRegistry(t, Config{})
	ctx, cancel := context.WithCancel(t.Context())
	fast, slow := r.Subscribe(ctx), r.Subscribe(ctx)
	for i := range subscriberBuffer + 50 {
		r.Refused("n", fmt.Sprint(i))
		if e := <-fast; e.Node != "n" || e.Detail != fmt.Sprint(i) {
			t.Fatalf("event %d: %+v", i, e)
		}
	}
	for i := range subscriberBuffer {
		if e := <-slow; e.Detail != fmt.Sprint(i) {
			t.Fatalf("event %d: %+v", i, e)
		}
	}
	r.Refused("n", "after")
	if e := <-slow; e.Kind != KindLost || !e.Failed || e.Count != 50 || !strings.HasPrefix(e.Detail, "50 events lost") {
		t.Errorf("got %+v", e)
	}
	if e := <-slow; e.Detail != "after" {
		t.Errorf("got %+v", e)
	}
	if lost := r.Stats().Lost; lost != 50 {
		t.Errorf("%d lost", lost)
	}
	<-fast
	cancel()
	for range fast { // ends, since the channel is closed
	}
	for range slow {
	}
	if n := r.subs.n.Load(); n != 0 {
		t.Errorf("%d subscribers left", n)
	}
	r.Refused("n", "nobody listens")
}
