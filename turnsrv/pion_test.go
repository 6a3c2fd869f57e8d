package turnsrv

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/pion/turn/v4"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// The same random traffic goes through this server and through pion/turn as it comes, and must come out the same at
// every client and peer, datagram by datagram and in the order of each flow; every request must get the same answer.
// Payloads stay below 1600 bytes, where pion cuts datagrams off, and channels within RFC 8656: pion binds those of
// RFC 5766 too. Nobody allocates twice: pion's reader of the first relay may end the second allocation.

const (
	fenceChannel = 0x4fff
	pionClients  = 4 // of each of UDP and TCP
	pionPeers    = 4
)

// compared is one of the two servers with clients and peers of its own. Peers have the same IP addresses on both
// sides; ports, and everything random, are told apart by index.
type compared struct {
	*testing.T
	name    string
	clients []*turnclient.Client
	relays  []netip.AddrPort
	peers   []*net.UDPConn
	at      []netip.AddrPort // of peers
	fence   *net.UDPConn
	fenceAt netip.AddrPort
	names   map[netip.AddrPort]string
	got     map[string][]string // by flow
	in      func(func())        // calls a function where clients are
	apart   bool                // the kernel relays some, which has no order with what the sockets do
}

func (s *compared) add(t testing.TB, addr, transport, user, password string) {
	var c *turnclient.Client
	s.in(func() {
		c = must(turnclient.Dial(within(s.T), turnclient.Options{Transport: transport, Addr: addr, Username: user, Password: password}))(t)
	})
	t.Cleanup(func() { _ = c.Close() })
	s.clients = append(s.clients, c)
	a := must(c.Allocate(within(s.T), nil))(s)
	s.relays = append(s.relays, a.Relayed)
	s.names[a.Relayed] = fmt.Sprintf("relay %d", len(s.relays)-1)
	if s.apart { // no channel: the kernel would take it
		if err := c.Permit(within(s.T), s.fenceAt); err != nil {
			s.Fatal(err)
		}
		return
	}
	if err := c.Bind(within(s.T), fenceChannel, s.fenceAt); err != nil {
		s.Fatal(err)
	}
}

// newCompared has peers at addresses that begin with prefix.
func newCompared(t *testing.T, name, prefix string, in func(func())) *compared {
	s := &compared{T: t, name: name, names: map[netip.AddrPort]string{}, got: map[string][]string{}, in: in}
	in(func() { s.fence, s.fenceAt = listenUDP(t, prefix+"31:0") })
	for i := range pionPeers {
		// Two of them share an address, and so a permission.
		var p *net.UDPConn
		var at netip.AddrPort
		in(func() { p, at = listenUDP(t, fmt.Sprintf("%s%d:0", prefix, 10+max(i, 1))) })
		s.peers, s.at = append(s.peers, p), append(s.at, at)
		s.names[at] = fmt.Sprintf("peer %d", i)
	}
	return s
}

func oursCompared(t *testing.T) *compared {
	srv := startServer(t, func(c *Config) {
		c.Peers = must(peers.New(peers.Config{Deny: []string{peers.Recommended}, Allow: []string{"127.0.0.0/8"}}))(t)
	})
	s := newCompared(t, "ours", "127.0.2.", func(f func()) { f() })
	s.addAll(srv)
	return s
}

// addAll adds clients of one of our servers.
func (s *compared) addAll(srv *testServer) {
	t := s.T
	cred := must(srv.keys.Issue("node", time.Hour, time.Now()))(t)
	for range pionClients {
		s.add(t, srv.plain, "udp", cred.Username, cred.Password)
		s.add(t, srv.plain, "tcp", cred.Username, cred.Password)
	}
}

func pionCompared(t *testing.T) *compared {
	lo := net.IPv4(127, 0, 0, 1)
	pc := must(net.ListenPacket("udp4", "127.0.0.1:0"))(t)
	ln := must(net.Listen("tcp4", "127.0.0.1:0"))(t)
	relays := &turn.RelayAddressGeneratorStatic{RelayAddress: lo, Address: "127.0.0.1"}
	srv := must(turn.NewServer(turn.ServerConfig{
		Realm: "crolang",
		AuthHandler: func(user, realm string, _ net.Addr) ([]byte, bool) {
			return turn.GenerateAuthKey(user, realm, "password"), true
		},
		PacketConnConfigs: []turn.PacketConnConfig{{PacketConn: pc, RelayAddressGenerator: relays}},
		ListenerConfigs:   []turn.ListenerConfig{{Listener: ln, RelayAddressGenerator: relays}},
	}))(t)
	t.Cleanup(func() { _ = srv.Close() })
	s := newCompared(t, "pion", "127.0.2.", func(f func()) { f() })
	for range pionClients {
		s.add(t, pc.LocalAddr().String(), "udp", "user", "password")
		s.add(t, ln.Addr().String(), "tcp", "user", "password")
	}
	return s
}

// step is one thing that happens on both sides.
type step struct {
	what         string
	client, peer int // peer: below pionPeers a peer, above it the relay of a client
	number       uint16
	data         []byte
}

func (s *compared) address(peer int) netip.AddrPort {
	if peer < pionPeers {
		return s.at[peer]
	}
	return s.relays[peer-pionPeers]
}

// do takes one step and returns the code of the answer where it is a request.
func (s *compared) do(o step) int {
	c, peer := s.clients[o.client], s.address(o.peer)
	var err error
	switch o.what {
	case "permit":
		return turnclient.Code(c.Permit(within(s.T), peer))
	case "bind":
		return turnclient.Code(c.Bind(within(s.T), o.number, peer))
	case "channel":
		err = c.SendChannel(o.number, o.data)
	case "send":
		err = c.Send(peer, o.data)
	case "send without data":
		id := turnclient.NewID()
		_, err = c.Conn().Write(stunmsg.Begin(nil, stunmsg.SendIndication, id[:]).XORAddr(stunmsg.AttrXORPeerAddress, peer).Bytes())
	case "send to no peer":
		id := turnclient.NewID()
		_, err = c.Conn().Write(stunmsg.Begin(nil, stunmsg.SendIndication, id[:]).Attr(stunmsg.AttrData, o.data).Bytes())
	case "too long":
		b := c.Frame(nil, o.number, o.data)
		binary.BigEndian.PutUint16(b[2:], uint16(len(o.data)+1))
		_, err = c.Conn().Write(b)
	case "with a tail":
		_, err = c.Conn().Write(append(c.Frame(nil, o.number, o.data), 0, 0, 0))
	case "from peer":
		_, err = s.peers[o.peer].WriteToUDPAddrPort(o.data, s.relays[o.client])
	}
	if err != nil {
		s.Fatalf("%s: %s: %v", s.name, o.what, err)
	}
	return 0
}

// settle waits until everything sent has arrived, and notes it.
//
// A client's datagrams are handled in order, so what reaches the fence has nothing of that client behind it but what
// was handed over between relays of this server in the same round: the second pass waits for the end of that.
func (s *compared) settle() {
	mark, buf := []byte("fence"), make([]byte, 2000)
	for range 2 {
		for _, c := range s.clients {
			send := func() error { return c.SendChannel(fenceChannel, mark) }
			if s.apart {
				send = func() error { return c.Send(s.fenceAt, mark) }
			}
			if err := send(); err != nil {
				s.Fatal(err)
			}
		}
		for n := range s.clients {
			_ = s.fence.SetReadDeadline(time.Now().Add(20 * time.Second))
			if _, _, err := s.fence.ReadFromUDPAddrPort(buf); err != nil {
				s.Fatalf("%s: %d of %d fences: %v", s.name, n, len(s.clients), err)
			}
		}
	}
	for i, c := range s.clients {
		_ = must(s.fence.WriteToUDPAddrPort(mark, s.relays[i]))(s)
		for {
			d := must(c.Receive(within(s.T)))(s)
			if d.Channel == fenceChannel || d.Peer == s.fenceAt {
				break
			}
			flow := fmt.Sprintf("at client %d from %s, channel %x", i, s.names[d.Peer], d.Channel)
			s.got[flow] = append(s.got[flow], string(d.Data))
		}
	}
	for i, p := range s.peers {
		_ = must(s.fence.WriteToUDPAddrPort(mark, s.at[i]))(s)
		for {
			_ = p.SetReadDeadline(time.Now().Add(20 * time.Second))
			n, from, err := p.ReadFromUDPAddrPort(buf)
			if err != nil {
				s.Fatal(err)
			}
			if from == s.fenceAt {
				break
			}
			flow := fmt.Sprintf("at peer %d from %s", i, s.names[from])
			s.got[flow] = append(s.got[flow], string(buf[:n]))
		}
	}
}

// script makes the steps of one round: requests, and the traffic behind them.
func script(r *rand.Rand, serial *uint32) (requests, traffic []step) {
	one := func(what string) step {
		*serial++
		data := bytes.Repeat([]byte{byte(*serial)}, []int{0, 4, 5, 6, 7, 200, 1200, 1400}[r.IntN(8)])
		if len(data) > 0 {
			binary.BigEndian.PutUint32(data, *serial)
		}
		return step{
			what: what, client: r.IntN(2 * pionClients), peer: r.IntN(pionPeers + 2*pionClients),
			number: 0x4000 + uint16(r.IntN(5)), data: data,
		}
	}
	for range 6 {
		requests = append(requests, one([]string{"permit", "permit", "bind", "bind", "bind"}[r.IntN(5)]))
	}
	for range 60 {
		o := one([]string{
			"channel", "channel", "channel", "send", "send", "from peer", "from peer", "from peer", "from peer",
			"send without data", "send to no peer", "too long", "with a tail",
		}[r.IntN(13)])
		switch o.what {
		case "from peer":
			o.peer %= pionPeers
		case "too long", "with a tail":
			o.client &^= 1 // a stream would be torn apart
		}
		traffic = append(traffic, o)
	}
	return requests, traffic
}

func TestRelaysAsPionDoes(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { compare(t, seed, oursCompared(t), pionCompared(t), nil) })
	}
}

// compare lets both servers relay the same, and calls after, if it is set, at the end of each round.
func compare(t *testing.T, seed uint64, ours, pions *compared, after func()) {
	t.Helper()
	r, serial := rand.New(rand.NewPCG(seed, 7)), uint32(0)
	for round := range 30 {
		requests, traffic := script(r, &serial)
		for _, o := range requests {
			if a, b := ours.do(o), pions.do(o); a != b {
				t.Fatalf("round %d: %s of client %d, number %x, peer %d: %d, from pion %d", round, o.what, o.client, o.number, o.peer, a, b)
			}
		}
		for _, o := range traffic {
			ours.do(o)
			pions.do(o)
		}
		ours.settle()
		pions.settle()
		ours.meet(pions)
		sameFlows(t, round, ours.got, pions.got)
		if t.Failed() {
			return
		}
		if after != nil {
			after()
		}
	}
	relayed := 0
	for _, all := range ours.got {
		relayed += len(all)
	}
	if t.Logf("%d datagrams in %d flows", relayed, len(ours.got)); relayed < 300 || len(ours.got) < 50 {
		t.Error("too little of the traffic was relayed to show anything")
	}
}

// meet waits, where the kernel relays, until as much has come as with the other server, and sorts: what the sockets relay
// meanwhile is in no order with it.
func (s *compared) meet(o *compared) {
	if !s.apart {
		return
	}
	count := func(c *compared) (n int) {
		for flow, all := range c.got {
			slices.Sort(all)
			c.got[flow] = all
			n += len(all)
		}
		return n
	}
	for end := time.Now().Add(20 * time.Second); count(s) < count(o) && time.Now().Before(end); {
		s.settle()
	}
}

func sameFlows(t *testing.T, round int, ours, pions map[string][]string) {
	t.Helper()
	flows := maps.Clone(ours)
	maps.Copy(flows, pions)
	for flow := range flows {
		if !slices.Equal(ours[flow], pions[flow]) {
			t.Errorf("round %d: %s: %d datagrams, with pion %d\nours %.12q\npion %.12q", round, flow, len(ours[flow]), len(pions[flow]), ours[flow], pions[flow])
		}
	}
}
