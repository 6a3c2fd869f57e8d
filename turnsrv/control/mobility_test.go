package control

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// roaming is a Node with a mobile allocation and a channel to a peer, and any number of addresses.
type roaming struct {
	*testing.T
	r      *rig
	user   string
	pass   string
	home   *turnclient.Client
	a      turnclient.Allocation
	sock   *net.UDPConn
	peer   netip.AddrPort
	ticket []byte
}

func newRoaming(t *testing.T, r *rig, more func(*stunmsg.Builder)) *roaming {
	t.Helper()
	cred, err := r.keys.Issue("n", time.Hour, r.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	o := &roaming{T: t, r: r, user: cred.Username, pass: cred.Password}
	o.home = o.elsewhere()
	if o.a, err = o.home.Allocate(within(t), func(w *stunmsg.Builder) {
		turnclient.Mobile(w)
		if more != nil {
			more(w)
		}
	}); err != nil {
		t.Fatal(err)
	}
	o.ticket = bytes.Clone(o.a.Ticket)
	o.sock, o.peer = udpPeer(t, "127.0.0.1")
	if err := o.home.Bind(within(t), 0x4000, o.peer); err != nil {
		t.Fatal(err)
	}
	return o
}

// elsewhere is the Node at another address.
func (o *roaming) elsewhere() *turnclient.Client { o.Helper(); return o.r.as(o, o.user, o.pass) }

func (o *roaming) move(c *turnclient.Client, ticket []byte) []byte {
	o.Helper()
	next, err := c.Move(within(o), ticket)
	if err != nil {
		o.Fatal(err)
	}
	if len(next) != len(ticket) || bytes.Equal(next, ticket) {
		o.Fatalf("the ticket behind %q is %q", ticket, next)
	}
	return next
}

// reaches checks that what the peer sends comes to c.
func (o *roaming) reaches(c *turnclient.Client, text string) {
	o.Helper()
	if _, err := o.sock.WriteToUDPAddrPort([]byte(text), o.a.Relayed); err != nil {
		o.Fatal(err)
	}
	if d, err := c.Receive(within(o)); err != nil || string(d.Data) != text || d.Channel != 0x4000 {
		o.Fatalf("got %q on %x, %v, want %q", d.Data, d.Channel, err, text)
	}
}

// says checks that what c sends comes to the peer.
func (o *roaming) says(c *turnclient.Client, text string) {
	o.Helper()
	if err := c.SendChannel(0x4000, []byte(text)); err != nil {
		o.Fatal(err)
	}
	buf := make([]byte, 100)
	if n, from, err := o.sock.ReadFromUDPAddrPort(buf); err != nil || string(buf[:n]) != text || from != o.a.Relayed {
		o.Fatalf("the peer got %q from %v, %v, want %q", buf[:n], from, err, text)
	}
}

func refusals(r *rig, code int, cause string) uint64 { return r.Stats().Refusals[Refusal{code, cause}] }

// A client that has moved has its relay, channel and place from there on, and its old 5-tuple has nothing. Until it has said
// something there the old one goes on, and the ticket is good again, for the answer may have been lost.
func TestMove(t *testing.T) {
	r := newRig(t, settings(Settings{AllocationsPerNode: 1, Mobility: true}))
	o := newRoaming(t, r, nil)
	a, b, c := o.home, o.elsewhere(), o.elsewhere()
	next := o.move(b, o.ticket)
	o.reaches(a, "before it speaks")
	o.says(a, "so does this")
	for name, one := range map[string]*turnclient.Client{"from there": b, "from a third address": c, "from there again": b} {
		if got := o.move(one, o.ticket); !bytes.Equal(got, next) {
			t.Errorf("a lost answer's ticket, %s: %q and %q", name, next, got)
		}
	}
	raw := b.Build(stunmsg.RefreshRequest, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrMobilityTicket, o.ticket) })
	var answers [3][]byte
	for i := range answers {
		if i == 2 {
			o.says(b, "it speaks")
		}
		m, err := b.Exchange(within(t), raw)
		if err != nil || m.Type != stunmsg.RefreshRequest.Success() {
			t.Fatalf("transmission %d: %v, %v", i, m, err)
		}
		answers[i] = bytes.Clone(m.Raw)
	}
	if !bytes.Equal(answers[0], answers[1]) || !bytes.Equal(answers[0], answers[2]) {
		t.Error("a retransmitted request has another answer")
	}
	o.reaches(b, "after it spoke")
	wantCode(t, "the old address", a.Permit(within(t), o.peer), 437)
	if err := a.SendChannel(0x4000, []byte("from the old address")); err != nil {
		t.Fatal(err)
	}
	wantCode(t, "the old address, after what it sent", a.Permit(within(t), o.peer), 437)
	o.says(b, "and nothing else came")
	eventually(t, "the why-record", func() bool {
		return r.nodes.noted("n: allocation " + o.a.Relayed.String() + " moved from udp " + a.LocalAddr().String() + " to udp " + b.LocalAddr().String())
	})
	_, err := c.Move(within(t), o.ticket)
	wantCode(t, "a ticket that is used up", err, 400)
	_, err = b.Move(within(t), next)
	wantCode(t, "a ticket where the client is", err, 400)
	if refusals(r, 400, "ticket_used") != 1 || refusals(r, 400, "not_moved") != 1 {
		t.Errorf("counted %v", r.Stats().Refusals)
	}
	all := r.Allocations()
	if len(all) != 1 || all[0].Client != b.LocalAddr() || all[0].Relayed != o.a.Relayed || all[0].Channels != 1 || all[0].Permissions != 1 ||
		all[0].Stats.Up.Datagrams != 3 || all[0].Stats.Down.Datagrams != 2 {
		t.Errorf("listed as %+v", all)
	}
	// A request, too, shows that the client is there, and it is handled as if it had been there before.
	last := o.move(c, next)
	if err := c.Bind(within(t), 0x4000, o.peer); err != nil {
		t.Error(err)
	}
	o.reaches(c, "at the third address")
	wantCode(t, "a second allocation of the Node", allocateErr(t, o.elsewhere()), 486)
	wantCode(t, "one at the allocation's own address", allocateErr(t, c), 437)
	// Who shows the new ticket has had the answer: the one before is good no longer, whether or not a word came from there.
	d, e := o.elsewhere(), o.elsewhere()
	newest := o.move(e, o.move(d, last))
	_, err = d.Move(within(t), last)
	wantCode(t, "the ticket before the one that was shown", err, 400)
	o.reaches(c, "still")
	o.move(a, newest)
	o.says(a, "home again")
	o.reaches(a, "indeed")
	if r.CloseNode("n", causeBanned) != 1 {
		t.Error("a ban does not find it")
	}
	wantCode(t, "after its end", a.Permit(within(t), o.peer), 437)
}

// Whatever is wrong with a ticket has its answer and its count, and the allocation goes on.
func TestWrongTickets(t *testing.T) {
	r, other := newRig(t, nil), newRig(t, nil)
	o, foreign := newRoaming(t, r, nil), newRoaming(t, other, nil)
	b := o.elsewhere()
	bad := map[string][]byte{
		"empty": {}, "short": o.ticket[:31], "long": append(bytes.Clone(o.ticket), 'A'), "one letter": o.ticket[:1],
		"of another server": foreign.ticket, "no base64": bytes.Repeat([]byte{'!'}, 32), "zeros": make([]byte, 32),
		"of 400 bytes": bytes.Repeat([]byte{'A'}, 400),
	}
	for i := range o.ticket {
		forged := bytes.Clone(o.ticket)
		if forged[i]++; forged[i] == '[' || forged[i] == '{' || forged[i] == '.' || forged[i] == '`' || forged[i] == ':' {
			forged[i] = 'A'
		}
		bad["forged at "+string(rune('a'+i))] = forged
	}
	for name, ticket := range bad {
		_, err := b.Move(within(t), ticket)
		wantCode(t, name, err, 400)
	}
	if n := refusals(r, 400, "ticket"); n != uint64(len(bad)) {
		t.Errorf("%d counted of %d", n, len(bad))
	}
	thief := r.client(t, "thief", time.Hour)
	_, err := thief.Move(within(t), o.ticket)
	wantCode(t, "a stolen ticket", err, 441)
	allocate(t, thief)
	_, err = thief.Move(within(t), o.ticket)
	wantCode(t, "a stolen ticket, by one with an allocation", err, 441)
	if refusals(r, 441, "ticket_stolen") != 2 || !r.nodes.noted("thief: allocation not moved") {
		t.Errorf("counted %v, noted %v", r.Stats().Refusals, r.nodes.notes)
	}
	_, err = r.as(t, o.user, "guessed").Move(within(t), o.ticket)
	wantCode(t, "a stolen ticket without the password", err, 401)
	id := turnclient.NewID()
	m, err := b.Exchange(within(t), stunmsg.Begin(nil, stunmsg.RefreshRequest, id[:]).Attr(stunmsg.AttrMobilityTicket, o.ticket).Bytes())
	if err != nil || m.Type != stunmsg.RefreshRequest.Error() {
		t.Errorf("a stolen ticket alone: %v, %v", m, err)
	}
	second := o.elsewhere()
	allocate(t, second)
	_, err = second.Move(within(t), o.ticket)
	wantCode(t, "to where there is another allocation", err, 437)
	_, err = b.Allocate(within(t), func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrMobilityTicket, o.ticket) })
	wantCode(t, "an Allocate with a ticket", err, 400)
	o.says(o.home, "nothing has changed")
	o.reaches(o.home, "at all")
	if _, err := o.home.Refresh(within(t), 0); err != nil {
		t.Fatal(err)
	}
	_, err = b.Move(within(t), o.ticket)
	wantCode(t, "of an allocation that has ended", err, 437)
	if refusals(r, 437, "ticket_over") != 1 {
		t.Errorf("counted %v", r.Stats().Refusals)
	}
	for b2, n := o.elsewhere(), 0; r.Stats().Throttled == 0; n++ { // each costs as much as an Allocate
		if _, err := b2.Conn().Write(b2.Build(stunmsg.RefreshRequest, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrMobilityTicket, o.ticket) })); err != nil {
			t.Fatal(err)
		}
		if n == 0 || n%100 == 99 {
			_, _ = b2.Binding(within(t)) // so that none is lost for want of room
		}
		if n == 0 {
			_, _ = b2.Move(within(t), o.ticket) // learns the nonce
		}
		if n > 5000 {
			t.Fatal("tickets may be shown without limit")
		}
	}
}

func TestMobilityOff(t *testing.T) {
	r := newRig(t, nil)
	o := newRoaming(t, r, nil)
	set := *r.set.Load()
	set.Mobility = false
	r.Apply(set)
	b := o.elsewhere()
	_, err := b.Move(within(t), o.ticket)
	wantCode(t, "a ticket", err, 405)
	_, err = b.Allocate(within(t), turnclient.Mobile)
	wantCode(t, "an Allocate", err, 405)
	if refusals(r, 405, "mobility_off") != 2 {
		t.Errorf("counted %v", r.Stats().Refusals)
	}
	if a := allocate(t, b); a.Ticket != nil {
		t.Error("a ticket that nobody asked for")
	}
	o.says(o.home, "it stays where it is")
}

// A move is a Refresh: what that may do to lifetimes and families, it may, and no more.
func TestMovesAreRefreshes(t *testing.T) {
	r := newRig(t, settings(Settings{MaxSession: 10 * time.Hour, Lifetime: 10 * time.Minute, Mobility: true, TTLOnly: true}))
	with := func(c *turnclient.Client, ticket []byte, more func(*stunmsg.Builder)) (*stunmsg.Message, error) {
		return c.Do(within(t), stunmsg.RefreshRequest, func(w *stunmsg.Builder) {
			w.Attr(stunmsg.AttrMobilityTicket, ticket)
			more(w)
		})
	}
	seconds := func(n uint32) func(*stunmsg.Builder) {
		return func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrLifetime, n) }
	}
	o := newRoaming(t, r, turnclient.Both)
	b := o.elsewhere()
	_, err := with(b, o.ticket, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrLifetime, []byte{1}) })
	wantCode(t, "a short LIFETIME", err, 400)
	_, err = with(b, o.ticket, family(3))
	wantCode(t, "a family that there is not", err, 443)
	if b.SendChannel(0x4000, []byte("not moved")) != nil {
		t.Fatal("not sent")
	}
	o.says(o.home, "nor was that heard")
	if _, err = with(b, o.ticket, family(stunmsg.FamilyIPv6)); err != nil { // both come
		t.Fatal(err)
	}
	o.says(b, "from there")
	if all := r.Allocations(); len(all) != 1 || !all[0].Also.IsValid() || all[0].Client != b.LocalAddr() {
		t.Errorf("listed as %+v", all)
	}
	r.clock.add(2 * time.Hour) // longer than the credential
	wantCode(t, "a new allocation", allocateErr(t, o.elsewhere()), 401)
	c := o.elsewhere()
	m, err := with(c, o.r.tickets.sealed(t, r, 1), seconds(3600))
	if err != nil {
		t.Fatalf("with a credential that ended meanwhile: %v", err)
	}
	if v, _ := m.Get(stunmsg.AttrLifetime); string(v) != "\x00\x00\x02\x58" {
		t.Errorf("LIFETIME %x", v)
	}
	if _, err := with(o.elsewhere(), o.r.tickets.sealed(t, r, 2), seconds(0)); err != nil || r.Live() != 0 {
		t.Errorf("giving it back: %v, %d live", err, r.Live())
	}
	o = newRoaming(t, r, nil)
	r.clock.add(11 * time.Hour)
	_, err = o.elsewhere().Move(within(t), o.ticket)
	wantCode(t, "beyond max_session", err, 437)
	if r.Live() != 0 {
		t.Error("it lives on")
	}
	o = newRoaming(t, r, nil)
	r.nodes.set(&r.nodes.banned, "n", true)
	_, err = o.elsewhere().Move(within(t), o.ticket)
	wantCode(t, "a banned Node", err, 401)
}

// sealed is the ticket with a serial of the only allocation.
func (t *tickets) sealed(tb testing.TB, r *rig, serial uint32) []byte {
	tb.Helper()
	all := r.sessions()
	if len(all) != 1 {
		tb.Fatalf("%d allocations", len(all))
	}
	return []byte(t.seal(all[0].id, serial))
}

func TestTickets(t *testing.T) {
	k, err := newTickets()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, id := range []uint64{0, 1, 1 << 32, 1<<40 - 1} {
		for _, serial := range []uint32{0, 1, 1<<32 - 1} {
			s := k.seal(id, serial)
			if len(s) != 32 || strings.Contains(s, "\x00") || s != k.seal(id, serial) {
				t.Errorf("%q", s)
			}
			seen[s] = true
			if gotID, gotSerial, ok := k.open([]byte(s)); !ok || gotID != id || gotSerial != serial {
				t.Errorf("%d %d is read as %d %d %t", id, serial, gotID, gotSerial, ok)
			}
		}
	}
	if len(seen) != 12 {
		t.Errorf("%d tickets of 12", len(seen))
	}
}

// Only what was sealed opens.
func FuzzTicket(f *testing.F) {
	k, err := newTickets()
	if err != nil {
		f.Fatal(err)
	}
	good := []byte(k.seal(7, 3))
	f.Add(good, 0, byte(0))
	f.Add(good, 31, byte(1))
	f.Add(good[:31], 5, byte(0))
	f.Add([]byte{}, 0, byte(0))
	f.Fuzz(func(t *testing.T, b []byte, at int, change byte) {
		b = bytes.Clone(b)
		if len(b) > 0 {
			b[uint(at)%uint(len(b))] ^= change
		}
		if id, serial, ok := k.open(b); ok && k.seal(id, serial) != string(b) {
			t.Errorf("%q opens as %d %d", b, id, serial)
		}
	})
}

// What is said of a client's transport is true of all that it did there, and no counter goes back.
func TestMovedTraffic(t *testing.T) {
	r := newRig(t, nil)
	o := newRoaming(t, r, nil)
	o.says(o.home, "12345")
	if _, err := o.home.Binding(within(t)); err != nil { // what it has sent is counted then
		t.Fatal(err)
	}
	one := r.sessions()[0]
	check := func(what string, udp, tls Traffic) {
		t.Helper()
		got := r.Stats().Traffic
		for tr, want := range map[relay.Transport]Traffic{relay.UDP: udp, relay.TLS: tls} {
			if g := got[tr]; g.Live != want.Live || g.Opened != want.Opened || g.Total.Up.Bytes != want.Total.Up.Bytes {
				t.Errorf("%s: %s %+v", what, tr, g)
			}
		}
	}
	five, eight := Traffic{}, Traffic{}
	five.Total.Up.Bytes, eight.Total.Up.Bytes = 5, 8
	udp, tls := five, Traffic{}
	udp.Live, udp.Opened = 1, 1
	check("before", udp, tls)
	r.stats.move(one, relay.TLS)
	udp.Live, tls.Live = 0, 1
	check("moved", udp, tls)
	o.says(o.home, "12345678")
	if _, err := o.home.Refresh(within(t), 0); err != nil {
		t.Fatal(err)
	}
	tls = eight
	check("ended", udp, tls)
	r.stats.move(one, relay.UDP) // too late
	check("moved after its end", udp, tls)
}
