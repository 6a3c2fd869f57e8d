package control

import (
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// pattern is what a client library refreshes, and how often; 0 is never.
type pattern struct {
	name                string
	allocation          time.Duration
	permission, channel time.Duration
	number              uint16 // of the channel; 0: Send indications
	anyPort             bool   // it writes port 0 into CreatePermission
}

// patterns are as the libraries' sources have them, and as those that `make interop` tries were seen to do in sessions of
// eleven minutes.
var patterns = []pattern{
	{"aioice, aiortc, werift", 500 * time.Second, 0, 500 * time.Second, 0x4000, false},
	{"libjuice, libdatachannel", 540 * time.Second, 0, 300 * time.Second, 0x4abc, false}, // a random number
	{"a permission that runs out as it is refreshed", 540 * time.Second, 300 * time.Second, 540 * time.Second, 0x4000, false},
	{"libnice", 540 * time.Second, 240 * time.Second, 540 * time.Second, 0x4000, false},
	{"libwebrtc", 540 * time.Second, 0, 240 * time.Second, 0x4000, false}, // once more a permission after 240 s, and never again
	{"pion/turn v4", 300 * time.Second, 120 * time.Second, 300 * time.Second, 0x4002, false},
	{"pion/turn v5", 300 * time.Second, 120 * time.Second, 330 * time.Second, 0x4000, false},
	{"PJNATH", 540 * time.Second, 0, 285 * time.Second, 0x4000, false},
	{"Firefox", 590 * time.Second, 290 * time.Second, 0, 0, false}, // it has no channels
	{"turnutils_uclient, RFC 5766", 300 * time.Second, 0, 590 * time.Second, 0x7abc, false},
	{"Send indications alone", 300 * time.Second, 240 * time.Second, 0, 0, true},
}

// conversation is one client and its peer.
type conversation struct {
	*testing.T
	r       *rig
	c       *turnclient.Client
	sock    *net.UDPConn
	peer    netip.AddrPort
	relayed netip.AddrPort
	p       pattern
	words   int
}

func (v *conversation) refresh(at time.Duration) {
	v.Helper()
	due := func(every time.Duration) bool { return at == 0 || every > 0 && at%every == 0 }
	if v.p.allocation > 0 && at > 0 && due(v.p.allocation) {
		if _, err := v.c.Refresh(within(v.T), time.Minute); err != nil {
			v.Fatalf("Refresh after %s: %v", at, err)
		}
	}
	if v.p.permission > 0 && due(v.p.permission) {
		to := v.peer
		if v.p.anyPort {
			to = netip.AddrPortFrom(to.Addr(), 0)
		}
		wantCode(v.T, fmt.Sprint("CreatePermission after ", at), v.c.Permit(within(v.T), to), 0)
	}
	if v.p.channel > 0 && due(v.p.channel) {
		wantCode(v.T, fmt.Sprint("ChannelBind after ", at), v.c.Bind(within(v.T), v.p.number, v.peer), 0)
	}
}

// talk exchanges a word each way.
func (v *conversation) talk(at time.Duration) {
	v.Helper()
	v.words++
	word := fmt.Sprint("word ", v.words)
	send := func() error { return v.c.SendChannel(v.p.number, []byte(word)) }
	if v.p.number == 0 {
		send = func() error { return v.c.Send(v.peer, []byte(word)) }
	}
	if err := send(); err != nil {
		v.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, _, err := v.sock.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != word {
		v.Fatalf("after %s the peer got %q: %v", at, buf[:n], err)
	}
	if _, err := v.sock.WriteToUDPAddrPort([]byte(word), v.relayed); err != nil {
		v.Fatal(err)
	}
	if d, err := v.c.Receive(within(v.T)); err != nil || string(d.Data) != word || d.Channel != v.p.number {
		v.Fatalf("after %s the client got %+v: %v", at, d, err)
	}
}

// Calls go on for longer than permissions and channels last, whatever the client refreshes: a channel is as good as a
// permission for its peer.
func TestRefreshPatternsOfClients(t *testing.T) {
	for _, p := range patterns {
		t.Run(p.name, func(t *testing.T) {
			r := newRig(t, nil)
			plane := r.plane.(*relay.Plane)
			c := r.client(t, "n", time.Hour)
			a := allocate(t, c)
			sock, peer := udpPeer(t, "127.0.0.1")
			v := &conversation{t, r, c, sock, peer, a.Relayed, p, 0}
			const step = 5 * time.Second
			at := time.Duration(0)
			for ; at <= 700*time.Second; at += step {
				v.refresh(at)
				v.talk(at)
				r.clock.add(step)
				plane.Sweep()
			}
			// Refreshed no more it ends.
			r.clock.add(relay.ChannelLife)
			plane.Sweep()
			if all := r.Allocations(); len(all) != 1 || all[0].Permissions != 0 || all[0].Channels != 0 {
				t.Fatalf("what nobody refreshes is left: %+v", all)
			}
			before := r.Allocations()[0].Stats
			if _, err := sock.WriteToUDPAddrPort([]byte("late"), a.Relayed); err != nil {
				t.Fatal(err)
			}
			eventually(t, "late data is dropped", func() bool {
				return r.Allocations()[0].Stats.Down.Drops[relay.NoPermission] == before.Down.Drops[relay.NoPermission]+1
			})
		})
	}
}

// A channel lets its own peer through and nobody else, and goes with the peer policy and a ban as ever.
func TestAChannelIsNoPermissionForOthers(t *testing.T) {
	var denied atomic.Bool
	r := newRig(t, func(c *Config, _ *relay.Config) {
		check := c.CheckPeer
		c.CheckPeer = func(ip netip.Addr) (bool, string) {
			if denied.Load() {
				return false, "denied by the test"
			}
			return check(ip)
		}
	})
	plane := r.plane.(*relay.Plane)
	c := r.client(t, "n", time.Hour)
	a := allocate(t, c)
	sock, peer := udpPeer(t, "127.0.0.1")
	other, _ := udpPeer(t, "127.0.0.1") // another port of the same address
	v := &conversation{t, r, c, sock, peer, a.Relayed, pattern{channel: 10 * time.Second, number: 0x4000}, 0}
	v.refresh(0)
	r.clock.add(relay.PermissionLife)
	plane.Sweep()
	v.talk(relay.PermissionLife)
	if _, err := other.WriteToUDPAddrPort([]byte("x"), a.Relayed); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another port is dropped", func() bool { return r.Allocations()[0].Stats.Down.Drops[relay.NoPermission] == 1 })
	denied.Store(true)
	r.Recheck()
	if err := c.SendChannel(0x4000, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := sock.WriteToUDPAddrPort([]byte("x"), a.Relayed); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a denied peer's channel is gone", func() bool {
		s := r.Allocations()[0].Stats
		return s.Up.Drops[relay.NoChannel] == 1 && s.Down.Drops[relay.NoPermission] == 2
	})
	denied.Store(false)
	wantCode(t, "the channel again", c.Bind(within(t), 0x4000, peer), 0)
	if n := r.CloseNode("n", "banned"); n != 1 {
		t.Errorf("closed %d", n)
	}
}

// DONT-FRAGMENT in an Allocate is granted, as coturn does.
func TestAllocateWithDontFragment(t *testing.T) {
	if !relay.CanDontFragment {
		t.Skip("this system cannot")
	}
	r := newRig(t, nil)
	if _, err := r.client(t, "n", time.Hour).Allocate(within(t), func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrDontFragment, nil) }); err != nil {
		t.Error(err)
	}
}
