package control

import (
	"testing"
	"time"

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
	a, b := r.client(t, "a", time.Hour), r.client(t, "b", time.Hour)
	allocate(t, a)
	allocate(t, b)
	// b is seen at 127.0.0.1, where its client is; a socket there that is no relay.
	_, host := udpPeer(t, "127.0.0.1")
	wantCode(t, "not authorised", a.Permit(within(t), host), 403)
	r.nodes.set(&r.nodes.pairs, "a b", true)
	wantCode(t, "authorised", a.Permit(within(t), host), 0)
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
