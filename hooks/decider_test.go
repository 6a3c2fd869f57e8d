package hooks

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// TestDeciderWithoutHTTP asks as a Broker in this process does, and looks at what a Server would have left behind too:
// why-records, metrics, and what the registry learns.
func TestDeciderWithoutHTTP(t *testing.T) {
	r := start(t, nil)
	d, ctx, source := r.decider, t.Context(), netip.MustParseAddr("192.0.2.1")
	for _, c := range []struct {
		node  string
		want  policy.Verdict
		cause string
	}{
		{"Alice", policy.Yes, ""},
		{"Eve", policy.No, "token unknown"},
		{"Ben", policy.No, "banned by the operator: spam"},
		{"Fay", policy.Failed, "upstream cannot be reached"},
		{"a\nb", policy.No, "node id has a control character"},
		{"", policy.No, "node id is empty"},
	} {
		if got := d.Authenticate(ctx, c.node, []byte(`{"token":"t"}`), source); got.Verdict != c.want || got.Cause != c.cause {
			t.Errorf("authenticate %q: %+v", c.node, got)
		}
	}
	for _, c := range []struct {
		from, to string
		want     policy.Verdict
		cause    string
	}{
		{"Alice", "Bob", policy.Yes, ""},
		{"Alice", "Eve", policy.No, "rule 1"},
		{"Alice", "Bea", policy.No, "that Node is banned by the operator"},
		{"Ben", "Alice", policy.No, "banned by the operator: spam"},
		{"Alice", "Fay", policy.Failed, "upstream cannot be reached"},
		{"Alice", "", policy.No, "node id is empty"},
	} {
		if got := d.Authorize(ctx, c.from, c.to); got.Verdict != c.want || got.Cause != c.cause {
			t.Errorf("authorize %q to %q: %+v", c.from, c.to, got)
		}
	}
	rtc, answer := d.Configuration(ctx, "Alice", netip.Addr{})
	var read struct {
		ICEServers []struct{ URLs []string }
	}
	if err := json.Unmarshal(rtc, &read); err != nil || !answer.OK() || len(read.ICEServers) != 2 || strings.Contains(string(rtc), "rtcConfiguration") {
		t.Errorf("configuration %s, %+v: %v", rtc, answer, err)
	}
	for node, want := range map[string]policy.Verdict{"Ben": policy.No, "Broken": policy.Failed, "\x00": policy.No} {
		if rtc, answer := d.Configuration(ctx, node, netip.Addr{}); rtc != nil || answer.Verdict != want || answer.Cause == "" {
			t.Errorf("configuration of %q: %s, %+v", node, rtc, answer)
		}
	}
	named := map[string]string{}
	name := func(node, cause string) { named[node] = cause }
	if err := d.Invalid(ctx, slices.Values([]string{"Alice", "Ben", "Mallory", "a\x00", "Bob", "Ben"}), name); err != nil {
		t.Error(err)
	}
	want := map[string]string{"Ben": "banned by the operator: spam", "Mallory": "token expired 3s ago", "a\x00": "node id has a control character"}
	if !maps.Equal(named, want) {
		t.Errorf("invalid: %v", named)
	}
	if err := d.Invalid(ctx, slices.Values([]string{"Fay"}), name); err == nil || len(named) != len(want) {
		t.Errorf("invalid where nobody could decide: %v, %v", named, err)
	}
	d.Message("Alice", "Bob", true)
	if r.policy.messages[0] != "Alice Bob " {
		t.Errorf("messages %q", r.policy.messages)
	}

	if got := strings.Join(r.registry.notes, "; "); got != "Alice authentication: authenticated; "+
		"Eve authentication: authentication refused: token unknown; Ben authentication: authentication refused: banned by the operator: spam; "+
		"Fay authentication: authentication refused: upstream cannot be reached; "+
		`Alice authorization: talking to "Eve" refused: rule 1; Alice authorization: talking to "Bea" refused: that Node is banned by the operator; `+
		`Ben authorization: talking to "Alice" refused: banned by the operator: spam; Alice authorization: talking to "Fay" refused: upstream cannot be reached`+
		configurationNotes(r.registry.notes)+
		"; Ben validity: named invalid to the Broker: banned by the operator: spam; Mallory validity: named invalid to the Broker: token expired 3s ago" {
		t.Errorf("notes %s", got)
	}
	if len(r.registry.connected) > 0 {
		t.Errorf("connected %s: the Broker in the process says so itself", r.registry.connected)
	}
	if len(r.registry.issued) != 1 || !slices.Equal(r.registry.authorized, []string{"Alice Bob"}) {
		t.Errorf("issued %q, authorized %q", r.registry.issued, r.registry.authorized)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	slices.Sort(r.observed)
	if got := strings.Join(r.observed, ", "); got != "authenticate failed, authenticate invalid, authenticate invalid, authenticate ok, authenticate refused, authenticate refused, "+
		"authorize failed, authorize invalid, authorize ok, authorize refused, authorize refused, authorize refused, message ok, "+
		"resolve error, resolve invalid, resolve ok, resolve refused, validity failed, validity refused" {
		t.Errorf("observed %s", got)
	}
}

// configurationNotes are those of the test's map, which has no order.
func configurationNotes(notes []string) string {
	text := ""
	for _, note := range notes {
		if strings.Contains(note, "configuration: ") {
			text += "; " + note
		}
	}
	return text
}

// TestConfigurationFailuresAreLoggedOnce has a stranger's tries cost no line each.
func TestConfigurationFailuresAreLoggedOnce(t *testing.T) {
	r := start(t, nil)
	for range 3 {
		r.decider.Configuration(t.Context(), "Broken", netip.Addr{})
	}
	if n := strings.Count(r.log.String(), "no listener is up"); n != 1 {
		t.Errorf("%d lines: %s", n, r.log)
	}
	r.decider.Configuration(t.Context(), "Alice", netip.Addr{})
	r.decider.Configuration(t.Context(), "Broken", netip.Addr{})
	if text := r.log.String(); strings.Count(text, "can be given to Nodes again") != 1 || strings.Count(text, "no listener is up") != 2 {
		t.Errorf("log: %s", text)
	}
}

// A Node joins a Broker with its RTC configuration. What doctor asks for in its name is a trial.
func TestJoined(t *testing.T) {
	r := start(t, nil)
	if got := r.post(PathResolve, `{"id":"Alice"}`, func(q *http.Request) { q.Header.Set("User-Agent", nodeid.DoctorAgent) }); got.status != http.StatusOK {
		t.Fatal(got.status)
	}
	if len(r.registry.joined) != 0 || !r.BrokerSeen().IsZero() || len(r.registry.issued) != 1 {
		t.Errorf("joined %v, seen %s, issued %v", r.registry.joined, r.BrokerSeen(), r.registry.issued)
	}
	r.post(PathResolve, `{"id":"Alice"}`, nil)
	if got := r.registry.joined; len(got) != 1 || got[0] != "Alice" || r.BrokerSeen().IsZero() {
		t.Errorf("joined %v, seen %s", got, r.BrokerSeen())
	}
	// The Broker in this process tells by itself who has joined it.
	if _, answer := r.decider.Configuration(t.Context(), "Bob", netip.Addr{}); !answer.OK() || len(r.registry.joined) != 1 {
		t.Errorf("%v, joined %v", answer, r.registry.joined)
	}
}

func TestBrokerSeen(t *testing.T) {
	r := start(t, nil)
	for _, body := range []string{`{"id":"dashboard-test"}`, `{"id":"crolang-aio-doctor-0123"}`, `{}`} {
		r.post(PathResolve, body, nil)
	}
	r.post(PathAuthenticate, `{"id":"crolang-aio-doctor-0123"}`, nil)
	r.decider.Authenticate(t.Context(), "Alice", nil, netip.Addr{})
	if at := r.BrokerSeen(); !at.IsZero() {
		t.Errorf("the program's own calls count: %s", at)
	}
	for path, body := range map[string]string{
		PathAuthenticate: `{"id":"Eve"}`, PathResolve: `{"id":"Alice"}`, PathAuthorize: `{"from":"A","to":"Eve"}`,
		PathValidity: `{"connectedNodesIds":[]}`, PathMessage: goodMessage,
	} {
		r.seen.Store(0)
		if r.post(path, body, nil); r.BrokerSeen().IsZero() && path != PathMessage { // whose answer comes first
			t.Errorf("%s does not count", path)
		}
	}
}

// TestSpellings has a Node whose Broker spells its id in another way than the operator did.
func TestSpellings(t *testing.T) {
	const composed, spelt = "Zo\u00eb b", "Zoe\u0308\u00a0b"
	r := start(t, nil)
	r.registry.bans[composed] = "spam"
	ctx := t.Context()
	if got := r.decider.Authenticate(ctx, spelt, nil, netip.Addr{}); got.Cause != "banned by the operator: spam" {
		t.Errorf("authenticate: %+v", got)
	}
	for _, pair := range [][2]string{{spelt, "Alice"}, {"Alice", spelt}} {
		if got := r.decider.Authorize(ctx, pair[0], pair[1]); got.OK() {
			t.Errorf("authorize %q: %+v", pair, got)
		}
	}
	if rtc, answer := r.decider.Configuration(ctx, spelt, netip.Addr{}); answer.OK() {
		t.Errorf("configuration: %s", rtc)
	}
	got := r.post(PathValidity, `{"connectedNodesIds":["Alice","`+spelt+`"]}`, nil)
	if got.body != `{"invalidNodesIds":["`+spelt+`"]}` { // as the Broker knows it
		t.Errorf("validity: %s", got.body)
	}
	for _, note := range r.registry.notes {
		if strings.Contains(note, spelt) {
			t.Errorf("the registry is told of another Node: %s", note)
		}
	}
	delete(r.registry.bans, composed)
	if got := r.decider.Authenticate(ctx, spelt, nil, netip.Addr{}); !got.OK() || !strings.Contains(strings.Join(r.policy.asked, ""), spelt) {
		t.Errorf("the policy is not asked as the Broker spells it: %v", r.policy.asked)
	}
	if _, answer := r.decider.Configuration(ctx, spelt, netip.Addr{}); !answer.OK() || len(r.registry.issued) != 1 || !strings.HasPrefix(r.registry.issued[0], composed+" ") {
		t.Errorf("issued: %q", r.registry.issued)
	}
}
