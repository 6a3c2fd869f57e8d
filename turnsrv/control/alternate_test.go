package control

import (
	"net/netip"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// A client that has authenticated is sent to the other server of its family, and nothing is kept of it; what is live stays.
func TestAlternate(t *testing.T) {
	r := newRig(t, nil)
	live := r.client(t, "n", time.Hour)
	first, err := live.Allocate(within(t), func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrEvenPort, []byte{0x80}) })
	if err != nil {
		t.Fatal(err)
	}
	set := *r.set.Load()
	set.Alternate = []netip.AddrPort{netip.MustParseAddrPort("[2001:db8::7]:3478"), netip.MustParseAddrPort("192.0.2.7:3479")}
	r.Apply(set)

	c := r.client(t, "n", time.Hour)
	ask := func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedTransport, []byte{17, 0, 0, 0}) }
	m, err := c.Exchange(within(t), c.Build(stunmsg.AllocateRequest, ask))
	if err != nil {
		t.Fatal(err)
	}
	if _, told := m.Get(stunmsg.AttrAlternateServer); told || m.Type != stunmsg.AllocateRequest.Error() {
		t.Error("a stranger was told of the other server")
	}
	m, err = c.Do(within(t), stunmsg.AllocateRequest, ask)
	wantCode(t, "a new allocation", err, 300)
	if v, _ := m.Get(stunmsg.AttrAlternateServer); string(v) != "\x00\x01\x0d\x97\xc0\x00\x02\x07" || !m.HasIntegrity() {
		t.Errorf("ALTERNATE-SERVER %x", v)
	}
	_, err = c.Do(within(t), stunmsg.AllocateRequest, nil)
	wantCode(t, "a malformed one", err, 400)
	if r.Live() != 1 || r.Stats().Refusals[Refusal{300, "alternate"}] != 1 {
		t.Errorf("%d live, %v", r.Live(), r.Stats().Refusals)
	}
	if _, err := live.Refresh(within(t), time.Minute); err != nil {
		t.Errorf("what is live: %v", err)
	}
	wantCode(t, "another one of what is live", allocateErr(t, live), 437)
	wantCode(t, "a wrong password", allocateErr(t, r.as(t, "9999999999:n", "wrong")), 401)
	// The port that a token stands for is here.
	if _, err := c.Allocate(within(t), func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrReservationToken, first.Token) }); err != nil {
		t.Errorf("a reserved port: %v", err)
	}

	set.Alternate = set.Alternate[:1]
	r.Apply(set)
	if _, err := r.client(t, "n", time.Hour).Allocate(within(t), turnclient.Both); err != nil {
		t.Errorf("without another server of its family: %v", err)
	}
}
