package control

import (
	"net/netip"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

func TestBindingTellsTheSource(t *testing.T) {
	r := newRig(t, nil)
	c := r.as(t, "", "")
	got, err := c.Binding(within(t))
	if err != nil || got != c.LocalAddr() {
		t.Errorf("Binding = %v, %v; the client is %v", got, err, c.LocalAddr())
	}
}

func TestAllocateRelayBothWaysAndRelease(t *testing.T) {
	r := newRig(t, nil)
	c := r.client(t, "Alice", time.Hour)
	a := allocate(t, c)
	if a.Mapped != c.LocalAddr() || a.Lifetime != 10*time.Minute {
		t.Errorf("mapped %v, lifetime %v", a.Mapped, a.Lifetime)
	}
	sock, peer := udpPeer(t, "127.0.0.1")
	if err := c.Permit(within(t), peer); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 100)
	if err := c.Send(peer, []byte("by indication")); err != nil {
		t.Fatal(err)
	}
	n, from, err := sock.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != "by indication" || from != a.Relayed {
		t.Fatalf("the peer got %q from %v: %v", buf[:n], from, err)
	}
	if _, err := sock.WriteToUDPAddrPort([]byte("back"), a.Relayed); err != nil {
		t.Fatal(err)
	}
	d, err := c.Receive(within(t))
	if err != nil || string(d.Data) != "back" || d.Peer != peer || d.Channel != 0 {
		t.Fatalf("the client got %+v: %v", d, err)
	}
	if err := c.Bind(within(t), 0x4001, peer); err != nil {
		t.Fatal(err)
	}
	if err := c.SendChannel(0x4001, []byte("by channel")); err != nil {
		t.Fatal(err)
	}
	if n, _, err = sock.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "by channel" {
		t.Fatalf("the peer got %q: %v", buf[:n], err)
	}
	if _, err := sock.WriteToUDPAddrPort([]byte("back"), a.Relayed); err != nil {
		t.Fatal(err)
	}
	if d, err = c.Receive(within(t)); err != nil || d.Channel != 0x4001 {
		t.Fatalf("the client got %+v: %v", d, err)
	}
	// A datagram is counted when it has been sent: its receiver may be quicker.
	var live []Allocation
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		if live = r.Allocations(); len(live) == 1 && live[0].Stats.Up.Datagrams == 2 && live[0].Stats.Down.Bytes == 8 {
			break
		}
	}
	if len(live) != 1 || live[0].Node != "Alice" || live[0].Stats.Up.Datagrams != 2 || live[0].Stats.Down.Bytes != 8 {
		t.Errorf("listed as %+v", live)
	}
	if got, err := c.Refresh(within(t), 0); err != nil || got != 0 {
		t.Errorf("Refresh 0 = %v, %v", got, err)
	}
	if r.Live() != 0 {
		t.Error("still live after it was released")
	}
	_, err = c.Refresh(within(t), time.Minute)
	wantCode(t, "Refresh after release", err, 437)
	if b := allocate(t, c); !b.Relayed.IsValid() {
		t.Error("the same 5-tuple cannot allocate again")
	}
}

func TestErrorAnswers(t *testing.T) {
	r := newRig(t, nil)
	other := netip.MustParseAddrPort("127.0.0.1:9")
	udp := func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedTransport, []byte{17, 0, 0, 0}) }
	with := func(t uint16, v ...byte) func(*stunmsg.Builder) {
		return func(w *stunmsg.Builder) { udp(w); w.Attr(t, v) }
	}
	live := r.client(t, "live", time.Hour)
	allocate(t, live)
	for _, c := range []struct {
		name string
		on   *turnclient.Client // nil: without an allocation
		t    stunmsg.Type
		add  func(*stunmsg.Builder)
		code int
	}{
		{"no transport", nil, stunmsg.AllocateRequest, nil, 400},
		{"TCP relay", nil, stunmsg.AllocateRequest, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedTransport, []byte{6, 0, 0, 0}) }, 442},
		{"unknown family", nil, stunmsg.AllocateRequest, with(stunmsg.AttrRequestedAddressFamily, 3, 0, 0, 0), 440},
		{"an attribute that nobody knows", nil, stunmsg.AllocateRequest, with(0x7f00), 420},
		{"token and EVEN-PORT", nil, stunmsg.AllocateRequest, func(w *stunmsg.Builder) {
			udp(w)
			w.Attr(stunmsg.AttrEvenPort, []byte{0}).Attr(stunmsg.AttrReservationToken, make([]byte, 8))
		}, 400},
		{"unknown token", nil, stunmsg.AllocateRequest, with(stunmsg.AttrReservationToken, make([]byte, 8)...), 508},
		{"Connect without an allocation", nil, stunmsg.ConnectRequest, nil, 437},
		{"Connect", live, stunmsg.ConnectRequest, nil, 400},
		{"ConnectionBind", nil, stunmsg.ConnectionBindRequest, nil, 400},
		{"Refresh without", nil, stunmsg.RefreshRequest, nil, 437},
		{"CreatePermission without", nil, stunmsg.CreatePermissionRequest, nil, 437},
		{"ChannelBind without", nil, stunmsg.ChannelBindRequest, nil, 437},
		{"second Allocate", live, stunmsg.AllocateRequest, udp, 437},
		{"Refresh for another family", live, stunmsg.RefreshRequest, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedAddressFamily, []byte{2, 0, 0, 0}) }, 443},
		{"permission for nobody", live, stunmsg.CreatePermissionRequest, nil, 400},
		{"permission for an empty address", live, stunmsg.CreatePermissionRequest, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrXORPeerAddress, nil) }, 400},
		{"permission for IPv6", live, stunmsg.CreatePermissionRequest, func(w *stunmsg.Builder) {
			w.XORAddr(stunmsg.AttrXORPeerAddress, netip.MustParseAddrPort("[2001:db8::1]:9"))
		}, 443},
		{"channel without a peer", live, stunmsg.ChannelBindRequest, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrChannelNumber, []byte{0x40, 0, 0, 0}) }, 400},
		{"channel above the range", live, stunmsg.ChannelBindRequest, func(w *stunmsg.Builder) {
			w.Attr(stunmsg.AttrChannelNumber, []byte{0x80, 0, 0, 0}).XORAddr(stunmsg.AttrXORPeerAddress, other)
		}, 400},
		{"own listener", live, stunmsg.ChannelBindRequest, func(w *stunmsg.Builder) {
			w.Attr(stunmsg.AttrChannelNumber, []byte{0x40, 0, 0, 0}).XORAddr(stunmsg.AttrXORPeerAddress, netip.MustParseAddrPort(r.addr))
		}, 403},
	} {
		t.Run(c.name, func(t *testing.T) {
			on := c.on
			if on == nil {
				on = r.client(t, "n", time.Hour)
			}
			m, err := on.Do(within(t), c.t, c.add)
			wantCode(t, "answer", err, c.code)
			if m != nil && !m.HasIntegrity() {
				t.Error("the error answer to an authenticated request is not signed")
			}
			if c.code == 420 {
				v, _ := m.Get(stunmsg.AttrUnknownAttributes)
				if len(v) != 2 || v[0] != 0x7f || v[1] != 0 {
					t.Errorf("UNKNOWN-ATTRIBUTES = %x", v)
				}
			}
		})
	}
	if n := r.Live(); n != 1 {
		t.Errorf("%d allocations are live", n)
	}
}

func TestPermissionsAreAllOrNone(t *testing.T) {
	r := newRig(t, nil)
	c := r.client(t, "Alice", time.Hour)
	a := allocate(t, c)
	sock, peer := udpPeer(t, "127.0.0.1")
	denied := netip.MustParseAddrPort("10.0.0.5:9")
	wantCode(t, "one of two denied", c.Permit(within(t), peer, denied), 403)
	if !r.nodes.noted("Alice: peer 10.0.0.5 refused: denied by the test") {
		t.Errorf("the why-record has %v", r.nodes.notes)
	}
	if _, err := sock.WriteToUDPAddrPort([]byte("x"), a.Relayed); err != nil {
		t.Fatal(err)
	}
	// What follows is answered after the datagram would have been relayed.
	wantCode(t, "channel to a denied peer", c.Bind(within(t), 0x4000, denied), 403)
	select {
	case d := <-c.Data():
		t.Errorf("a peer without permission reached the client: %+v", d)
	default:
	}
}

func TestChannelsAreBoundOneToOne(t *testing.T) {
	r := newRig(t, nil)
	c := r.client(t, "Alice", time.Hour)
	allocate(t, c)
	_, p := udpPeer(t, "127.0.0.1")
	_, q := udpPeer(t, "127.0.0.1")
	for _, step := range []struct {
		number uint16
		peer   netip.AddrPort
		code   int
	}{{0x4000, p, 0}, {0x4000, p, 0}, {0x4000, q, 400}, {0x4001, p, 400}, {0x7fff, q, 0}} {
		wantCode(t, step.peer.String(), c.Bind(within(t), step.number, step.peer), step.code)
	}
}

// Two clients behind one server reach each other through their relayed addresses although the address is denied, and
// nothing else there.
func TestRelayToRelayWhereAllIsDenied(t *testing.T) {
	r := newRig(t, func(c *Config, _ *relay.Config) {
		c.CheckPeer = func(netip.Addr) (bool, string) { return false, "denied" }
	})
	a, b := r.client(t, "a", time.Hour), r.client(t, "b", time.Hour)
	ra, rb := allocate(t, a).Relayed, allocate(t, b).Relayed
	sock, other := udpPeer(t, "127.0.0.1")
	wantCode(t, "where no relay is", a.Permit(within(t), netip.MustParseAddrPort("127.0.0.2:9")), 403)
	wantCode(t, "a channel to a socket beside the relays", a.Bind(within(t), 0x4000, other), 403)
	// Ports mean nothing in a permission: pjnath writes 0 (RFC 8656 §9).
	for _, port := range []uint16{0, 9, other.Port()} {
		wantCode(t, "the relays' address", a.Permit(within(t), netip.AddrPortFrom(rb.Addr(), port)), 0)
	}
	if err := a.Permit(within(t), rb); err != nil {
		t.Fatal(err)
	}
	if err := b.Bind(within(t), 0x4000, ra); err != nil {
		t.Fatal(err)
	}
	if err := a.Send(rb, []byte("to b")); err != nil {
		t.Fatal(err)
	}
	d, err := b.Receive(within(t))
	if err != nil || string(d.Data) != "to b" || d.Channel != 0x4000 {
		t.Fatalf("b got %+v: %v", d, err)
	}
	if err := b.SendChannel(0x4000, []byte("to a")); err != nil {
		t.Fatal(err)
	}
	if d, err = a.Receive(within(t)); err != nil || string(d.Data) != "to a" || d.Peer != rb {
		t.Fatalf("a got %+v: %v", d, err)
	}
	// The permission is for the address, but reaches relays only, in both directions.
	if err := a.Send(other, []byte("leak")); err != nil {
		t.Fatal(err)
	}
	if _, err := sock.WriteToUDPAddrPort([]byte("leak"), ra); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Refresh(within(t), time.Minute); err != nil {
		t.Fatal(err)
	}
	select {
	case d := <-a.Data():
		t.Errorf("a socket beside the relays reached the client: %+v", d)
	default:
	}
	_ = sock.SetReadDeadline(time.Now())
	if n, _, err := sock.ReadFromUDPAddrPort(make([]byte, 10)); err == nil {
		t.Errorf("a socket beside the relays got %d bytes", n)
	}
}

func TestEvenPortAndReservation(t *testing.T) {
	r := newRig(t, nil)
	c := r.client(t, "a", time.Hour)
	a, err := c.Allocate(within(t), func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrEvenPort, []byte{0x80}) })
	if err != nil || a.Relayed.Port()%2 != 0 || len(a.Token) != 8 {
		t.Fatalf("got %+v, %v", a, err)
	}
	token := func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrReservationToken, a.Token) }
	b, err := r.client(t, "a", time.Hour).Allocate(within(t), token)
	if err != nil || b.Relayed.Port() != a.Relayed.Port()+1 {
		t.Errorf("the reserved port: %+v, %v", b, err)
	}
	_, err = r.client(t, "a", time.Hour).Allocate(within(t), token)
	wantCode(t, "a token used twice", err, 508)
}

func TestIPv6Relay(t *testing.T) {
	r := newRig(t, nil)
	c := r.client(t, "a", time.Hour)
	a, err := c.Allocate(within(t), func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrRequestedAddressFamily, []byte{stunmsg.FamilyIPv6, 0, 0, 0})
	})
	if err != nil || !a.Relayed.Addr().Is6() {
		t.Fatalf("got %+v, %v", a, err)
	}
	sock, peer := udpPeer(t, "::1")
	if err := c.Bind(within(t), 0x4000, peer); err != nil {
		t.Fatal(err)
	}
	if err := c.SendChannel(0x4000, []byte("six")); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 10)
	if n, from, err := sock.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "six" || from != a.Relayed {
		t.Errorf("the peer got %q from %v: %v", buf[:n], from, err)
	}
	wantCode(t, "an IPv4 peer", c.Permit(within(t), netip.MustParseAddrPort("127.0.0.1:9")), 443)
}
