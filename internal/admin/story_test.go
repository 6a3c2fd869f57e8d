package admin

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
)

// atBroker are the Nodes at a Broker.
type atBroker map[string]adminapi.BrokerLink

func (b atBroker) Link(node string) (adminapi.BrokerLink, bool) {
	l, ok := b[node]
	return l, ok
}

// A story ends at the first step that did not come, whoever of the two is asked about.
func TestStory(t *testing.T) {
	broker, kept := atBroker{}, stories.New()
	s := serve(t, "", func(c *Config) { c.Broker, c.Stories = broker, kept })
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	note := func(from, to, event, answer, cause, candidate string) func() {
		return func() {
			sig := stories.Signal{From: from, To: to, Event: event, Answer: answer, Cause: cause, Bytes: 100, At: at}
			if candidate != "" {
				sig.Candidates = map[string]int{candidate: 1}
			}
			kept.Note(sig)
		}
	}
	join := func(node string) func() {
		return func() { broker[node] = adminapi.BrokerLink{From: netip.MustParseAddr("192.0.2.7"), Since: at} }
	}
	relay := func(node, letsIn string, sent, got uint64) func() {
		return func() {
			s.relays.mu.Lock()
			defer s.relays.mu.Unlock()
			id := strconv.Itoa(len(s.relays.list))
			if s.relays.letsIn == nil {
				s.relays.letsIn = map[string]netip.Addr{}
			}
			s.relays.letsIn[id] = netip.MustParseAddr(letsIn)
			s.relays.list = append(s.relays.list, adminapi.Allocation{
				ID: id, Node: node, Relayed: netip.MustParseAddrPort("198.51.100.1:50000"), Client: netip.MustParseAddrPort("192.0.2.99:1"),
				DatagramsIn: sent, DatagramsOut: got,
			})
		}
	}
	for _, c := range []struct {
		does    func()
		missing string
		says    string
	}{
		{func() {}, "joined", `"Alice" is not connected to a Broker`},
		{func() { join("Alice")(); join("Bob")() }, "asked", "neither has asked"},
		{note("Bob", "Alice", stories.Attempt, "UNAUTHORIZED", "rule 3", ""), "authorized", "it may not: rule 3"},
		{note("Bob", "Alice", stories.Attempt, "NOT_CONNECTED", "", ""), "authorized", `"Alice" was not connected`},
		{note("Bob", "Alice", stories.Attempt, stories.OK, "", ""), "accepted", `of 3 attempts the last one`},
		{note("Alice", "Bob", stories.Refusal, stories.OK, "", ""), "accepted", `"Alice" refused`},
		{note("Alice", "Bob", stories.Acceptance, stories.OK, "", ""), "candidates", `of "Bob" none; of "Alice" none`},
		{note("Bob", "Alice", stories.ToAsked, stories.OK, "", "srflx"), "candidates", `of "Bob" 1 srflx`},
		{note("Alice", "Bob", stories.ToAsker, stories.OK, "", "host"), "allocations", `neither sent a candidate of a relay`},
		{note("Alice", "Bob", stories.ToAsker, stories.OK, "", "relay"), "allocations", `"Bob" 0, "Alice" 0`},
		// Alice's relay for Carol is none of Bob's business, though as many datagrams go through it as can be.
		{relay("Alice", "203.0.113.9", 1000, 1000), "permissions", `0 of "Bob" for "Alice", 0 of "Alice" for "Bob"`},
		{relay("Alice", "192.0.2.7", 0, 0), "datagrams", `0 of "Bob" for "Alice", 1 of "Alice" for "Bob"`},
		{relay("Alice", "192.0.2.7", 5, 0), "datagrams", `datagrams go from "Alice" to "Bob" and not back`},
		{relay("Alice", "192.0.2.7", 5, 7), "", `"Bob" sent 0 and got 0, "Alice" sent 10 and got 7 through them`},
		{relay("Bob", "198.51.100.1", 2, 3), "", `1 of "Bob" for "Alice", 3 of "Alice" for "Bob"`},
	} {
		c.does()
		for _, path := range []string{"/api/story?id=Alice&with=Bob", "/api/story?id=Bob&with=Alice"} {
			code, _, body := s.do(http.MethodGet, path, "")
			var got adminapi.Story
			if err := json.Unmarshal([]byte(body), &got); err != nil || code != http.StatusOK {
				t.Fatalf("%s: %d %s, %v", path, code, body, err)
			}
			if got.Missing != c.missing || got.Conclusion == "" || !strings.Contains(strings.ReplaceAll(body, `\"`, `"`), c.says) {
				t.Errorf("%s: want %s, %s: %s", path, c.missing, c.says, body)
			}
		}
	}
	for _, path := range []string{"/api/story", "/api/story?id=Alice", "/api/story?id=Alice&with=Alice"} {
		if code, _, body := s.do(http.MethodGet, path, ""); code != http.StatusBadRequest {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

// Every step that can be missing has a conclusion.
func TestConclusions(t *testing.T) {
	tell := teller{sides: [2]side{{node: "a"}, {node: "b", drops: fewDrops + 1}}}
	for _, step := range tell.tell().Steps {
		if conclusions[step.Name] == "" {
			t.Errorf("%s has none", step.Name)
		}
	}
}

// A few datagrams that come before their permission are no fault, and neither are few of many.
func TestFewDropsAreNoFault(t *testing.T) {
	for drops, want := range map[uint64]adminapi.StepState{1: adminapi.StepDone, fewDrops + 1: adminapi.StepFailed, 500: adminapi.StepFailed} {
		tell := teller{sides: [2]side{{node: "a", sent: 100}, {node: "b", got: 100, drops: drops}}}
		steps := tell.tell().Steps
		if last := steps[len(steps)-1]; last.Name != "dropped" || last.State != want {
			t.Errorf("%d: %+v", drops, last)
		}
	}
	tell := teller{sides: [2]side{{node: "a", sent: 5000}, {node: "b", got: 5000, drops: 500}}}
	steps := tell.tell().Steps
	if last := steps[len(steps)-1]; last.State != adminapi.StepDone {
		t.Errorf("500 of 10 000: %+v", last)
	}
}
