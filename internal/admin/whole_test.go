package admin

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
)

// others stands for the fleet: other servers of the test, and machines that say nothing.
type others struct {
	Fleet
	name   string
	admins map[string]*Admin
	skew   map[string]time.Duration
	silent map[string]string // why, by name
	there  []string          // of ConnectedAt
}

func (o *others) Name() string { return o.name }

func (o *others) ConnectedAt(string) []string { return o.there }

func (o *others) State() adminapi.Fleet { return adminapi.Fleet{Name: o.name} }

func (o *others) Ask(kind string, question []byte) (all []Told) {
	for name, a := range o.admins {
		told := Told{Machine: name, Skew: o.skew[name]}
		var err error
		if told.Answer, err = a.Answer(kind, question); err != nil {
			told.Missing = err.Error()
		}
		all = append(all, told)
	}
	for name, why := range o.silent {
		all = append(all, Told{Machine: name, Missing: why})
	}
	slices.SortFunc(all, func(x, y Told) int { return strings.Compare(x.Machine, y.Machine) })
	return all
}

// threeMachines are eu-1, which is asked, with eu-2 and eu-3; eu-4 does not answer.
func threeMachines(t *testing.T) (asked, two, three *server, fleet *others, at [3]atBroker, kept [3]*stories.Keeper) {
	t.Helper()
	fleet = &others{name: "eu-1", admins: map[string]*Admin{}, skew: map[string]time.Duration{}, silent: map[string]string{"eu-4": "it has not answered within a second"}}
	var all [3]*server
	for i := range all {
		at[i], kept[i] = atBroker{}, stories.New()
		all[i] = serve(t, "", func(c *Config) {
			c.Broker, c.Stories = at[i], kept[i]
			if i == 0 {
				c.Fleet = fleet
			}
		})
	}
	fleet.admins["eu-2"], fleet.admins["eu-3"] = all[1].admin, all[2].admin
	return all[0], all[1], all[2], fleet, at, kept
}

func get[A any](t *testing.T, s *server, path string) (answer A) {
	t.Helper()
	code, _, body := s.do(http.MethodGet, path, "")
	if err := json.Unmarshal([]byte(body), &answer); code != http.StatusOK || err != nil {
		t.Fatalf("%d %s %v", code, body, err)
	}
	return answer
}

func TestNodeOfAllMachines(t *testing.T) {
	one, two, three, fleet, at, kept := threeMachines(t)
	fleet.there = []string{"eu-2", "eu-4"}
	one.want(http.MethodGet, "/api/node?id=alice", "", http.StatusNotFound,
		`{"error":"nothing is known of this Node where it was asked for (eu-4: it has not answered within a second)"}`)
	two.registry.Joined("alice", "joined the Broker from 192.0.2.7")
	at[1]["alice"] = adminapi.BrokerLink{From: netip.MustParseAddr("192.0.2.7"), Since: started}
	three.registry.Opened("alice", "a relay")
	for _, s := range []*server{one, two, three} {
		if _, err := s.registry.Ban("alice", "spam", 0); err != nil {
			t.Fatal(err)
		}
	}
	three.relays.list = []adminapi.Allocation{allocation("a1", "alice"), allocation("b1", "bob")} // a ban would have closed it
	now := time.Now()
	for i, reply := range []string{"", stories.Acceptance} {
		kept[i].Note(stories.Signal{From: "alice", To: "bob", Event: stories.Attempt, Answer: stories.OK, At: now.Add(-time.Minute)})
		if reply != "" {
			kept[i].Note(stories.Signal{From: "bob", To: "alice", Event: reply, Answer: stories.OK, At: now})
		}
	}
	kept[2].Note(stories.Signal{From: "carol", To: "alice", Event: stories.Attempt, Answer: "NOT_CONNECTED", At: now})

	r := get[adminapi.NodeRecord](t, one, "/api/node?id=alice")
	if r.Machine != "eu-1" || r.Broker == nil || r.Broker.Machine != "eu-2" || !slices.Equal(r.ConnectedAt, []string{"eu-2", "eu-4"}) || !r.Banned {
		t.Errorf("%+v", r)
	}
	if len(r.Unanswered) != 1 || r.Unanswered[0].Machine != "eu-4" {
		t.Errorf("unanswered: %+v", r.Unanswered)
	}
	if len(r.Allocations) != 1 || r.Allocations[0].Machine != "eu-3" {
		t.Errorf("allocations: %+v", r.Allocations)
	}
	var words []string
	for _, e := range r.Events {
		words = append(words, e.Machine+" "+string(e.Kind))
	}
	if !slices.IsSortedFunc(r.Events, func(x, y nodes.Event) int { return x.Time.Compare(y.Time) }) || !slices.Contains(words, "eu-2 connected") ||
		!slices.Contains(words, "eu-3 allocation") || !slices.Contains(words, "eu-1, eu-2, eu-3 banned") {
		t.Errorf("events: %q", words)
	}
	if len(r.Connections) != 2 || r.Connections[1].Machine != "eu-2" || r.Connections[1].Outcome != adminapi.ConnectionMade || r.Connections[0].Asker != "carol" {
		t.Errorf("connections: %+v", r.Connections)
	}
	if !slices.Equal(r.Partners, []string{"bob", "carol"}) {
		t.Errorf("partners: %q", r.Partners)
	}
}

// The times of a machine whose clock is far away are put right; a difference that may be the way of its heartbeats is left.
func TestNodeOfClocksApart(t *testing.T) {
	one, two, three, fleet, _, _ := threeMachines(t)
	fleet.skew["eu-2"], fleet.skew["eu-3"] = 5*time.Minute, 2*time.Second
	two.registry.Joined("alice", "first")
	three.registry.Joined("alice", "second")
	r := get[adminapi.NodeRecord](t, one, "/api/node?id=alice")
	if len(r.Events) != 2 || r.Events[0].Detail != "first" || time.Since(r.Events[0].Time) < 4*time.Minute || time.Since(r.Events[1].Time) > time.Minute {
		t.Errorf("%+v", r.Events)
	}
}

// A story of two Nodes at two machines with relays at a third.
func TestStoryOfAllMachines(t *testing.T) {
	one, _, three, _, at, kept := threeMachines(t)
	asked := time.Now().Add(-time.Minute)
	at[1]["alice"] = adminapi.BrokerLink{From: netip.MustParseAddr("192.0.2.7"), Since: asked}
	at[2]["bob"] = adminapi.BrokerLink{From: netip.MustParseAddr("192.0.2.8"), Since: asked}
	attempt := stories.Signal{From: "alice", To: "bob", Event: stories.Attempt, Answer: stories.OK, At: asked}
	kept[1].Note(attempt)
	kept[2].Note(attempt)
	kept[2].Note(stories.Signal{From: "bob", To: "alice", Event: stories.Acceptance, Answer: stories.OK, At: asked})
	kept[1].Note(stories.Signal{From: "alice", To: "bob", Event: stories.ToAsked, Answer: stories.OK, Candidates: map[string]int{"relay": 1}, At: asked})
	kept[2].Note(stories.Signal{From: "bob", To: "alice", Event: stories.ToAsker, Answer: stories.OK, Candidates: map[string]int{"host": 2}, At: asked})
	relay := allocation("a1", "alice")
	relay.DatagramsIn, relay.DatagramsOut, relay.Drops = 5, 7, 0
	three.relays.list, three.relays.letsIn = []adminapi.Allocation{relay}, map[string]netip.Addr{"a1": netip.MustParseAddr("192.0.2.8")}
	s := get[adminapi.Story](t, one, "/api/story?id=bob&with=alice")
	if s.Missing != "" || s.Nodes != [2]string{"alice", "bob"} || len(s.Unanswered) != 1 {
		t.Errorf("%+v", s)
	}
	var text []string
	for _, step := range s.Steps {
		text = append(text, step.Name+": "+step.Detail)
	}
	for _, want := range []string{
		`joined: "alice" is connected from 192.0.2.7 at eu-2; "bob" is connected from 192.0.2.8 at eu-3`, `accepted: "bob" accepted`,
		`candidates: of "alice" 1 relay; of "bob" 2 host`, `allocations: "alice" 1 at eu-3, "bob" 0`, `permissions: 1 of "alice" for "bob", 0 of "bob" for "alice"`,
		`datagrams: "alice" sent 5 and got 7, "bob" sent 0 and got 0 through them`,
	} {
		if !slices.Contains(text, want) {
			t.Errorf("%q is not in %q", want, text)
		}
	}
}

// Of two attempts the later one counts; of one that two machines have, what either saw.
func TestAddStory(t *testing.T) {
	at := time.Now()
	base := stories.Story{Asker: "alice", Asked: "bob", At: at, Answer: stories.OK, Attempts: 2, Messages: 1, FromAsker: map[string]int{"host": 1}}
	for name, c := range map[string]struct {
		k    keptStory
		skew time.Duration
		want func(s *stories.Story) bool
	}{
		"none": {keptStory{Messages: 3, Bytes: 9}, 0, func(s *stories.Story) bool { return s.Asker == "alice" && s.Messages == 3 && s.Bytes == 9 }},
		"the same": {keptStory{Asker: "alice", Asked: "bob", At: at.Add(time.Second), Reply: stories.Refusal, FromAsker: map[string]int{"host": 2}}, 0, func(s *stories.Story) bool {
			return s.Reply == stories.Refusal && s.FromAsker["host"] == 2 && s.At.Equal(at)
		}},
		"earlier":                  {keptStory{Asker: "bob", Asked: "alice", At: at.Add(-time.Minute)}, 0, func(s *stories.Story) bool { return s.Asker == "alice" }},
		"later":                    {keptStory{Asker: "bob", Asked: "alice", At: at.Add(time.Minute), Answer: "DISABLED"}, 0, func(s *stories.Story) bool { return s.Asker == "bob" && s.Answer == "DISABLED" && s.Attempts == 2 }},
		"of a clock that is ahead": {keptStory{Asker: "bob", Asked: "alice", At: at.Add(time.Minute)}, 5 * time.Minute, func(s *stories.Story) bool { return s.Asker == "alice" }},
	} {
		s := base
		addStory(&s, &c.k, c.skew)
		if !c.want(&s) {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// Another machine lists so many allocations of a Node, and says how many it leaves out.
func TestNodePartIsBounded(t *testing.T) {
	_, two, _, _, _, _ := threeMachines(t)
	for i := range maxElsewhere + 3 {
		a := allocation("x", "alice")
		a.Created = started.Add(time.Duration(i) * time.Second)
		two.relays.list = append(two.relays.list, a)
	}
	p := two.admin.nodePart(nodeQuestion{"alice"})
	if len(p.Record.Allocations) != maxElsewhere || p.Record.LeftOut != 3 || p.Record.Allocations[0].Created.Before(p.Record.Allocations[1].Created) {
		t.Errorf("%d, %d left out", len(p.Record.Allocations), p.Record.LeftOut)
	}
}

// What comes from another machine is an answer or an error, whatever stands in it.
func FuzzAnswer(f *testing.F) {
	for kind, text := range map[string]string{
		askNode: `{"node":"alice"}`, askStory: `{"nodes":["alice","bob"]}`, askToward: `{"nodes":["alice","bob"],"addresses":[["192.0.2.1"],[]]}`, "x": "{}",
	} {
		f.Add(kind, []byte(text))
	}
	reg, err := nodes.New(nodes.Config{DataDir: f.TempDir()})
	if err != nil {
		f.Fatal(err)
	}
	a, err := New(Config{Nodes: reg, Relays: &relays{}, Status: func() adminapi.Status { return adminapi.Status{} }, NotReady: func() []string { return nil }})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kind string, question []byte) {
		answer, err := a.Answer(kind, question)
		if (err == nil) != json.Valid(answer) {
			t.Errorf("%q, %v", answer, err)
		}
	})
}
