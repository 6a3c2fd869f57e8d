package turnsrv

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// offersTCP is for startServer.
func offersTCP(c *Config) { c.Settings.TCPRelays = true }

// denyAll is the policy of a server whose relays reach nothing but each other.
func denyAll(t *testing.T) *peers.Policy {
	t.Helper()
	return must(peers.New(peers.Config{Deny: []string{"0.0.0.0/0", "::/0"}}))(t)
}

// tcpPeer is a peer that listens.
func tcpPeer(t testing.TB) (*net.TCPListener, netip.AddrPort) {
	t.Helper()
	l := must(net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}))(t)
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().(*net.TCPAddr).AddrPort()
}

// patient gives a connection a deadline, after which a test has failed.
func patient[C net.Conn](t *testing.T, c C) C {
	t.Helper()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { c.Close() })
	return c
}

// connected is a client's data connection and its peer's end, made by a Connect.
func connected(t *testing.T, c *turnclient.Client, l *net.TCPListener) (data net.Conn, peer *net.TCPConn) {
	t.Helper()
	id := must(c.Connect(within(t), l.Addr().(*net.TCPAddr).AddrPort()))(t)
	peer = patient(t, must(l.AcceptTCP())(t))
	return patient(t, must(c.Join(within(t), id))(t)), peer
}

// crosses sends n random bytes and ends the writing, and wants them whole at the other end, and the end.
func crosses(t *testing.T, what string, from, to net.Conn, n int) {
	t.Helper()
	sent := make([]byte, n)
	_, _ = rand.Read(sent)
	wrote := make(chan error, 1)
	go func() {
		_, err := from.Write(sent)
		if err == nil {
			err = from.(interface{ CloseWrite() error }).CloseWrite()
		}
		wrote <- err
	}()
	got, err := io.ReadAll(to)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%s: %d bytes of %d came, %v", what, len(got), n, err)
	}
	if err := <-wrote; err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// RFC 6062 §5.2 and §5.4: a Connect from the relayed address, a ConnectionBind, bytes both ways, and each direction ends
// by itself.
func TestTCPRelayConnect(t *testing.T) {
	s := startServer(t, offersTCP)
	for _, transport := range []string{"tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			before := s.traces(t)
			c := s.client(t, transport, s.plain, "n")
			a := must(c.AllocateTCP(within(t), nil))(t)
			l, _ := tcpPeer(t)
			data, peer := connected(t, c, l)
			if from := peer.RemoteAddr().String(); from != a.Relayed.String() {
				t.Errorf("the peer sees %s, not %s", from, a.Relayed)
			}
			crosses(t, "to the peer", data, peer, 1<<20)
			crosses(t, "to the client", peer, data, 3<<20)
			live := s.Allocations()
			if len(live) != 1 || !live[0].TCP || live[0].Stats.Up.Bytes != 1<<20 || live[0].Stats.Down.Bytes != 3<<20 {
				t.Errorf("%+v", live)
			}
			data.Close()
			peer.Close()
			eventually(t, "the connection is gone", func() bool { return s.Allocations()[0].Peers == 0 })
			must(c.Refresh(within(t), 0))(t)
			c.Close()
			l.Close()
			s.unharmed(t, before)
		})
	}
}

// RFC 6062 §5.3: a peer connects. It needs a permission, and what it has sent before the ConnectionBind is not lost.
func TestTCPRelayAttempt(t *testing.T) {
	s := startServer(t, offersTCP)
	for _, transport := range []string{"tcp", "tls"} {
		t.Run(transport, func(t *testing.T) {
			c := s.client(t, transport, s.plain, "n")
			a := must(c.AllocateTCP(within(t), nil))(t)
			if stranger, err := net.Dial("tcp4", a.Relayed.String()); err == nil { // it may be reset within the dialling
				if n, err := patient(t, stranger).Read(make([]byte, 1)); err == nil {
					t.Errorf("a peer without a permission read %d bytes", n)
				}
			}
			peerAddr := netip.MustParseAddrPort("127.0.0.1:9")
			if err := c.Permit(within(t), peerAddr); err != nil {
				t.Fatal(err)
			}
			peer := patient(t, must(net.Dial("tcp4", a.Relayed.String()))(t)).(*net.TCPConn)
			if _, err := peer.Write([]byte("early ")); err != nil {
				t.Fatal(err)
			}
			var at turnclient.Attempt
			select {
			case at = <-c.Attempts():
			case <-time.After(20 * time.Second):
				t.Fatal("no ConnectionAttempt came")
			}
			if at.Peer.String() != peer.LocalAddr().String() {
				t.Errorf("the attempt is of %s, not %s", at.Peer, peer.LocalAddr())
			}
			data := patient(t, must(c.Join(within(t), at.ID))(t))
			got := make([]byte, 6)
			if _, err := io.ReadFull(data, got); err != nil || string(got) != "early " {
				t.Errorf("%q, %v", got, err)
			}
			crosses(t, "to the peer", data, peer, 100_000)
			crosses(t, "to the client", peer, data, 100_000)
			if d := s.Allocations()[0].Stats.Down.Drops; d[0] != 1 { // no_permission
				t.Errorf("%v", d)
			}
			must(c.Refresh(within(t), 0))(t)
		})
	}
}

// Two clients of this server reach each other's relays though the peer policy denies the address.
func TestTCPRelayToRelay(t *testing.T) {
	s := startServer(t, func(c *Config) {
		offersTCP(c)
		c.Peers = denyAll(t)
	})
	alice, bob := s.client(t, "tcp", s.plain, "a"), s.client(t, "tls", s.plain, "b")
	a, b := must(alice.AllocateTCP(within(t), nil))(t), must(bob.AllocateTCP(within(t), nil))(t)
	_, err := alice.Connect(within(t), b.Relayed)
	wantCode(t, "without a permission at the other end", err, 447)
	if err := bob.Permit(within(t), a.Relayed); err != nil {
		t.Fatal(err)
	}
	one := patient(t, must(alice.Join(within(t), must(alice.Connect(within(t), b.Relayed))(t)))(t))
	at := <-bob.Attempts()
	if at.Peer != a.Relayed {
		t.Errorf("%s, not %s", at.Peer, a.Relayed)
	}
	_, err = alice.Connect(within(t), b.Relayed)
	wantCode(t, "again", err, 446)
	other := patient(t, must(bob.Join(within(t), at.ID))(t))
	crosses(t, "from Alice", one, other, 1<<20)
	crosses(t, "from Bob", other, one, 1<<20)
	// A relay of UDP is no peer for TCP, nor the other way round.
	udp := s.client(t, "udp", s.plain, "c")
	u := must(udp.Allocate(within(t), nil))(t)
	_, err = alice.Connect(within(t), u.Relayed)
	wantCode(t, "a relay of UDP", err, 447)
	if err := udp.Bind(within(t), 0x4000, a.Relayed); err != nil {
		t.Fatal(err)
	}
	_ = udp.SendChannel(0x4000, []byte("lost"))
	eventually(t, "the datagram is dropped", func() bool { return s.Allocations()[2].Stats.Up.Dropped == 1 })
}

// RFC 6062 §5: what must be refused, and how.
func TestTCPRelayBadInput(t *testing.T) {
	s := startServer(t, offersTCP)
	l, peer := tcpPeer(t)
	for _, transport := range []string{"udp", "dtls"} {
		c := s.client(t, transport, s.plain, "n")
		_, err := c.AllocateTCP(within(t), nil)
		wantCode(t, "Allocate over "+transport, err, 400)
		must(c.Allocate(within(t), nil))(t)
		_, err = c.Connect(within(t), peer)
		wantCode(t, "Connect over "+transport, err, 400)
		_, err = c.Do(within(t), stunmsg.ConnectionBindRequest, func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrConnectionID, 1) })
		wantCode(t, "ConnectionBind over "+transport, err, 400)
	}
	c := s.client(t, "tcp", s.plain, "n")
	for name, add := range map[string]func(w *stunmsg.Builder){
		"EVEN-PORT":         func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrEvenPort, []byte{0}) },
		"RESERVATION-TOKEN": func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrReservationToken, make([]byte, 8)) },
		"DONT-FRAGMENT":     func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrDontFragment, nil) },
	} {
		_, err := c.AllocateTCP(within(t), add)
		wantCode(t, "Allocate with "+name, err, 400)
	}
	_, err := c.Do(within(t), stunmsg.AllocateRequest, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedTransport, []byte{1, 0, 0, 0}) })
	wantCode(t, "Allocate of another protocol", err, 442)
	_, err = c.Connect(within(t), peer)
	wantCode(t, "Connect without an allocation", err, 437)
	must(c.AllocateTCP(within(t), nil))(t)
	before := s.Stats()
	wantCode(t, "ChannelBind", c.Bind(within(t), 0x4000, peer), 400)
	for _, bad := range []struct {
		what string
		code int
		add  func(w *stunmsg.Builder)
	}{
		{"no address", 400, nil},
		{"an empty address", 400, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrXORPeerAddress, nil) }},
		{"half an address", 400, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrXORPeerAddress, []byte{0, 1, 2, 3, 4, 5}) }},
		{"port 0", 400, func(w *stunmsg.Builder) {
			w.XORAddr(stunmsg.AttrXORPeerAddress, netip.AddrPortFrom(peer.Addr(), 0))
		}},
		{"a denied peer", 403, func(w *stunmsg.Builder) {
			w.XORAddr(stunmsg.AttrXORPeerAddress, netip.MustParseAddrPort("10.0.0.1:80"))
		}},
		{"a listener of this server", 403, func(w *stunmsg.Builder) {
			w.XORAddr(stunmsg.AttrXORPeerAddress, netip.MustParseAddrPort(s.plain))
		}},
		{"the other family", 443, func(w *stunmsg.Builder) {
			w.XORAddr(stunmsg.AttrXORPeerAddress, netip.MustParseAddrPort("[::1]:80"))
		}},
		{"5 kB", 400, func(w *stunmsg.Builder) {
			w.XORAddr(stunmsg.AttrXORPeerAddress, peer).Attr(0xc000, make([]byte, 5<<10))
		}},
		{"what nobody knows", 420, func(w *stunmsg.Builder) { w.XORAddr(stunmsg.AttrXORPeerAddress, peer).Attr(0x7fff, nil) }},
		{"a closed port", 447, func(w *stunmsg.Builder) {
			w.XORAddr(stunmsg.AttrXORPeerAddress, netip.MustParseAddrPort("127.0.0.1:1"))
		}},
	} {
		_, err := c.Do(within(t), stunmsg.ConnectRequest, bad.add)
		wantCode(t, "Connect with "+bad.what, err, bad.code)
	}
	for what, v := range map[string][]byte{"no id": nil, "a short id": {1, 2, 3}, "a long id": {1, 2, 3, 4, 5}, "an unknown id": {1, 2, 3, 4}} {
		other := s.client(t, "tcp", s.plain, "n")
		_, err := other.Do(within(t), stunmsg.ConnectionBindRequest, func(w *stunmsg.Builder) {
			if v != nil {
				w.Attr(stunmsg.AttrConnectionID, v)
			}
		})
		wantCode(t, "ConnectionBind with "+what, err, 400)
	}
	_ = l.SetDeadline(time.Now().Add(50 * time.Millisecond))
	if conn, err := l.Accept(); err == nil {
		t.Errorf("a connection came from %s", conn.RemoteAddr())
	}
	_ = l.SetDeadline(time.Time{})

	id := must(c.Connect(within(t), peer))(t)
	must(l.Accept())(t)
	_, err = c.Connect(within(t), peer)
	wantCode(t, "Connect again", err, 446)
	_, err = s.client(t, "tcp", s.plain, "somebody else").Join(within(t), id)
	wantCode(t, "ConnectionBind by somebody else", err, 400)
	_, err = c.Do(within(t), stunmsg.ConnectionBindRequest, func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrConnectionID, id) })
	wantCode(t, "ConnectionBind on the control connection", err, 400)
	data := patient(t, must(c.Join(within(t), id))(t))
	_, err = c.Join(within(t), id)
	wantCode(t, "ConnectionBind again", err, 400)
	if n := s.Allocations()[2].Peers; n != 1 {
		t.Errorf("%d connections", n)
	}
	// On a data connection everything is data, also what looks like a request.
	if _, err := data.Write(c.Build(stunmsg.RefreshRequest, nil)); err != nil {
		t.Error(err)
	}
	must(c.Refresh(within(t), time.Minute))(t)
	if after := s.Stats(); after.Live != before.Live {
		t.Errorf("%d live, were %d", after.Live, before.Live)
	}
}

// One that ends without a word ends the other likewise.
func TestTCPRelayResets(t *testing.T) {
	s := startServer(t, offersTCP)
	for _, transport := range []string{"tcp", "tls"} {
		c := s.client(t, transport, s.plain, "n")
		must(c.AllocateTCP(within(t), nil))(t)
		l, _ := tcpPeer(t)
		data, peer := connected(t, c, l)
		_ = peer.SetLinger(0)
		peer.Close()
		if _, err := data.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the client of a peer that was reset got %v", transport, err)
		}
		data, peer = connected(t, c, l)
		if n, ok := data.(interface{ NetConn() net.Conn }); ok {
			data = n.NetConn()
		}
		_ = data.(*net.TCPConn).SetLinger(0)
		data.Close()
		if _, err := peer.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the peer of a client that was reset got %v", transport, err)
		}
		eventually(t, "the connections are gone", func() bool { return s.Allocations()[0].Peers == 0 })
		must(c.Refresh(within(t), 0))(t)
		eventually(t, "the allocation is gone", func() bool { return s.Live() == 0 })
	}
}

// The nonce of the control connection is good for a ConnectionBind from the same address, and for nothing else.
func TestTCPRelayNonceOfTheControlConnection(t *testing.T) {
	s := startServer(t, offersTCP)
	c := s.client(t, "tcp", s.plain, "n")
	must(c.AllocateTCP(within(t), nil))(t)
	_, at := tcpPeer(t)
	id := must(c.Connect(within(t), at))(t)
	bind := func() []byte {
		return c.Build(stunmsg.ConnectionBindRequest, func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrConnectionID, id) })
	}
	for _, try := range []struct {
		from string
		raw  []byte
		want stunmsg.Type
	}{
		{"127.0.0.2:0", bind(), stunmsg.ConnectionBindRequest.Error()},
		{"127.0.0.1:0", c.Build(stunmsg.AllocateRequest, nil), stunmsg.AllocateRequest.Error()},
		{"127.0.0.1:0", bind(), stunmsg.ConnectionBindRequest.Success()},
	} {
		other := must(turnclient.Dial(within(t), turnclient.Options{Transport: "tcp", Addr: s.plain, Local: try.from}))(t)
		defer other.Close()
		m := must(other.Exchange(within(t), try.raw))(t)
		if m.Type != try.want {
			t.Errorf("%s from %s: %04x, want %04x", m.Type, try.from, uint16(m.Type), uint16(try.want))
		}
		if v, ok := m.Get(stunmsg.AttrErrorCode); ok && int(v[2])*100+int(v[3]) != 438 {
			t.Errorf("%x, want 438", v)
		}
	}
}
