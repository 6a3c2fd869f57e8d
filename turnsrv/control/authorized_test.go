package control

import (
	"net/netip"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// Nodes reach each other's relays and addresses only where a Broker authorised the pair.
func TestPeersByWhatTheBrokerAuthorised(t *testing.T) {
	r := newRig(t, settings(Settings{PeerMode: PeersAuthorized, AuthorizedFor: time.Hour}))
	a, b, c := r.client(t, "a", time.Hour), r.client(t, "b", time.Hour), r.client(t, "c", time.Hour)
	allocate(t, a)
	rb, rc := allocate(t, b).Relayed, allocate(t, c).Relayed
	wantCode(t, "a to b, not authorised", a.Permit(within(t), rb), 403)
	wantCode(t, "channel a to b, not authorised", a.Bind(within(t), 0x4000, rb), 403)
	if !r.nodes.noted("a: peer 127.0.0.1 refused: no Broker authorised this Node") {
		t.Errorf("the why-record has %v", r.nodes.notes)
	}
	_, stranger := udpPeer(t, "127.0.0.2")
	wantCode(t, "a to an address where nobody was seen", a.Permit(within(t), stranger), 403)

	r.nodes.set(&r.nodes.pairs, "b a", true)
	wantCode(t, "a to b", a.Permit(within(t), rb), 0)
	wantCode(t, "channel a to b", a.Bind(within(t), 0x4000, rb), 0)
	wantCode(t, "a to an address where b was not seen", a.Permit(within(t), stranger), 403)
	wantCode(t, "c to a relay of b", c.Permit(within(t), rb), 403)
	wantCode(t, "b to a relay of c", b.Permit(within(t), rc), 403)

	// The permission for b is one for an address that c's relay shares: it leads to b alone.
	r.nodes.set(&r.nodes.pairs, "c x", true)
	if err := a.Send(rc, []byte("leak")); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Refresh(within(t), time.Minute); err != nil {
		t.Fatal(err)
	}
	if up := r.Allocations()[0].Stats.Up; up.Dropped != 1 {
		t.Errorf("a Send to a relay that was not permitted by name: %+v", up)
	}

	// What is permitted may be refreshed when the authorisation is gone.
	r.nodes.set(&r.nodes.pairs, "b a", false)
	wantCode(t, "a to b again", a.Permit(within(t), rb), 0)
	wantCode(t, "channel a to b again", a.Bind(within(t), 0x4000, rb), 0)
}

func TestPeersAtAddressesWhereAPartnerWasSeen(t *testing.T) {
	r := newRig(t, settings(Settings{PeerMode: PeersAuthorized, AuthorizedFor: time.Hour}))
	a := r.client(t, "a", time.Hour)
	relayed := allocate(t, a).Relayed
	r.nodes.set(&r.nodes.seen, "b 127.0.0.2", true)
	_, host := udpPeer(t, "127.0.0.2")
	wantCode(t, "not authorised", a.Permit(within(t), host), 403)
	wantCode(t, "not authorised, a channel", a.Bind(within(t), 0x4000, host), 403)

	// An address that relays have is permitted for them alone: which of them, each datagram shows.
	r.nodes.set(&r.nodes.seen, "b 127.0.0.1", true)
	allocate(t, r.client(t, "c", time.Hour))
	sock, beside := udpPeer(t, "127.0.0.1")
	wantCode(t, "beside the relays, not authorised", a.Permit(within(t), beside), 0)
	wantCode(t, "beside the relays, not authorised, a channel", a.Bind(within(t), 0x4000, beside), 403)
	if err := a.Send(beside, []byte("leak")); err != nil {
		t.Fatal(err)
	}
	if _, err := sock.WriteToUDPAddrPort([]byte("leak"), relayed); err != nil {
		t.Fatal(err)
	}
	eventually(t, "both are dropped", func() bool {
		s := r.Allocations()[0].Stats
		return s.Up.Drops[relay.PeerDenied] == 1 && s.Down.Drops[relay.PeerDenied] == 1
	})

	r.nodes.set(&r.nodes.pairs, "a b", true)
	wantCode(t, "authorised", a.Permit(within(t), host), 0)
	wantCode(t, "beside the relays, authorised", a.Permit(within(t), beside), 0)
	if err := a.Send(beside, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, _, err := sock.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "hello" {
		t.Errorf("the peer got %q: %v", buf[:n], err)
	}
}

// Clients that write no port into CreatePermission reach the Nodes that a Broker authorised, and no others.
func TestPortsMeanNothingWhereTheBrokerAuthorises(t *testing.T) {
	r := newRig(t, settings(Settings{PeerMode: PeersAuthorized, AuthorizedFor: time.Hour}))
	r.nodes.set(&r.nodes.pairs, "b a", true)
	a, b, c := r.client(t, "a", time.Hour), r.client(t, "b", time.Hour), r.client(t, "c", time.Hour)
	ra, rb, rc := allocate(t, a).Relayed, allocate(t, b).Relayed, allocate(t, c).Relayed
	anyPort := netip.AddrPortFrom(ra.Addr(), 0)
	for who, x := range map[string]*turnclient.Client{"a": a, "b": b, "c": c} {
		wantCode(t, who, x.Permit(within(t), anyPort), 0)
	}
	if err := a.Send(rc, []byte("to c")); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(ra, []byte("from c")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what nobody authorised is dropped", func() bool {
		all := r.Allocations()
		return all[0].Stats.Up.Drops[relay.PeerDenied] == 1 && all[2].Stats.Up.Drops[relay.PeerDenied] == 1
	})
	for range 2 {
		if err := a.Send(rb, []byte("to b")); err != nil {
			t.Fatal(err)
		}
		if d, err := b.Receive(within(t)); err != nil || string(d.Data) != "to b" || d.Peer != ra {
			t.Fatalf("b got %+v: %v", d, err)
		}
		// A call goes on when its authorisation is old.
		r.nodes.set(&r.nodes.pairs, "b a", false)
		r.clock.add(2 * time.Minute)
	}
	r.clock.add(6 * time.Minute)
	wantCode(t, "the address again", a.Permit(within(t), anyPort), 0)
	if err := a.Send(rb, []byte("late")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what was not used for five minutes is asked about again", func() bool {
		return r.Allocations()[0].Stats.Up.Drops[relay.PeerDenied] == 2
	})
}

func TestObserveOnlyReports(t *testing.T) {
	r := newRig(t, func(c *Config, _ *relay.Config) {
		c.Settings = Settings{PeerMode: PeersObserve, AuthorizedFor: time.Hour}
	})
	a := r.client(t, "a", time.Hour)
	allocate(t, a)
	rb := allocate(t, r.client(t, "b", time.Hour)).Relayed
	wantCode(t, "a to b", a.Permit(within(t), rb), 0)
	if !r.nodes.noted("a: peer 127.0.0.1 would be refused") {
		t.Errorf("the why-record has %v", r.nodes.notes)
	}
}

// Who tests by a link has relays that reach one another and nothing else, and that end with the credential.
func TestTrialsReachTheirOwnRelaysAlone(t *testing.T) {
	r := newRig(t, settings(Settings{}))
	id := nodeid.TrialPrefix + "x"
	a, b, c := r.client(t, id, time.Minute), r.client(t, id, time.Minute), r.client(t, "c", time.Hour)
	got := allocate(t, a)
	if got.Lifetime > time.Minute {
		t.Errorf("an allocation beyond the credential: %v", got.Lifetime)
	}
	rb, rc := allocate(t, b).Relayed, allocate(t, c).Relayed
	_, stranger := udpPeer(t, "127.0.0.2")
	wantCode(t, "a stranger", a.Permit(within(t), stranger), 403)
	wantCode(t, "a stranger, a channel", a.Bind(within(t), 0x4000, stranger), 403)
	wantCode(t, "another Node's relay", a.Permit(within(t), rc), 403)
	wantCode(t, "another Node's relay, a channel", a.Bind(within(t), 0x4000, rc), 403)
	wantCode(t, "its own", a.Permit(within(t), rb), 0)
	wantCode(t, "its own, a channel", a.Bind(within(t), 0x4000, rb), 0)
	// The permission is for an address that the other Node's relay shares.
	if err := a.Send(rc, []byte("leak")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is dropped", func() bool {
		for _, al := range r.Allocations() {
			if al.Stats.Up.Drops[relay.PeerDenied] == 1 {
				return true
			}
		}
		return false
	})
}
