package admin

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
)

func TestPathOf(t *testing.T) {
	at := func(seconds, relays int, datagrams uint64) mark {
		return mark{started.Add(time.Duration(seconds) * time.Second), relays, datagrams}
	}
	for name, c := range map[string]struct {
		first, now mark
		seen       bool
		path       stories.Path
		settled    bool
	}{
		"first look":          {now: at(0, 2, 40)},
		"media at first look": {now: at(0, 2, 5000), path: stories.Relayed, settled: true},
		"checks go on":        {at(0, 2, 40), at(5, 2, 46), true, stories.Relayed, true},
		"nothing yet":         {at(0, 2, 40), at(5, 2, 42), true, 0, false},
		"nothing came":        {at(0, 2, 40), at(20, 2, 42), true, stories.Direct, true},
		"a relay ended":       {at(0, 2, 40), at(5, 1, 20), true, stories.Unclear, true},
		"none from the start": {at(0, 0, 0), at(5, 0, 0), true, stories.Unclear, true},
	} {
		if path, settled := pathOf(c.first, c.now, c.seen); path != c.path || settled != c.settled {
			t.Errorf("%s: %v %v", name, path, settled)
		}
	}
}

// TestConnections lets Nodes ask each other for connections of every outcome, and looks at their relays as time goes by.
func TestConnections(t *testing.T) {
	kept, now := stories.New(), started.Add(time.Hour)
	own := netip.MustParseAddr("198.51.100.7") // of those who are asked
	s := serve(t, "", func(c *Config) {
		c.Stories, c.Now = kept, func() time.Time { return now }
		c.Broker = atBroker{"Bob": {From: own}, "Frank": {From: own}, "Dave": {From: own}}
	})
	ask := func(asker, asked, answer, reply string, candidates ...string) {
		note := func(from, to, event, answer, candidate string) {
			sig := stories.Signal{From: from, To: to, Event: event, Answer: answer, At: now}
			if candidate != "" {
				sig.Candidates = map[string]int{candidate: 1}
			}
			kept.Note(sig)
		}
		note(asker, asked, stories.Attempt, answer, "")
		for _, c := range candidates {
			note(asker, asked, stories.ToAsked, stories.OK, c)
			note(asked, asker, stories.ToAsker, stories.OK, c)
		}
		if reply != "" {
			note(asked, asker, reply, stories.OK, "")
		}
	}
	ask("Alice", "Nobody", "NOT_CONNECTED", "")
	ask("Alice", "Bob", stories.OK, stories.Acceptance, "host", "srflx", "relay") // over the relay
	ask("Carol", "Dave", stories.OK, stories.Acceptance, "host", "srflx")         // directly
	ask("Erin", "Frank", stories.OK, stories.Acceptance, "relay")
	ask("Carol", "Erin", stories.OK, stories.Refusal)
	ask("Carol", "Frank", stories.OK, "")
	for i, node := range []string{"Alice", "Carol", "Erin"} {
		a := allocation(string(rune('a'+i)), node)
		a.Created, a.DatagramsIn, a.DatagramsOut = now, 20, 20
		a.Client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(10 + i)}), 4000)
		s.relays.list = append(s.relays.list, a)
	}
	s.relays.letsIn = map[string]netip.Addr{"a": own, "c": own} // Carol's lets nobody in
	old := allocation("old", "Carol")                           // of another connection, with traffic of its own
	old.Created, old.DatagramsIn = now.Add(-time.Hour), 1_000_000
	s.relays.list = append(s.relays.list, old)
	p := paths{at: map[uint64]mark{}}
	for range 9 {
		now = now.Add(lookAtPaths)
		s.relays.mu.Lock()
		s.relays.list[0].DatagramsIn += 5
		s.relays.list[1].DatagramsIn += 5 // for somebody else
		s.relays.list[2].DatagramsIn += 500
		s.relays.mu.Unlock()
		p.look(s.admin, now)
	}
	if len(p.at) != 0 {
		t.Errorf("still open: %v", p.at)
	}
	_, _, body := s.do("GET", "/api/connections", "")
	var got adminapi.Connections
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	if !got.Known || got.Attempts != 6 || got.Made != 3 || got.Relayed != 2 || got.Direct != 1 || got.Failed != 3 || got.Open+got.Unclear != 0 {
		t.Errorf("%s", body)
	}
	for _, want := range []string{
		`"reason":"relay_only"`, `"reason":"nat"`, `"\"Frank\" was asked, and did not answer"`, `"\"Erin\" refused"`, `"\"Nobody\" was not connected when it was asked"`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is not in %s", want, body)
		}
	}
	s.registry.Validated([]string{"Alice"})
	s.want("GET", "/api/node?id=Alice", "", 200, `~"connections":[{"asker":"Alice","asked":"Bob"`)
	// Asked for again within a minute, the direct one has failed.
	ask("Carol", "Dave", stories.OK, "")
	s.want("GET", "/api/connections?node=Dave", "", 200, `~"made":0,"failed":1,"open":1`)
	now = now.Add(2 * time.Hour)
	s.want("GET", "/api/connections", "", 200, `~"attempts":0`)
	s.want("GET", "/api/connections?minutes=0", "", 400, `~minutes must be a number from 1 to 1440`)
}

func TestConnectionsWithoutABroker(t *testing.T) {
	s := serve(t, "", nil)
	s.want("GET", "/api/connections", "", 200, `~"known":false`)
}

func TestRecentEvents(t *testing.T) {
	s := serve(t, "", nil)
	s.want("GET", "/api/events/recent", "", 200, `~"events":[]`)
	s.registry.Refused("Bob", "128 of 128 in use")
	s.registry.Opened("Alice", "an allocation")
	s.want("GET", "/api/events/recent?limit=1", "", 200, `~"node":"Alice"`)
	s.want("GET", "/api/events/recent?failed=1&limit=1", "", 200, `~"node":"Bob"`)
	s.want("GET", "/api/events/recent?node=Alice&limit=1", "", 200, `~"node":"Alice"`)
	s.want("GET", "/api/events/recent?node=Nobody", "", 200, `~"events":[]`)
	s.want("GET", "/api/events/recent?minutes=1441", "", 400, `~minutes must be a number from 1 to 1440`)
}

// TestNodeOrder sorts and filters Nodes, and pages what is left.
func TestNodeOrder(t *testing.T) {
	s := serve(t, "", nil)
	s.registry.Validated([]string{"Alice", "Bob", "Carol"})
	s.registry.Opened("Dave", "an allocation")
	s.registry.Refused("Bob", "128 of 128 in use")
	if _, err := s.registry.Ban("Carol", "", 0); err != nil {
		t.Fatal(err)
	}
	s.relays.list = append(s.relays.list, allocation("a", "Dave"), allocation("b", "Alice"))
	s.relays.list[0].BytesOut *= 2
	order := func(query, want string) {
		t.Helper()
		_, _, body := s.do("GET", "/api/nodes?"+query, "")
		var list adminapi.NodeList
		if err := json.Unmarshal([]byte(body), &list); err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, n := range list.Nodes {
			names = append(names, n.Node)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	order("sort=name", "Alice Bob Carol Dave")
	order("sort=name&offset=1&limit=2", "Bob Carol")
	order("sort=traffic&limit=2", "Dave Alice")
	order("state=relaying&sort=name", "Alice Dave")
	order("state=banned", "Carol")
	order("state=connected&sort=name", "Alice Bob Carol")
	order("state=refused&sort=name&q=o", "Bob Carol")
	s.want("GET", "/api/nodes?state=asleep", "", 400, "~state must be connected, relaying, refused or banned")
	s.want("GET", "/api/nodes?sort=size", "", 400, "~sort must be seen, rate, traffic or name")
}

// TestRates measures a rate between two listings.
func TestRates(t *testing.T) {
	s := serve(t, "", nil)
	s.relays.list = append(s.relays.list, allocation("a", "Alice"))
	if got := s.admin.rated()[0].Rate; got != 0 {
		t.Errorf("a rate of %v at the first listing", got)
	}
	r := &s.admin.rates
	r.last.at = r.last.at.Add(-10 * time.Second)
	s.relays.list[0].BytesIn += 100_000
	if got := s.admin.rated()[0].Rate; got < 5_000 || got > 10_000 {
		t.Errorf("a rate of %v, want 10 000 or a little less", got)
	}
	s.relays.list[0].ID = "b"
	if got := s.admin.rated()[0].Rate; got != 0 {
		t.Errorf("another allocation has a rate of %v", got)
	}
}
