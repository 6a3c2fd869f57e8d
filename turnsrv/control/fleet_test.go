package control

import (
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// otherMachines is a Fleet that a test sets: which Node has the relay at an address.
type otherMachines struct {
	NoTies // what this machine says is tested with the fleet
	mu     sync.Mutex
	held   map[netip.AddrPort]string
	since  map[netip.AddrPort]time.Time
	nodes  *directory
	denied bool
}

func (o *otherMachines) HasRelays(ip netip.Addr) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for a := range o.held {
		if a.Addr() == ip {
			return !o.denied
		}
	}
	return false
}

func (o *otherMachines) IsRelay(a netip.AddrPort) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.held[a]
	return ok && !o.denied
}

func (o *otherMachines) Partner(node string, a netip.AddrPort, since time.Time) bool {
	o.mu.Lock()
	owner := o.held[a]
	o.mu.Unlock()
	return owner == node || o.nodes.AuthorizedSince(node, owner, since)
}

func (o *otherMachines) Held(a netip.AddrPort) (time.Time, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.since[a], o.held[a] != ""
}

func (o *otherMachines) hold(a netip.AddrPort, node string, since time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.held == nil {
		o.held, o.since = map[netip.AddrPort]string{}, map[netip.AddrPort]time.Time{}
	}
	o.held[a], o.since[a] = node, since
}

func (o *otherMachines) deny(v bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.denied = v
}

// newFleetRig starts one of two machines; relays of the other are at 127.0.5.2, where the policy allows nothing.
func newFleetRig(t *testing.T, set Settings) (*rig, *otherMachines) {
	o := &otherMachines{}
	r := newRig(t, func(c *Config, _ *relay.Config) { c.Fleet, c.Settings = o, set })
	o.nodes = r.nodes
	return r, o
}

func (r *rig) dropped(i int, why relay.Cause) (up, down uint64) {
	s := r.Allocations()[i].Stats
	return s.Up.Drops[why], s.Down.Drops[why]
}

// A relay of another machine is reached though its address is denied, and nothing else at that address.
func TestRelaysOfOtherMachines(t *testing.T) {
	r, others := newFleetRig(t, Settings{})
	a := r.client(t, "a", time.Hour)
	relayed := allocate(t, a).Relayed
	sibling, at := udpPeer(t, "127.0.5.2")
	service, beside := udpPeer(t, "127.0.5.2")
	wantCode(t, "before it is known", a.Permit(within(t), at), 403)
	others.hold(at, "b", r.clock.now())
	wantCode(t, "another address", a.Permit(within(t), netip.MustParseAddrPort("127.0.5.3:5000")), 403)
	wantCode(t, "the address", a.Permit(within(t), netip.AddrPortFrom(at.Addr(), 0)), 0)
	wantCode(t, "a channel to a service there", a.Bind(within(t), 0x4000, beside), 403)
	both := func(what string, send func(data []byte) error) {
		t.Helper()
		if err := send([]byte(what)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 20)
		if n, from, err := sibling.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != what || from != relayed {
			t.Fatalf("the other relay got %q from %v: %v", buf[:n], from, err)
		}
		if _, err := sibling.WriteToUDPAddrPort([]byte("back"), relayed); err != nil {
			t.Fatal(err)
		}
		if d, err := a.Receive(within(t)); err != nil || string(d.Data) != "back" || d.Peer != at && d.Channel != 0x4001 {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	indication := func(data []byte) error { return a.Send(at, data) }
	channel := func(data []byte) error { return a.SendChannel(0x4001, data) }
	both("permission", indication)
	if err := a.Send(beside, []byte("leak")); err != nil {
		t.Fatal(err)
	}
	if _, err := service.WriteToUDPAddrPort([]byte("leak"), relayed); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what is beside the relay is dropped", func() bool {
		up, down := r.dropped(0, relay.PeerDenied)
		return up == 1 && down == 1
	})
	wantCode(t, "a channel", a.Bind(within(t), 0x4001, at), 0)
	both("channel", channel)
	r.Recheck()
	both("decided again", channel)
	both("decided again", indication)

	others.deny(true)
	if err := errors.Join(indication([]byte("late")), channel([]byte("late"))); err != nil {
		t.Fatal(err)
	}
	if _, err := sibling.WriteToUDPAddrPort([]byte("late"), relayed); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what a machine that is gone would get is dropped", func() bool {
		up, down := r.dropped(0, relay.PeerDenied)
		return up == 3 && down == 2
	})
	wantCode(t, "it is refreshed no longer", a.Permit(within(t), at), 403)
	r.Recheck()
	if x := r.Allocations()[0]; x.Permissions != 0 || x.Channels != 0 {
		t.Errorf("%d permissions and %d channels are left", x.Permissions, x.Channels)
	}
}

// With a Broker's authorisations it counts who has the relay, also of those that come later.
func TestRelaysOfOtherMachinesByWhatTheBrokerAuthorised(t *testing.T) {
	r, others := newFleetRig(t, Settings{PeerMode: PeersAuthorized, AuthorizedFor: time.Hour})
	a := r.client(t, "a", time.Hour)
	relayed := allocate(t, a).Relayed
	ofB, atB := udpPeer(t, "127.0.5.2")
	ofC, atC := udpPeer(t, "127.0.5.2")
	others.hold(atB, "b", r.clock.now())
	others.hold(atC, "c", r.clock.now())
	wantCode(t, "a channel to b, not authorised", a.Bind(within(t), 0x4000, atB), 403)
	r.nodes.set(&r.nodes.pairs, "a b", true)
	wantCode(t, "the address", a.Permit(within(t), atB), 0)
	wantCode(t, "a channel to c", a.Bind(within(t), 0x4001, atC), 403)
	wantCode(t, "a channel to b", a.Bind(within(t), 0x4000, atB), 0)
	buf := make([]byte, 20)
	both := func() {
		t.Helper()
		if err := a.SendChannel(0x4000, []byte("to b")); err != nil {
			t.Fatal(err)
		}
		if n, _, err := ofB.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != "to b" {
			t.Fatalf("b got %q, %v", buf[:n], err)
		}
		if _, err := ofB.WriteToUDPAddrPort([]byte("from b"), relayed); err != nil {
			t.Fatal(err)
		}
		if d, err := a.Receive(within(t)); err != nil || string(d.Data) != "from b" || d.Channel != 0x4000 {
			t.Fatalf("%+v, %v", d, err)
		}
	}
	both()
	if err := a.Send(atC, []byte("leak")); err != nil {
		t.Fatal(err)
	}
	if _, err := ofC.WriteToUDPAddrPort([]byte("leak"), relayed); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what nobody authorised is dropped", func() bool {
		up, down := r.dropped(0, relay.PeerDenied)
		return up == 1 && down == 1
	})
	r.nodes.set(&r.nodes.pairs, "a b", false) // a call goes on when its authorisation is old
	r.clock.add(2 * time.Minute)
	both()
	// The port is another Node's now: the channel that is there does not lead to it.
	r.clock.add(time.Second)
	others.hold(atB, "c", r.clock.now())
	if err := errors.Join(a.Send(atB, []byte("leak")), a.SendChannel(0x4000, []byte("leak"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "what was b's is c's", func() bool {
		up, _ := r.dropped(0, relay.PeerDenied)
		return up == 3
	})
	wantCode(t, "the channel again", a.Bind(within(t), 0x4000, atB), 403)
}

// A test by a link reaches no relay of another machine.
func TestTrialsReachNoOtherMachine(t *testing.T) {
	r, others := newFleetRig(t, Settings{})
	_, at := udpPeer(t, "127.0.5.2")
	others.hold(at, "b", r.clock.now())
	x := r.client(t, nodeid.TrialPrefix+"x", time.Minute)
	allocate(t, x)
	wantCode(t, "a permission", x.Permit(within(t), at), 403)
	wantCode(t, "a channel", x.Bind(within(t), 0x4000, at), 403)
}

// relayLog notes what control says of relays, one Ended for each Opened.
type relayLog struct {
	noFleet
	t *testing.T

	mu   sync.Mutex
	live map[netip.AddrPort]string
	n    int
}

func (l *relayLog) Opened(node string, a netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.n++; l.live[a] != "" {
		l.t.Errorf("%s is opened twice", a)
	}
	l.live[a] = node
}

func (l *relayLog) Ended(a netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.live[a] == "" {
		l.t.Errorf("%s has ended twice, or was never opened", a)
	}
	delete(l.live, a)
}

// Other machines are told of every relay, and once that it has ended, however it does.
func TestRelaysAreTold(t *testing.T) {
	l := &relayLog{t: t, live: map[netip.AddrPort]string{}}
	r := newRig(t, func(c *Config, _ *relay.Config) { c.Fleet = l })
	t.Cleanup(func() { // before the rig's own
		if len(l.live) != 1 || l.n != 6 {
			t.Errorf("%d were opened, %v are left", l.n, l.live)
		}
	})
	a, b, c, d := r.client(t, "a", time.Hour), r.client(t, "b", time.Hour), r.client(t, "c", time.Hour), r.client(t, "d", time.Hour)
	both := func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrAdditionalAddressFamily, []byte{stunmsg.FamilyIPv6, 0, 0, 0})
	}
	for _, x := range []*turnclient.Client{a, b} {
		if _, err := x.Allocate(within(t), both); err != nil {
			t.Fatal(err)
		}
	}
	at := allocate(t, c).Relayed
	allocate(t, d)
	l.mu.Lock()
	if l.live[at] != "c" || len(l.live) != 6 {
		t.Errorf("%v", l.live)
	}
	l.mu.Unlock()
	// One leg after the other, both at once, and by an operator.
	for _, family := range []byte{stunmsg.FamilyIPv4, stunmsg.FamilyIPv6} {
		if _, err := a.Do(within(t), stunmsg.RefreshRequest, func(w *stunmsg.Builder) {
			w.Attr(stunmsg.AttrRequestedAddressFamily, []byte{family, 0, 0, 0}).Uint32(stunmsg.AttrLifetime, 0)
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.Do(within(t), stunmsg.RefreshRequest, func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrLifetime, 0) }); err != nil {
		t.Fatal(err)
	}
	r.CloseNode("c", "the test")
}
