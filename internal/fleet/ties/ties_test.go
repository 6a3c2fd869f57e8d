package ties

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/tally"
)

// hour is a clock that a test moves.
type hour struct{ t time.Time }

func (h *hour) now() time.Time { return h.t }

func newHour() *hour { return &hour{time.Unix(1_800_000_000, 0)} }

var (
	host = netip.MustParseAddr("192.0.2.7")
	at1  = netip.MustParseAddrPort("10.0.0.2:50000")
	at2  = netip.MustParseAddrPort("[fd12::2]:50001")
)

// tell has one book hear what is new in another, as it is written and read.
func tell(t *testing.T, from, to *Book, source string) {
	t.Helper()
	n, whole := from.Take()
	if !whole {
		t.Error("some was too much")
	}
	got, err := Decode(n.Encode())
	if err != nil || !reflect.DeepEqual(got, n) {
		t.Fatalf("%+v, %v, want %+v", got, err, n)
	}
	to.Add(source, got)
}

// What is noted at one machine is known at another, whoever of the two Nodes is asked about, for as long as it counts.
func TestTies(t *testing.T) {
	h := newHour()
	one, two := New(h.now), New(h.now)
	one.Authorized("alice", "bob")
	one.SeenAt("alice", host)
	one.Opened("alice", at1)
	one.Opened("carol", at2)
	<-one.Changed()
	tell(t, one, two, "one")
	since := h.t.Add(-time.Minute)
	switch {
	case !two.AuthorizedSince("bob", "alice", since), !two.AuthorizedSince("alice", "bob", since), two.AuthorizedSince("alice", "carol", since):
		t.Error("who may talk")
	case !two.SeenPartner("bob", host, since), !two.SeenPartner("alice", host, since), two.SeenPartner("carol", host, since):
		t.Error("who was met")
	case !two.Partner("bob", at1, since), !two.Partner("alice", at1, since), two.Partner("carol", at1, since), two.Partner("bob", at2, since):
		t.Error("whose relay it is")
	case one.Partner("bob", at1, since):
		t.Error("a relay of this machine counts as another's")
	}
	if got, ok := two.Held(at1); !ok || got != h.t {
		t.Errorf("held since %v", got)
	}
	h.t = h.t.Add(30 * time.Second)
	one.Authorized("alice", "bob")
	one.SeenAt("alice", host)
	if n, _ := one.Take(); len(n.Pairs)+len(n.Seen) > 0 {
		t.Errorf("said again so soon: %+v", n)
	}
	h.t = h.t.Add(time.Hour)
	if since := h.t.Add(-time.Hour); two.AuthorizedSince("alice", "bob", since) || two.SeenPartner("bob", host, since) || two.Partner("bob", at1, since) {
		t.Error("what is old")
	}
	one.Authorized("bob", "alice")
	tell(t, one, two, "one")
	if !two.Partner("bob", at1, h.t) {
		t.Error("what was said again")
	}

	one.Ended(at1)
	one.Opened("dave", at1)
	one.Ended(at2)
	tell(t, one, two, "one")
	if two.Partner("bob", at1, h.t) || !two.Partner("dave", at1, h.t) {
		t.Error("the port is another Node's now")
	}
	if got, ok := two.Held(at1); !ok || got != h.t {
		t.Errorf("held since %v", got)
	}
	if _, ok := two.Held(at2); ok {
		t.Error("a relay that has ended")
	}
}

// Who hears all of a machine at once knows the same, and forgets what has ended meanwhile; a machine that is gone has no relays.
func TestAll(t *testing.T) {
	h := newHour()
	one, two := New(h.now), New(h.now)
	one.Authorized("alice", "old")
	h.t = h.t.Add(2 * time.Hour)
	one.Authorized("alice", "bob")
	one.SeenAt("bob", host)
	one.Opened("bob", at1)
	two.Add("one", News{Opened: []Relay{{at2, tally.MarkOf("bob")}}})
	two.Add("three", News{Opened: []Relay{{netip.MustParseAddrPort("10.0.0.3:50000"), tally.MarkOf("bob")}}})
	two.Replace("one", one.All(h.t.Add(-time.Hour)))
	since := h.t.Add(-24 * time.Hour)
	if two.AuthorizedSince("alice", "old", since) || !two.AuthorizedSince("alice", "bob", since) || !two.SeenPartner("alice", host, since) || !two.Partner("alice", at1, since) {
		t.Error("not the same")
	}
	if _, ok := two.Held(at2); ok {
		t.Error("a relay that is not there any more")
	}
	two.Drop("one")
	if _, ok := two.Held(at1); ok || len(two.held) != 1 {
		t.Errorf("relays of a machine that is gone: %v", two.held)
	}
	if !two.AuthorizedSince("alice", "bob", since) {
		t.Error("who may talk goes with the machine that said so")
	}
	two.Add("one", News{Ended: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.3:50000")}})
	if len(two.holders) != 1 {
		t.Error("a machine ended another's relay")
	}
	// A clock that is ahead makes nothing last longer.
	two.Add("one", News{Pairs: []Pair{{tally.MarkOf("x"), tally.MarkOf("y"), h.t.Unix() + 10_000}}})
	if two.AuthorizedSince("x", "y", h.t.Add(time.Second)) {
		t.Error("a time to come")
	}
}

// Nothing grows without bound.
func TestBounds(t *testing.T) {
	h := newHour()
	b := New(h.now)
	b.pairs.most, b.seen.most, b.ownPairs.most, b.ownSeen.most = 100, 100, 50, 50
	for i := range 1000 {
		id := fmt.Sprint(i)
		b.Authorized("alice", id)
		b.SeenAt(id, netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}))
		b.SeenAt(id, host)
	}
	seen := len(b.seen.young) + len(b.seen.old)
	n := 0
	for _, there := range b.at {
		n += len(there)
	}
	if len(b.pairs.young)+len(b.pairs.old) > 200 || seen > 200 || n > seen || len(b.ownPairs.young)+len(b.ownPairs.old) > 100 {
		t.Errorf("%d, %d, %d", len(b.pairs.young), seen, n)
	}
	if !b.AuthorizedSince("alice", "999", h.t) || !b.SeenPartner("alice", host, h.t) {
		t.Error("the last is forgotten")
	}
	if all := b.All(time.Time{}); len(all.Pairs) > 100 || len(all.Seen) > 100 {
		t.Errorf("%d", len(all.Pairs))
	}
	for i := range mostFresh + 1 {
		b.Opened("alice", netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)}), 5000))
	}
	if _, whole := b.Take(); whole {
		t.Error("all of it")
	}
	if n, whole := b.Take(); !whole || len(n.Opened) > 0 {
		t.Error("not begun anew")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(News{}.Encode())
	f.Add(News{
		Pairs: []Pair{{tally.MarkOf("a"), tally.MarkOf("b"), 1}}, Seen: []Sighting{{host, tally.MarkOf("a"), 2}},
		Opened: []Relay{{at2, tally.MarkOf("a")}}, Ended: []netip.AddrPort{at1},
	}.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := Decode(b)
		if err != nil {
			return
		}
		New(nil).Add("x", n)
		again, err := Decode(n.Encode())
		if err != nil || !reflect.DeepEqual(n, again) {
			t.Errorf("%+v, %v, want %+v", again, err, n)
		}
	})
}
