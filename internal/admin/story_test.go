package admin

import (
	"encoding/json"
	"net/http"
	"net/netip"
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
			kept.Note(stories.Signal{From: from, To: to, Event: event, Answer: answer, Cause: cause, Candidate: candidate, Bytes: 100, At: at})
		}
	}
	join := func(node string) func() {
		return func() { broker[node] = adminapi.BrokerLink{From: netip.MustParseAddr("192.0.2.7"), Since: at} }
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
		{note("Alice", "Bob", stories.ToAsker, stories.OK, "", "relay"), "allocations", `"Bob" 0, "Alice" 0`},
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
	tell := teller{sides: [2]side{{node: "a"}, {node: "b", drops: 1}}}
	for _, step := range tell.tell().Steps {
		if conclusions[step.Name] == "" {
			t.Errorf("%s has none", step.Name)
		}
	}
}
