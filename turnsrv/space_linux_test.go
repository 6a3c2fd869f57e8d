//go:build !portable && (amd64 || arm64 || riscv64)

package turnsrv

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/netspace"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay/offload"
)

// alone runs the test in a process and a network namespace of its own, and reports whether this is that process. Where there
// are no rights for that, or the kernel cannot relay, it skips the test and says why.
func alone(t *testing.T) bool {
	t.Helper()
	return netspace.Alone(t, netspace.Needs{
		Programs: map[string]string{"ethtool": "ethtool"}, Parallel: true, // most of it is waiting
		Ready: func() error {
			k, err := offload.New(offload.Config{Flows: 4})
			if err != nil {
				return fmt.Errorf("needs a kernel that lets it: %w", err)
			}
			return k.Close()
		},
	})
}

// outside is a network namespace at the other end of a veth pair.
type outside struct{ *netspace.Space }

const (
	inside = "198.18.0.2" // the server's address
	beyond = "198.18.0."  // where clients and peers have theirs: 1, and 11 to 31
)

func newOutside(t *testing.T) *outside {
	t.Helper()
	o := &outside{netspace.New(t)}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "delete", "near").Run() }) // the namespace lingers
	netspace.Run(t, fmt.Sprintf("ip link add near type veth peer name far netns %d", o.Tid))
	netspace.Run(t, "ip address add "+inside+"/24 dev near")
	netspace.Run(t, "ip link set near up")
	o.Run("ip link set lo up")
	o.Run("ip address add " + beyond + "1/24 dev far")
	for i := 11; i <= 31; i++ {
		o.Run(fmt.Sprintf("ip address add %s%d/24 dev far", beyond, i))
	}
	o.Run("ip link set far up")
	o.Run("ethtool -K far tx off") // as from another machine, with checksums
	return o
}

func (o *outside) listen(t *testing.T, host int) (c *net.UDPConn, at netip.AddrPort) {
	t.Helper()
	o.In(func() { c, at = listenUDP(t, fmt.Sprintf("%s%d:0", beyond, host)) })
	return c, at
}

func (o *outside) dial(t *testing.T, s *testServer, transport, node string) (c *turnclient.Client) {
	t.Helper()
	o.In(func() { c = s.client(t, transport, s.plain, node) })
	return c
}

// startOffloaded begins a server that relays in the kernel, with clients and peers outside, and makes a call there until the
// kernel's way is trusted.
func startOffloaded(t *testing.T, edit func(*Config)) (*testServer, *outside) {
	t.Helper()
	o := newOutside(t)
	s := startServer(t, func(c *Config) {
		c.Listen, c.ListenTLS = []string{inside + ":0"}, nil
		c.Transports = []string{"udp", "tcp"}
		c.IPv4, c.IPv6 = Family{Bind: netip.MustParseAddr(inside)}, Family{}
		c.Peers = must(peers.New(peers.Config{Deny: []string{peers.Recommended}, Allow: []string{"198.18.0.0/24"}}))(t)
		c.Offload = OffloadRequire
		if edit != nil {
			edit(c)
		}
	})
	call := newTalk(t, s, o, "first", 11)
	eventually(t, "the way is trusted", func() bool {
		return slices.ContainsFunc(s.Offload().Proofs, func(p offload.Proof) bool { return p.State == "trusted" })
	})
	call.end()
	must(call.Refresh(within(t), 0))(t)
	return s, o
}

// talk is a client and a peer, each of which sends to the other all the time.
type talk struct {
	*turnclient.Client
	peer  *net.UDPConn
	at    netip.AddrPort
	relay netip.AddrPort
	sent  atomic.Uint64 // how often they have sent; each datagram begins with its number
	end   func()
}

func newTalk(t *testing.T, s *testServer, o *outside, node string, host int) *talk {
	t.Helper()
	c := &talk{Client: o.dial(t, s, "udp", node)}
	c.peer, c.at = o.listen(t, host)
	c.relay = must(c.Allocate(within(t), nil))(t).Relayed
	if err := c.Bind(within(t), 0x4000, c.at); err != nil {
		t.Fatal(err)
	}
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(5 * time.Millisecond)
		defer tick.Stop()
		for data := make([]byte, 100); ; {
			select {
			case <-stop:
				return
			case <-tick.C:
				binary.BigEndian.PutUint64(data, c.sent.Add(1))
				_ = c.SendChannel(0x4000, data)
				_, _ = c.peer.WriteToUDPAddrPort(data, c.relay)
			}
		}
	}()
	ended := false
	c.end = func() {
		if !ended {
			ended = true
			close(stop)
			<-done
		}
	}
	t.Cleanup(c.end)
	return c
}
