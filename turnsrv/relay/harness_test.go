package relay

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

const patience = 5 * time.Second

var (
	loopback4 = netip.MustParseAddr("127.0.0.1")
	loopback6 = netip.IPv6Loopback()
)

// fakeControl is a Handler that answers each message with itself and tells the test where it came from.
type fakeControl struct {
	mu   sync.Mutex
	hook func(src Source, msg []byte)
	seen chan Source
}

func (f *fakeControl) HandleSTUN(src Source, msg []byte) {
	f.mu.Lock()
	hook := f.hook
	f.mu.Unlock()
	if hook != nil {
		hook(src, msg)
		return
	}
	src.Send(msg)
	select {
	case f.seen <- src:
	default:
	}
}

func (f *fakeControl) set(hook func(src Source, msg []byte)) {
	f.mu.Lock()
	f.hook = hook
	f.mu.Unlock()
}

// world is a running Plane with a UDP listener in each family.
type world struct {
	testing.TB
	*Plane
	control *fakeControl
	udp4    netip.AddrPort
	udp6    netip.AddrPort
	wild    netip.AddrPort // 0.0.0.0, and :: with the same port
	stop    context.CancelFunc
	ended   chan error
}

func newWorld(t testing.TB, change ...func(*Config)) *world {
	t.Helper()
	w := &world{TB: t, control: &fakeControl{seen: make(chan Source, 1024)}, ended: make(chan error, 1)}
	cfg := Config{
		Handler: w.control, IPv4: Family{Bind: loopback4}, IPv6: Family{Bind: loopback6}, PortMin: 30000, PortMax: 32000, Workers: 2, ICMP: true,
	}
	for _, c := range change {
		c(&cfg)
	}
	var err error
	if w.Plane, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	if w.udp4, err = w.ListenUDP(netip.AddrPortFrom(loopback4, 0)); err != nil {
		t.Fatal(err)
	}
	if w.udp6, err = w.ListenUDP(netip.AddrPortFrom(loopback6, 0)); err != nil {
		t.Fatal(err)
	}
	for try := 0; ; try++ { // the port that the one family gives may be somebody's in the other
		if w.wild, err = w.ListenUDP(netip.AddrPortFrom(netip.IPv4Unspecified(), 0)); err != nil {
			t.Fatal(err)
		}
		if _, err = w.ListenUDP(netip.AddrPortFrom(netip.IPv6Unspecified(), w.wild.Port())); err == nil {
			break
		}
		if try == 5 {
			t.Fatalf("both families on one port: %v", err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go func() { w.ended <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		select {
		case err := <-w.ended:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	return w
}

// endpoint is a UDP socket of a client or a peer.
type endpoint struct {
	testing.TB
	*net.UDPConn
	addr netip.AddrPort
}

func newEndpoint(t testing.TB, ip netip.Addr) *endpoint {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
	if err != nil {
		t.Fatal(err)
	}
	_ = c.SetReadBuffer(4 << 20)
	t.Cleanup(func() { _ = c.Close() })
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return &endpoint{t, c, netip.AddrPortFrom(a.Addr().Unmap(), a.Port())}
}

func (e *endpoint) to(a netip.AddrPort, b []byte) {
	e.Helper()
	if _, err := e.WriteToUDPAddrPort(b, a); err != nil {
		e.Fatal(err)
	}
}

// next is the next datagram and where it came from.
func (e *endpoint) next() ([]byte, netip.AddrPort) {
	e.Helper()
	b := make([]byte, 64<<10)
	_ = e.SetReadDeadline(time.Now().Add(patience))
	n, from, err := e.ReadFromUDPAddrPort(b)
	if err != nil {
		e.Fatal(err)
	}
	return b[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port())
}

func (e *endpoint) expect(from netip.AddrPort, want []byte) {
	e.Helper()
	got, a := e.next()
	if a != from || !bytes.Equal(got, want) {
		e.Fatalf("got %d bytes %.40x from %s, want %d bytes %.40x from %s", len(got), got, a, len(want), want, from)
	}
}

// silent checks that nothing arrived before the marker, which the caller has just made somebody send.
func (e *endpoint) silent(marker []byte) {
	e.Helper()
	if got, from := e.next(); !bytes.Equal(got, marker) {
		e.Fatalf("unexpected %d bytes %.40x from %s", len(got), got, from)
	}
}

func (e *endpoint) nothing(d time.Duration) {
	e.Helper()
	_ = e.SetReadDeadline(time.Now().Add(d))
	b := make([]byte, 64<<10)
	if n, from, err := e.ReadFromUDPAddrPort(b); !errors.Is(err, os.ErrDeadlineExceeded) {
		e.Fatalf("unexpected %d bytes %.40x from %s (%v)", n, b[:n], from, err)
	}
}

// client is a UDP client that the server has seen.
type client struct {
	*endpoint
	server netip.AddrPort
	src    Source
}

func (w *world) client(server netip.AddrPort) *client {
	w.Helper()
	c := &client{endpoint: newEndpoint(w, server.Addr()), server: server}
	c.src = w.greet(c.endpoint, server)
	return c
}

// greet lets the server see an endpoint, and returns the Source that it saw.
func (w *world) greet(e *endpoint, server netip.AddrPort) Source {
	w.Helper()
	msg := binding()
	e.to(server, msg)
	e.expect(server, msg)
	for {
		select {
		case src := <-w.control.seen:
			if src.Client == e.addr {
				return src
			}
		case <-time.After(patience):
			w.Fatal("the handler was not called")
		}
	}
}

func binding() []byte {
	var id [12]byte
	binary.BigEndian.PutUint64(id[:], uint64(time.Now().UnixNano()))
	return bytes.Clone(stunmsg.Begin(nil, stunmsg.BindingRequest, id[:]).Bytes())
}

func (c *client) open(o OpenOptions) *Relay {
	c.Helper()
	if o.Family == 0 {
		if o.Family = 4; !c.src.Client.Addr().Is4() {
			o.Family = 6
		}
	}
	r, err := c.src.plane.Open(c.src, o)
	if err != nil {
		c.Fatal(err)
	}
	return r
}

func (c *client) send(b []byte) { c.Helper(); c.to(c.server, b) }

func channelData(number uint16, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, number)
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	return append(b, data...)
}

func sendIndication(peer netip.AddrPort, data []byte) []byte {
	b := stunmsg.Begin(nil, stunmsg.SendIndication, bytes.Repeat([]byte{7}, 12))
	return bytes.Clone(b.XORAddr(stunmsg.AttrXORPeerAddress, peer).Attr(stunmsg.AttrData, data).Bytes())
}

// dataOf takes a Data indication apart.
func dataOf(t testing.TB, b []byte) (netip.AddrPort, []byte) {
	t.Helper()
	var m stunmsg.Message
	if err := m.Parse(b); err != nil || m.Type != stunmsg.DataIndication {
		t.Fatalf("%.40x is no Data indication: %v", b, err)
	}
	a, _ := m.Get(stunmsg.AttrXORPeerAddress)
	peer, err := stunmsg.XORAddr(a, m.TransactionID())
	if err != nil {
		t.Fatal(err)
	}
	data, ok := m.Get(stunmsg.AttrData)
	if !ok {
		t.Fatal("a Data indication without data")
	}
	return peer, data
}

// icmpOf takes a Data indication with ICMP apart.
func icmpOf(t testing.TB, b []byte) (netip.AddrPort, stunmsg.ICMP) {
	t.Helper()
	var m stunmsg.Message
	if err := m.Parse(b); err != nil || m.Type != stunmsg.DataIndication {
		t.Fatalf("%.60x is no Data indication: %v", b, err)
	}
	a, _ := m.Get(stunmsg.AttrXORPeerAddress)
	peer, err := stunmsg.XORAddr(a, m.TransactionID())
	v, _ := m.Get(stunmsg.AttrICMP)
	e, ok := stunmsg.ParseICMP(v)
	if _, data := m.Get(stunmsg.AttrData); err != nil || !ok || data {
		t.Fatalf("%x: %v, ICMP %v, data %v", b, err, ok, data)
	}
	return peer, e
}

// isICMP reports whether b is a Data indication with ICMP.
func isICMP(b []byte) bool {
	var m stunmsg.Message
	if m.Parse(b) != nil || m.Type != stunmsg.DataIndication {
		return false
	}
	_, ok := m.Get(stunmsg.AttrICMP)
	return ok
}

// counted waits for a relay's counters, which are written after the datagrams have left.
func counted(t testing.TB, r *Relay, want func(s Stats) bool) {
	t.Helper()
	for end := time.Now().Add(patience); !want(r.Stats()); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("counted %+v", r.Stats())
		}
	}
}

func within(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// permit, bind, revoke and unbind change what is open where nothing can be in the way.

func (r *Relay) permit(ip netip.Addr, scope Scope) { must(r.Permit(Grant{ip, scope})) }

func (r *Relay) bind(number uint16, peer netip.AddrPort, scope Scope) {
	must(r.Bind(number, peer, scope, nil))
}

func (r *Relay) revoke(ip netip.Addr) {
	must(r.change(func(a *access, _ int64) error {
		if p := a.perms.get(addrKey(ip)); p != nil {
			a.drop(p)
		}
		return nil
	}))
}

func (r *Relay) unbind(number uint16) {
	must(r.change(func(a *access, _ int64) error {
		if c := a.channel(number); c != nil {
			a.unbind(c)
		}
		return nil
	}))
}

func must(err error) {
	if err != nil && !errors.Is(err, ErrClosed) {
		panic(err)
	}
}
