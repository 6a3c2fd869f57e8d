package turnsrv

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/netspace"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// TestOutage takes the network from 200 clients on TCP and TLS for 20 s, in the middle of whatever they do: none is
// lost.
func TestOutage(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip of iproute2")
	}
	t.Parallel()
	const (
		count  = 200
		outage = 20 * time.Second
		server = "10.99.0.1"
		client = "10.99.0.2"
	)
	there, here := netspace.New(t), netspace.New(t)
	there.Run(fmt.Sprintf("ip link add vs type veth peer name vc netns %d", here.Tid))
	for n, commands := range map[*netspace.Space][]string{
		there: {"addr add " + server + "/24 dev vs", "link set vs up", "link set lo up"},
		here:  {"addr add " + client + "/24 dev vc", "link set vc up", "link set lo up"},
	} {
		for _, c := range commands {
			n.Run("ip " + c)
		}
	}
	var passed []*net.TCPListener
	there.In(func() {
		for _, port := range []string{"3478", "5349"} {
			l, err := net.Listen("tcp4", server+":"+port)
			if err != nil {
				t.Error(err)
				return
			}
			passed = append(passed, l.(*net.TCPListener))
		}
	})
	s := startServer(t, func(c *Config) {
		c.Listen, c.ListenTLS = []string{server + ":3478"}, []string{server + ":5349"}
		c.Transports, c.Passed = []string{"tcp", "tls"}, passed
		c.PortMin, c.PortMax = 14000, 14999
	})
	o := outageTest{T: t, server: s, here: here}
	for i := range count {
		o.join(i)
	}
	wrong := " lladdr 02:00:00:00:ee:ee nud permanent dev "
	there.Run("ip neigh replace " + client + wrong + "vs")
	here.Run("ip neigh replace " + server + wrong + "vc")
	o.during(outage)
	there.Run("ip neigh del " + client + " dev vs")
	here.Run("ip neigh del " + server + " dev vc")
	o.after()
	if n := s.Live(); n != count {
		t.Errorf("%d of %d allocations are left", n, count)
	}
}

// outageTest is the clients of TestOutage. They are of four kinds: one is sent data, one has sent half a frame, one
// sends data, and one does nothing.
type outageTest struct {
	*testing.T
	server  *testServer
	here    *netspace.Space
	clients []*turnclient.Client
	relays  []turnclient.Allocation
	peers   []*net.UDPConn
}

const kinds = 4

func (o *outageTest) join(i int) {
	o.Helper()
	transport, addr := "tcp", o.server.plain
	if i/kinds%2 == 1 {
		transport, addr = "tls", o.server.tls
	}
	cred := must(o.server.keys.Issue(fmt.Sprintf("n%d", i), time.Hour, time.Now()))(o)
	ctx, cancel := context.WithTimeout(o.Context(), 20*time.Second)
	defer cancel()
	var c *turnclient.Client
	var err error
	o.here.In(func() {
		c, err = turnclient.Dial(ctx, turnclient.Options{
			Transport: transport, Addr: addr, Username: cred.Username, Password: cred.Password, Timeout: 90 * time.Second,
		})
	})
	if err != nil {
		o.Fatal(err)
	}
	o.Cleanup(func() { _ = c.Close() })
	o.clients = append(o.clients, c)
	o.relays = append(o.relays, must(c.Allocate(ctx, nil))(o))
	conn, peer := listenUDP(o.T, "127.0.0.1:0")
	o.peers = append(o.peers, conn)
	if err := c.Bind(ctx, 0x4000, peer); err != nil {
		o.Fatal(err)
	}
	if i%kinds == 1 {
		if _, err := c.Conn().Write(half(c)[:600]); err != nil {
			o.Fatal(err)
		}
	}
}

// half is a frame that is sent in two parts.
func half(c *turnclient.Client) []byte { return c.Frame(nil, 0x4000, make([]byte, 1200)) }

// during is a small call for as long as the network is away.
func (o *outageTest) during(d time.Duration) {
	tick := time.NewTicker(time.Second / 20)
	defer tick.Stop()
	data := make([]byte, 1000)
	for end := time.Now().Add(d); time.Now().Before(end); <-tick.C {
		for i, c := range o.clients {
			switch i % kinds {
			case 0:
				_, _ = o.peers[i].WriteToUDPAddrPort(data, o.relays[i].Relayed)
			case 2:
				if time.Until(end) > d-time.Second { // as much as fits into the socket's buffer
					_ = c.SendChannel(0x4000, data)
				}
			}
		}
	}
}

// after has every client go on as if nothing had been.
func (o *outageTest) after() {
	var all sync.WaitGroup
	for i, c := range o.clients {
		all.Go(func() {
			if i%kinds == 1 {
				if _, err := c.Conn().Write(half(c)[600:]); err != nil {
					o.Errorf("client %d: %v", i, err)
					return
				}
			}
			ctx, cancel := context.WithTimeout(o.Context(), 90*time.Second)
			defer cancel()
			if _, err := c.Refresh(ctx, 10*time.Minute); err != nil {
				o.Errorf("client %d: %v", i, err)
				return
			}
			if err := c.SendChannel(0x4000, []byte("still here")); err != nil {
				o.Errorf("client %d: %v", i, err)
				return
			}
			b := make([]byte, 2000)
			_ = o.peers[i].SetReadDeadline(time.Now().Add(90 * time.Second))
			for {
				n, err := o.peers[i].Read(b)
				if err != nil {
					o.Errorf("client %d: its peer hears nothing: %v", i, err)
					return
				}
				if string(b[:n]) == "still here" {
					return
				}
			}
		})
	}
	all.Wait()
}
