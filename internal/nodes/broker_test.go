package nodes

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

func addr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 51, byte(i >> 8), byte(i)})
}

func TestConnectedForNinetySeconds(t *testing.T) {
	c := newClock()
	r := newRegistry(t, Config{Now: c.now})
	if r.Connected("alice") {
		t.Error("connected before any check")
	}
	r.Validated([]string{"alice", "", "a\x00"})
	for range 3 {
		c.add(30 * time.Second)
		r.Validated([]string{"alice"})
	}
	c.add(ConnectedFor - time.Millisecond)
	if !r.Connected("alice") || r.Connected("bob") {
		t.Error("alice must be connected and bob not")
	}
	c.add(time.Millisecond)
	if r.Connected("alice") {
		t.Error("still connected 90 s after the last check")
	}
	r.Validated([]string{"alice"})
	_, events, _ := r.Lookup("alice")
	if len(events) != 1 || events[0].Kind != KindConnected || events[0].Count != 2 {
		t.Errorf("a connection is one event, not one for each check: %v", details(events))
	}
	if r.Stats().Connected != 1 || r.Stats().Nodes != 1 {
		t.Errorf("stats %+v", r.Stats())
	}
}

// A Node is connected from the moment at which a Broker asks for its RTC configuration.
func TestConnectedFromItsConfigurationOn(t *testing.T) {
	c := newClock()
	r := newRegistry(t, Config{Now: c.now})
	for _, id := range []string{nodeid.Dashboard, nodeid.DoctorPrefix + "12ab"} {
		if r.JoinedElsewhere(id); r.Connected(id) {
			t.Errorf("%s stands for a Node, and no Broker has it", id)
		}
	}
	r.Authenticated("alice", "authenticated")
	r.Issued("alice", c.now().Add(time.Hour)) // by doctor, say
	if r.Connected("alice") {
		t.Error("connected before a Broker has asked for its configuration")
	}
	r.JoinedElsewhere("alice")
	if n, _, _ := r.Lookup("alice"); !r.Connected("alice") || !n.Connected || !n.Checked.IsZero() || r.Stats().Connected != 1 {
		t.Errorf("not connected with its configuration: %+v, %+v", n, r.Stats())
	}
	c.add(30 * time.Second)
	r.Validated([]string{"bob"}) // of another Broker, which names its own Nodes alone
	if !r.Connected("alice") || !r.Connected("bob") {
		t.Error("a Broker's check ended the connection of another's Node")
	}
	c.add(ConnectedFor - 30*time.Second)
	if r.Connected("alice") || !r.Connected("bob") {
		t.Error("no Broker has named alice for 90 s, and bob was")
	}
	_, events, _ := r.Lookup("alice")
	if got := details(events); len(got) != 3 || got[2] != "connected: connected: a Broker asked for its RTC configuration" {
		t.Errorf("events %q", got)
	}
}

// Whom a Broker was told to disconnect is connected no longer.
func TestNotConnectedOnceTheBrokerIsTold(t *testing.T) {
	c := newClock()
	r := newRegistry(t, Config{Now: c.now})
	for name, tell := range map[string]func(node, detail string){"validity": r.NamedInvalid, "configuration": r.ConfigurationRefused} {
		r.JoinedElsewhere(name)
		r.Validated([]string{name})
		if _, err := r.Ban(name, "", 0); err != nil {
			t.Fatal(err)
		}
		if !r.Connected(name) {
			t.Errorf("%s: not connected, and the Broker knows nothing of the ban yet", name)
		}
		if tell(name, "banned"); r.Connected(name) {
			t.Errorf("%s: still connected", name)
		}
		n, events, _ := r.Lookup(name)
		if last := events[len(events)-1]; n.Connected || n.Checked.IsZero() || !last.Failed {
			t.Errorf("%s: %+v, %+v", name, n, last)
		}
	}
	r.NamedInvalid("carol", "banned") // what is not known is not made connected
	if r.Connected("carol") || r.Stats().Connected != 0 {
		t.Error("connected by being named invalid")
	}
}

func TestAuthorizedPairs(t *testing.T) {
	c := newClock()
	r := newRegistry(t, Config{Now: c.now})
	start := c.now()
	r.Authorized("alice", "bob")
	r.Authorized("alice", "no\nid")
	r.Authorized("", "bob")
	c.add(time.Minute)
	for _, x := range []struct {
		a, b  string
		since time.Time
		want  bool
	}{
		{"alice", "bob", start, true},
		{"bob", "alice", start, true},
		{"alice", "bob", start.Add(time.Second), false},
		{"alice", "carol", start, false},
		{"carol", "dave", start, false},
		{"alice", "alice", start, true},
	} {
		if got := r.AuthorizedSince(x.a, x.b, x.since); got != x.want {
			t.Errorf("AuthorizedSince(%s, %s, %v) = %v", x.a, x.b, x.since, got)
		}
	}
}

func TestPairsOfAForgottenNodeAreForgotten(t *testing.T) {
	r := newRegistry(t, Config{MaxNodes: 4})
	r.Authorized("alice", "bob")
	r.SeenAt("bob", addr(1))
	for i := range 10 {
		r.Issued(fmt.Sprint("n", i), time.Now())
	}
	r.Issued("alice", time.Now())
	r.Issued("bob", time.Now())
	if r.AuthorizedSince("alice", "bob", time.Time{}) || r.SeenPartner("alice", addr(1), time.Time{}) {
		t.Error("a Node that was forgotten and came back is still authorised")
	}
}

func TestPairsAreBounded(t *testing.T) {
	var p pairs
	for i := range uint64(3 * maxPairs) {
		p.note(i, i+1, 1)
	}
	if n := len(p.young) + len(p.old); n > 2*maxPairs {
		t.Errorf("%d pairs kept", n)
	}
	last := uint64(3*maxPairs - 1)
	if !p.since(last, last+1, 1) || p.since(0, 1, 0) || !p.since(last-maxPairs/2, last-maxPairs/2+1, 0) {
		t.Error("the wrong pairs were forgotten")
	}
}

func TestSeenPartner(t *testing.T) {
	c := newClock()
	r := newRegistry(t, Config{Now: c.now})
	home, mapped := netip.MustParseAddr("198.51.100.7"), netip.MustParseAddr("::ffff:198.51.100.7")
	start := c.now()
	r.SeenAt("bob", mapped)
	r.SeenAt("mallory", netip.MustParseAddr("203.0.113.9"))
	r.SeenAt("bob", netip.Addr{})
	if r.SeenPartner("alice", home, start) {
		t.Error("allowed for a Node that nothing is known of")
	}
	r.Authorized("alice", "bob")
	if !r.SeenPartner("alice", home, start) || !r.SeenPartner("alice", mapped, start) || !r.SeenPartner("bob", home, start) {
		t.Error("an address of an authorised partner, or an own one, was refused")
	}
	if r.SeenPartner("alice", netip.MustParseAddr("203.0.113.9"), start) || r.SeenPartner("mallory", home, start) {
		t.Error("an address of a Node that was not authorised was allowed")
	}
	c.add(time.Hour)
	r.SeenAt("bob", home)
	if !r.SeenPartner("alice", home, start) || r.SeenPartner("alice", home, start.Add(time.Second)) {
		t.Error("the time of the authorisation is not looked at")
	}
	r.Authorized("bob", "alice")
	if !r.SeenPartner("alice", home, start.Add(time.Hour)) {
		t.Error("seen again and authorised again, and refused")
	}
	for i := range 20 {
		r.SeenAt("bob", addr(i))
	}
	n, _, _ := r.Lookup("bob")
	if len(n.Addresses) != maxAddresses || n.Addresses[0] != addr(19) {
		t.Errorf("addresses %v", n.Addresses)
	}
	r.SeenAt("bob", addr(15))
	if n, _, _ := r.Lookup("bob"); n.Addresses[0] != addr(15) || n.Addresses[1] != addr(19) || len(n.Addresses) != maxAddresses {
		t.Errorf("addresses %v", n.Addresses)
	}
}

func TestSightingsAreBounded(t *testing.T) {
	var s sightings
	for i := range uint64(3 * maxPerAddress) {
		s.note(addr(1), i+1, int64(i))
	}
	if n := len(s.young[addr(1)]); n != maxPerAddress {
		t.Errorf("%d Nodes kept for one address", n)
	}
	met := func(serial uint64) bool {
		return s.any(addr(1), 0, func(x uint64) bool { return x == serial })
	}
	if met(1) || !met(3*maxPerAddress) {
		t.Error("the wrong Nodes were forgotten")
	}
	for i := range 3 * maxSightings {
		s.note(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 1, 1)
	}
	if n := len(s.young) + len(s.old); n > 2*maxSightings {
		t.Errorf("%d addresses kept", n)
	}
}

func TestValidityCheckOf100000Nodes(t *testing.T) {
	r := newRegistry(t, Config{})
	ids := make([]string, 100_000)
	for i := range ids {
		ids[i] = fmt.Sprintf("node-%d", i)
	}
	start := time.Now()
	r.Validated(ids)
	t.Logf("first check of 100000 Nodes: %v", time.Since(start))
	start = time.Now()
	r.Validated(ids)
	t.Logf("next: %v", time.Since(start))
	if n := r.Stats().Connected; n != len(ids) {
		t.Errorf("%d connected", n)
	}
}

// A time of another day has its date: "ends 01:00:00" at two in the afternoon would be read as past.
func TestClock(t *testing.T) {
	now := newClock().now()
	for ahead, want := range map[time.Duration]string{
		time.Hour:                     "13:00:00 UTC",
		11*time.Hour + 59*time.Minute: "23:59:00 UTC",
		12 * time.Hour:                "2026-03-02 00:00:00 UTC",
		-13 * time.Hour:               "2026-02-28 23:00:00 UTC",
	} {
		if got := Clock(now.Add(ahead).In(time.FixedZone("", 9*3600)), now); got != want {
			t.Errorf("%v ahead: %s, want %s", ahead, got, want)
		}
	}
}
