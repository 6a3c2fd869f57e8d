package turnsrv

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// defaultPeers is the peer policy of the defaults.
func defaultPeers(t *testing.T) func(*Config) {
	p := must(peers.New(peers.Config{Deny: []string{peers.Recommended}}))(t)
	return func(c *Config) { c.Peers = p }
}

// deniedPeers are addresses of cases 9 to 12, by the case. Each is asked for from a relay of IPv4 and one of IPv6.
var deniedPeers = map[string][]string{
	"Case09 loopback": {"127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.254", "0.0.0.0", "0.1.2.3"},
	"Case10 IPv6 forms of IPv4": {
		"::1", "::", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0",
		"::127.0.0.1", "::10.0.0.1", "::169.254.169.254", "::ffff:0:127.0.0.1",
	},
	"Case11 NAT64, 6to4 and Teredo": {
		"64:ff9b::127.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::127.0.0.1", "64:ff9b:1:fffe::a00:1",
		"2002:7f00:1::", "2002:a00:1::1", "2002:a9fe:a9fe::1", "2002:c0a8:101::",
		"2001:0:4136:e378:8000:63bf:80ff:fffe", // client 127.0.0.1
		"2001:0:4136:e378:8000:63bf:f5ff:fffe", // client 10.0.0.1
		"2001:0:a00:1:8000:63bf:3fff:fdd2",     // server 10.0.0.1
	},
	"Case12 special ranges": {
		"10.0.0.1", "10.255.255.255", "172.16.0.1", "172.31.255.255", "192.168.0.1", "192.168.255.255", "100.64.0.1", "100.127.255.255",
		"169.254.0.1", "169.254.169.254", "192.0.0.1", "192.0.0.192", "198.18.0.1", "198.19.255.255", "192.0.2.1", "198.51.100.1",
		"203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16",
		"fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "febf::1", "ff02::1", "ff0e::1", "2001:db8::1", "3fff::1", "100::1", "2001:2::1",
	},
}

// Cases 9 to 12: CreatePermission and ChannelBind are refused with 403, or 443 for the wrong family, and a Send
// indication goes nowhere.
func TestCase09to12DeniedPeers(t *testing.T) {
	s := startServer(t, defaultPeers(t))
	for name, all := range deniedPeers {
		t.Run(name, func(t *testing.T) {
			four, _ := s.allocated(t, "udp", "four")
			six, _ := s.allocated6(t, "udp", "six")
			for _, text := range all {
				ip := netip.MustParseAddr(text)
				for _, c := range []*turnclient.Client{four, six} {
					want := 403
					if ip.Is4() != (c == four) {
						want = 443
					}
					wantCode(t, "CreatePermission "+text, c.Permit(within(t), netip.AddrPortFrom(ip, 9)), want)
					wantCode(t, "ChannelBind "+text, c.Bind(within(t), 0x4000, netip.AddrPortFrom(ip, 9)), want)
					if err := c.Send(netip.AddrPortFrom(ip, 9), []byte("x")); err != nil {
						t.Fatal(err)
					}
				}
			}
			for _, c := range []*turnclient.Client{four, six} {
				must(c.Refresh(within(t), time.Minute))(t) // answered after the indications
			}
			for _, a := range s.Allocations() {
				if a.Permissions != 0 || a.Channels != 0 || a.Stats.Up.Datagrams != 0 || a.Stats.Up.Dropped != uint64(len(all)) {
					t.Errorf("%s has %d permissions, %d channels, and relayed %+v", a.Node, a.Permissions, a.Channels, a.Stats.Up)
				}
			}
			for _, c := range []*turnclient.Client{four, six} {
				must(c.Refresh(within(t), 0))(t)
			}
		})
	}
	s.alive(t)
}

// Cases 9 and 10 with somebody who listens: whatever the way, nothing arrives at a socket of a denied address.
func TestCase09and10NothingArrives(t *testing.T) {
	s := startServer(t, defaultPeers(t))
	for _, transport := range transports {
		for _, at := range []string{"127.0.0.1", "127.0.0.2", "::1"} {
			t.Run(transport+" to "+at, func(t *testing.T) {
				sock, peer := listenUDP(t, netip.AddrPortFrom(netip.MustParseAddr(at), 0).String())
				c, a := s.allocated(t, transport, "n")
				if peer.Addr().Is6() {
					_ = c.Close()
					c, a = s.allocated6(t, transport, "n")
				}
				// Where another live relay has the address, it is permitted whatever the port, and that reaches relays only.
				family := s.allocated
				if peer.Addr().Is6() {
					family = s.allocated6
				}
				_, b := family(t, "tcp", "other")
				if err := c.Permit(within(t), b.Relayed); err != nil {
					t.Fatal(err)
				}
				want := 403
				if b.Relayed.Addr() == peer.Addr() {
					want = 0
				}
				wantCode(t, "CreatePermission "+peer.String(), c.Permit(within(t), peer), want)
				wantCode(t, "ChannelBind "+peer.String(), c.Bind(within(t), 0x4000, peer), 403)
				wildcard := netip.AddrPortFrom(netip.IPv4Unspecified(), peer.Port())
				mapped := netip.AddrPortFrom(netip.AddrFrom16(peer.Addr().As16()), peer.Port())
				for _, p := range []netip.AddrPort{peer, wildcard, mapped, netip.AddrPortFrom(netip.IPv6Unspecified(), peer.Port())} {
					if p != peer {
						for _, err := range []error{c.Permit(within(t), p), c.Bind(within(t), 0x4000, p)} {
							if code := turnclient.Code(err); p.Addr() != peer.Addr() && code != 403 && code != 443 {
								t.Errorf("%s: %v", p, err)
							}
						}
					}
					if err := c.Send(p, []byte("denied")); err != nil {
						t.Fatal(err)
					}
					if err := c.SendChannel(0x4000, []byte("denied")); err != nil {
						t.Fatal(err)
					}
				}
				must(sock.WriteToUDPAddrPort([]byte("unsolicited"), a.Relayed))(t)
				must(c.Refresh(within(t), 0))(t)
				heardNothing(t, sock)
				select {
				case d := <-c.Data():
					t.Errorf("the client got %+v", d)
				default:
				}
			})
		}
	}
}

// Case 13: own listeners are no peers even where the policy allows their address; a live relayed address is one even
// where it does not.
func TestCase13OwnListeners(t *testing.T) {
	sock, protected := listenUDP(t, "127.0.0.1:0")
	open := must(peers.New(peers.Config{Deny: []string{peers.Recommended}, Allow: []string{"0.0.0.0/0", "::/0"}}))(t)
	s := startServer(t, func(c *Config) {
		c.Peers = open
		c.Protected = func() []netip.AddrPort { return []netip.AddrPort{protected} }
	})
	four, a := s.allocated(t, "udp", "four")
	six, _ := s.allocated6(t, "udp", "six")
	bindings := s.Stats().Bindings
	for name, p := range map[string]netip.AddrPort{
		"plain": netip.MustParseAddrPort(s.plain), "TLS": netip.MustParseAddrPort(s.tls), "protected": protected,
	} {
		for _, ip := range []string{"127.0.0.1", "::ffff:127.0.0.1"} {
			at := netip.AddrPortFrom(netip.MustParseAddr(ip), p.Port())
			c := four
			if at.Addr().Is6() {
				c = six
			}
			wantCode(t, name+" CreatePermission", c.Permit(within(t), at), 403)
			wantCode(t, name+" ChannelBind", c.Bind(within(t), 0x4000, at), 403)
		}
		// A permission for the address is for every port of it, but not for this one.
		if err := four.Permit(within(t), netip.AddrPortFrom(p.Addr(), 9)); err != nil {
			t.Fatal(err)
		}
		id := turnclient.NewID()
		if err := four.Send(p, stunmsg.Begin(nil, stunmsg.BindingRequest, id[:]).Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	must(four.Refresh(within(t), time.Minute))(t)
	heardNothing(t, sock)
	if n := s.Stats().Bindings - bindings; n != 0 {
		t.Errorf("the server got %d Bindings from its own relay", n)
	}
	other, b := s.allocated(t, "tcp", "other")
	if err := other.Bind(within(t), 0x4000, a.Relayed); err != nil {
		t.Fatal(err)
	}
	if err := four.Bind(within(t), 0x4001, b.Relayed); err != nil {
		t.Fatal(err)
	}
	if err := other.SendChannel(0x4000, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if d, err := four.Receive(within(t)); err != nil || string(d.Data) != "hello" || d.Channel != 0x4001 {
		t.Errorf("relay to relay: %+v, %v", d, err)
	}
	s.alive(t)
}

// Case 14: of an allowed and a denied peer in one request neither is installed, whichever comes first.
func TestCase14AllOrNone(t *testing.T) {
	s := startServer(t, nil)
	c, a := s.allocated(t, "tcp", "n")
	sock, allowed := listenUDP(t, "127.0.0.1:0")
	for _, denied := range []string{"10.0.0.1:9", "169.254.169.254:80", "[2001:db8::1]:9", s.plain} {
		d := netip.MustParseAddrPort(denied)
		for _, order := range [][]netip.AddrPort{{allowed, d}, {d, allowed}} {
			if code := turnclient.Code(c.Permit(within(t), order...)); code != 403 && code != 443 {
				t.Errorf("%v: %d", order, code)
			}
		}
	}
	if all := s.Allocations(); len(all) != 1 || all[0].Permissions != 0 {
		t.Errorf("installed: %+v", all)
	}
	must(sock.WriteToUDPAddrPort([]byte("x"), a.Relayed))(t)
	if err := c.Send(allowed, []byte("x")); err != nil {
		t.Fatal(err)
	}
	must(c.Refresh(within(t), time.Minute))(t)
	heardNothing(t, sock)
}

// Case 15: data without a permission is dropped and not answered, either way, on every transport.
func TestCase15DataWithoutPermission(t *testing.T) {
	s := startServer(t, nil)
	for _, transport := range transports {
		t.Run(transport, func(t *testing.T) {
			c, a := s.allocated(t, transport, "n")
			sock, peer := listenUDP(t, "127.0.0.1:0")
			for range 10 {
				if err := c.Send(peer, []byte("x")); err != nil {
					t.Fatal(err)
				}
				for _, number := range []uint16{0x4000, 0x4fff, 0x5000, 0x7fff} {
					if err := c.SendChannel(number, []byte("x")); err != nil {
						t.Fatal(err)
					}
				}
				must(sock.WriteToUDPAddrPort([]byte("unsolicited"), a.Relayed))(t)
			}
			eventually(t, "all is dropped", func() bool {
				all := s.Allocations()
				return len(all) == 1 && all[0].Stats.Down.Dropped == 10 && all[0].Stats.Up.Dropped == 50
			})
			if err := c.Bind(within(t), 0x4000, peer); err != nil {
				t.Fatal(err)
			}
			select {
			case d := <-c.Data():
				t.Errorf("the client got %+v", d)
			default:
			}
			echoes(t, c, 0x4000, sock, "permitted")
			must(c.Refresh(within(t), 0))(t)
		})
	}
	// Indications of somebody without an allocation.
	c := s.client(t, "udp", s.plain, "n")
	sock, peer := listenUDP(t, "127.0.0.1:0")
	_ = c.Send(peer, []byte("x"))
	_ = c.SendChannel(0x4000, []byte("x"))
	must(c.Binding(within(t)))(t)
	heardNothing(t, sock)
	s.alive(t)
}

// Case 23: there are no TCP relays, and no connection is tried.
func TestCase23TCPRelays(t *testing.T) {
	s := startServer(t, nil)
	l := must(net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)}))(t)
	defer l.Close()
	peer := l.Addr().(*net.TCPAddr).AddrPort()
	for _, transport := range transports {
		c := s.client(t, transport, s.plain, "n")
		_, err := c.Do(within(t), stunmsg.AllocateRequest, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedTransport, []byte{6, 0, 0, 0}) })
		wantCode(t, transport+": Allocate", err, 442)
		must(c.Allocate(within(t), nil))(t)
		connect := func(w *stunmsg.Builder) { w.XORAddr(stunmsg.AttrXORPeerAddress, peer) }
		if _, err = c.Do(within(t), stunmsg.ConnectRequest, connect); turnclient.Code(err) == 0 {
			t.Errorf("%s: Connect: %v", transport, err)
		}
		if _, err = c.Do(within(t), stunmsg.ConnectionBindRequest, nil); turnclient.Code(err) == 0 {
			t.Errorf("%s: ConnectionBind: %v", transport, err)
		}
		must(c.Refresh(within(t), 0))(t)
	}
	_ = l.SetDeadline(time.Now().Add(100 * time.Millisecond))
	if c, err := l.Accept(); err == nil {
		t.Errorf("a connection came from %s", c.RemoteAddr())
	}
}
