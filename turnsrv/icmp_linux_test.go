package turnsrv

import (
	"net"
	"net/netip"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// Clients on every transport are told that nobody listens at a peer's port, with relays of either family, and it keeps
// nothing from other peers.
func TestClientsAreToldOfICMP(t *testing.T) {
	s := startServer(t, func(c *Config) { c.Settings.ICMP = true })
	for _, transport := range []string{"udp", "tcp", "tls", "dtls"} {
		for name, ip := range map[string]string{"IPv4": "127.0.0.1", "IPv6": "[::1]"} {
			t.Run(transport+" "+name, func(t *testing.T) {
				var c *turnclient.Client
				want := stunmsg.ICMP{Type: 3, Code: 3}
				if name == "IPv6" {
					c, _ = s.allocated6(t, transport, "node")
					want = stunmsg.ICMP{Type: 1, Code: 4}
				} else {
					c, _ = s.allocated(t, transport, "node")
				}
				peer, at := listenUDP(t, ip+":0")
				gone, closed := listenUDP(t, ip+":0")
				_ = gone.Close()
				told := func(what string, send func() error) {
					t.Helper()
					if err := send(); err != nil {
						t.Fatal(err)
					}
					select {
					case e := <-c.PeerErrors():
						if e.Peer != closed || e.ICMP != want {
							t.Errorf("%s: told %+v, want %+v about %s", what, e, want, closed)
						}
					case <-within(t).Done():
						t.Fatalf("%s: told nothing", what)
					}
					echoes(t, c, 0x4000, peer, what)
				}
				wantCode(t, "bind", c.Bind(within(t), 0x4000, at), 0)
				wantCode(t, "bind", c.Bind(within(t), 0x4001, closed), 0)
				told("by a channel", func() error { return c.SendChannel(0x4001, []byte("hello")) })
				wantCode(t, "permit", c.Permit(within(t), netip.AddrPortFrom(closed.Addr(), 9)), 0)
				told("by a permission", func() error { return c.Send(closed, []byte("hello")) })
			})
		}
	}
}

// The other relays of this server are reached within the process, so ICMP says nothing of them; of their ports it does
// when they have ended, to those who may send there.
func TestICMPOfOwnRelays(t *testing.T) {
	s := startServer(t, func(c *Config) { c.Settings.ICMP = true })
	c, _ := s.allocated(t, "udp", "one")
	o, other := s.allocated(t, "udp", "another")
	wantCode(t, "bind", c.Bind(within(t), 0x4000, other.Relayed), 0)
	peer, _ := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	defer peer.Close()
	wantCode(t, "bind", c.Bind(within(t), 0x4001, peer.LocalAddr().(*net.UDPAddr).AddrPort()), 0)
	echo := func(text string) {
		t.Helper()
		if err := c.SendChannel(0x4000, []byte("hello")); err != nil {
			t.Fatal(err)
		}
		echoes(t, c, 0x4001, peer, text)
	}
	echo("while the other lives")
	select {
	case e := <-c.PeerErrors():
		t.Errorf("told %+v of a live relay", e)
	default:
	}
	if _, err := o.Refresh(within(t), 0); err != nil {
		t.Fatal(err)
	}
	echo("when it has ended")
	select {
	case e := <-c.PeerErrors():
		if e.Peer != other.Relayed {
			t.Errorf("told %+v", e)
		}
	case <-within(t).Done():
		t.Error("told nothing")
	}
}
