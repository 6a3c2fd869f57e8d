//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"fmt"
	"maps"
	"net/netip"
	"os/exec"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/netspace"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// here runs a command in the test's own namespace.
func here(t *testing.T) func(string) { return func(line string) { t.Helper(); netspace.Run(t, line) } }

// wire joins two namespaces by a veth pair; each end is told by how to run commands there.
func wire(a, b func(string), to *space, name, there, addr, addrThere string) {
	a(fmt.Sprintf("ip link add %s type veth peer name %s netns %d", name, there, to.Tid))
	for _, end := range []struct {
		run        func(string)
		name, addr string
	}{{a, name, addr}, {b, there, addrThere}} {
		if end.addr != "" {
			end.run(fmt.Sprintf("ip address add %s dev %s%s", end.addr, end.name, map[bool]string{true: " nodad"}[netip.MustParsePrefix(end.addr).Addr().Is6()]))
		}
		end.run("ip link set " + end.name + " up")
	}
}

// nat needs iptables.
func nat(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("iptables"); err != nil {
		t.Skip("needs iptables (Debian: apt install iptables)")
	}
}

// goesWell has calls until the ways are trusted, and looks at all of it: that answers come all the time, in the kernel too.
func (w *world) goesWell(t *testing.T, in, out string) {
	t.Helper()
	calls := []*call{w.echo(), w.media()}
	w.becomes(in, out, "trusted")
	w.becomes(out, in, "trusted")
	before := w.taken()
	await(t, "the kernel takes more", func() bool { return w.taken() > before+200 })
	for _, c := range calls {
		c.end()
		if pause := time.Duration(c.pause.Load()); pause > 3*time.Second {
			t.Errorf("no answers for %v", pause)
		}
	}
	c, p := w.client(), w.far()
	c.bind(0x4000, p.addr, relay.ScopeAny)
	for _, v := range []way{c.up(0x4000, p), c.down(0x4000, p)} {
		w.moved(v)
		for _, size := range []int{0, 1, 64, 513, 1000, 1200} {
			v.pass(random(size))
		}
	}
	c.r.Close()
}

// A client behind a NAT with addresses of its own.
func TestClientBehindNAT(t *testing.T) {
	if !alone(t, true) {
		return
	}
	nat(t)
	w := newBareWorld(t, 4)
	router := newSpace(t)
	w.clients, w.peer = newSpace(t), newSpace(t)
	joined(t, "c4", 14, router)
	joined(t, "p4", 24, w.peer)
	wire(router.Run, w.clients.Run, w.clients, "inside", "eth0", "10.1.0.1/24", "10.1.0.2/24")
	w.clients.Run("ip route add default via 10.1.0.1")
	router.Run("sysctl -qw net.ipv4.ip_forward=1")
	router.Run("iptables -t nat -A POSTROUTING -o c4x -j MASQUERADE --random")
	w.clientAt = netip.MustParseAddr("10.1.0.2")
	w.start(t, netip.MustParseAddrPort("198.18.14.2:0"), relay.Family{Bind: address(4, 24, 2)})
	w.goesWell(t, "c", "p")
	for client := range w.seen {
		if client.Addr() != address(4, 14, 1) {
			t.Errorf("the server saw %s: there was no NAT", client)
		}
	}
}

// The server is in a container as Docker makes them: one end of a veth pair is its eth0, the other one a port of a bridge on
// the host, which translates addresses both ways: its published ports to the container, and what the container begins to itself.
// What goes across comes to the bridge. What XDP sends there vanishes in silence; whether that is known beforehand or not, it ends
// in a way that works.
func TestInContainer(t *testing.T) {
	if !alone(t, true) {
		return
	}
	nat(t)
	for _, c := range []struct {
		name  string
		ways  []Way
		aware bool
		said  string
		want  map[Way]string // states
	}{
		{"by itself", nil, true, "the calls that tried it went on", map[Way]string{Across: "trusted"}},
		{"warned", []Way{Native, TCX}, true, "the other end loses what XDP sends there", map[Way]string{TCX: "trusted"}},
		{"unaware", []Way{Native, TCX}, false, "the sockets relay it again", map[Way]string{TCX: "trusted", Native: "condemned"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newBareWorld(t, 4)
			w.ways = c.ways
			container(t, w)
			w.kernel.mu.Lock()
			w.kernel.forced = !c.aware
			w.kernel.mu.Unlock()
			w.goesWell(t, "e", "e")
			if w.said(c.said) != 1 {
				t.Errorf("said %s", w.log.String())
			}
			got := map[Way]string{}
			for _, p := range w.kernel.Report().Proofs {
				for v := range numWays {
					if p.Mode == v.String() {
						got[v] = p.State
					}
				}
			}
			if !maps.Equal(got, c.want) {
				t.Errorf("%v, want %v", got, c.want)
			}
		})
	}
}

// container lays the network, and begins with serving.
func container(t *testing.T, w *world) {
	t.Helper()
	host := newSpace(t)
	w.clients, w.peer = newSpace(t), newSpace(t)
	host.Run("ip link add docker0 type bridge")
	host.Run("ip address add 172.17.0.1/16 dev docker0")
	host.Run("ip link set docker0 up")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "delete", "e4").Run() })
	wire(here(t), host.Run, host, "e4", "veth1", "172.17.0.2/16", "")
	host.Run("ip link set veth1 master docker0")
	netspace.Run(t, "ip route add default via 172.17.0.1")
	wire(host.Run, w.clients.Run, w.clients, "clients", "eth0", "198.18.14.2/24", "198.18.14.1/24")
	wire(host.Run, w.peer.Run, w.peer, "peers", "eth0", "198.18.24.2/24", "198.18.24.1/24")
	host.Run("sysctl -qw net.ipv4.ip_forward=1")
	host.Run("iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE")
	for _, ports := range []string{"3478", "30000:32000"} {
		host.Run("iptables -t nat -A PREROUTING ! -i docker0 -p udp --dport " + ports + " -j DNAT --to-destination 172.17.0.2")
	}
	w.start(t, netip.MustParseAddrPort("172.17.0.2:3478"), relay.Family{Bind: netip.MustParseAddr("172.17.0.2"), Advertise: address(4, 24, 2)})
	w.server = netip.MustParseAddrPort("198.18.14.2:3478") // for clients
}

// The path to the peer takes 1280 bytes, behind a router. What is longer arrives all the same, as it does by the sockets.
func TestNarrowPath(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, family := range []int{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", family), func(t *testing.T) {
			w := newBareWorld(t, family)
			router := newSpace(t)
			w.clients, w.peer = newSpace(t), newSpace(t)
			in, out := fmt.Sprintf("c%d", family), fmt.Sprintf("p%d", family)
			joined(t, in, 10+family, w.clients)
			joined(t, out, 20+family, router)
			far, near, prefix := address(family, 30, 1), address(family, 30, 2), map[int]int{4: 24, 6: 64}[family]
			wire(router.Run, w.peer.Run, w.peer, "narrow", "eth0", netip.PrefixFrom(near, prefix).String(), netip.PrefixFrom(far, prefix).String())
			router.Run("ip link set narrow mtu 1280")
			w.peer.Run("ip link set eth0 mtu 1280")
			router.Run("sysctl -qw net.ipv4.ip_forward=1")
			router.Run("sysctl -qw net.ipv6.conf.all.forwarding=1")
			netspace.Run(t, fmt.Sprintf("ip -%d route add %s via %s", family, netip.PrefixFrom(far, prefix).Masked(), address(family, 20+family, 1)))
			w.peer.Run(fmt.Sprintf("ip -%d route add default via %s", family, near))
			w.peerAt = far
			w.start(t, netip.AddrPortFrom(address(family, 10+family, 2), 0), relay.Family{Bind: address(family, 20+family, 2)})
			w.trust()
			c, p := w.client(), w.far()
			c.bind(0x4000, p.addr, relay.ScopeAny)
			up, down := c.up(0x4000, p), c.down(0x4000, p)
			most := 1280 - 48
			for _, v := range []way{up, down} {
				w.moved(v)
				for _, size := range []int{1000, most - 4} {
					before := w.taken()
					if v.pass(random(size)); w.taken() != before+1 {
						t.Errorf("the kernel did not take %d bytes: %+v", size, w.kernel.Report())
					}
				}
			}
			for _, size := range []int{1260, 1400, 1440} {
				for _, v := range []way{up, down} {
					w.moved(v)
					data, before := random(size), w.taken()
					v.from.to(v.dst, v.send(data))
					for range 3 { // the first may be lost: the router says then what the path takes
						if b, _ := v.to.next(time.Second); b != nil {
							break
						}
						v.from.to(v.dst, v.send(data))
					}
					v.pass(data)
					if family == 6 && w.taken() != before {
						t.Errorf("the kernel took %d bytes: %+v", size, w.kernel.Report())
					}
				}
			}
		})
	}
}

// newWorldFor has room for so many flows.
func newWorldFor(t *testing.T, flows int) *world {
	t.Helper()
	w := newBareWorld(t, 4)
	w.flows = flows
	w.clients, w.peer = newSpace(t), newSpace(t)
	joined(t, "c4", 14, w.clients)
	joined(t, "p4", 24, w.peer)
	w.start(t, netip.AddrPortFrom(address(4, 14, 2), 0), relay.Family{Bind: address(4, 24, 2)})
	w.trust()
	return w
}

// Where the table is full, the rest goes by the sockets, and one line says so. What becomes free is used again.
func TestFullTable(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorldFor(t, 4)
	var clients []*client
	p := w.far()
	for range 4 {
		c := w.client()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		clients = append(clients, c)
	}
	if r := w.kernel.Report(); r.Flows != 4 || w.entries() != 4 || w.said("as many flows as it has room for") != 1 {
		t.Errorf("%+v, and said %s", r, w.log.String())
	}
	for i, c := range clients {
		for _, v := range []way{c.up(0x4000, p), c.down(0x4000, p)} {
			if v.pass(random(100)); i < 2 {
				w.moved(v)
			}
		}
	}
	clients[0].r.Close()
	clients[3].bind(0x4000, p.addr, relay.ScopeAny)
	w.moved(clients[3].up(0x4000, p))
	w.moved(clients[3].down(0x4000, p))
}

// Another route is taken at once, and another interface; what has no route is the sockets'.
func TestRoutesChange(t *testing.T) {
	families(t, func(t *testing.T, w *world) {
		if w.way.program() != TCX {
			t.Skip("XDP relays only what leaves where it came in")
		}
		c, p := w.client(), w.far()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		v := c.up(0x4000, p)
		w.moved(v)
		// The peer has another interface too, and the route to it leads there.
		name := fmt.Sprintf("q%d", w.family)
		joined(t, name, 50+w.family, w.peer)
		host := fmt.Sprintf("%s/%d", w.peerAt, w.peerAt.BitLen())
		netspace.Run(t, fmt.Sprintf("ip -%d route add %s via %s dev %s", w.family, host, address(w.family, 50+w.family, 1), name))
		w.peer.Run("sysctl -qw net.ipv4.conf.all.rp_filter=0")
		index := w.kernel.index(name)
		leaves := func() int {
			w.kernel.mu.Lock()
			defer w.kernel.mu.Unlock()
			for _, f := range w.kernel.flows {
				if f != nil && f.in.Channel != 0 && f.placed {
					return int(f.value.Interface)
				}
			}
			return 0
		}
		await(t, "the flow leaves by the other interface", func() bool {
			index = w.kernel.index(name)
			if w.way == Across { // the sockets are to ask who is there
				v.from.to(v.dst, v.send(random(10)))
			}
			return index != 0 && leaves() == index
		})
		v.to.drain(quick)
		w.moved(v)
		netspace.Run(t, "ip link delete "+name)
		await(t, "the flow leaves as before", func() bool { return leaves() != 0 && leaves() != index })
		w.moved(v)
	})
}

// index is that of an interface, as far as it is known.
func (k *Kernel) index(name string) int {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, n := range k.net.byIndex {
		if n.Name == name {
			return i
		}
	}
	return 0
}

// Among more flows than are looked at together each has its turn; where the kernel has told of a change, all have it at once.
func TestFlowsAreReviewedInTurn(t *testing.T) {
	if !alone(t) {
		return
	}
	w := newWorldFor(t, 2*reviewed)
	c, p := w.client(), w.far()
	for i := range uint16(reviewed/2 + 100) {
		c.bind(0x4000+i, netip.AddrPortFrom(p.addr.Addr(), 1000+i), relay.ScopeAny)
	}
	if n := w.kernel.Report().Flows; n <= reviewed {
		t.Fatalf("%d flows", n)
	}
	otherwise := func(change bool) (n int) { // flows that leave otherwise than their route says
		w.kernel.mu.Lock()
		defer w.kernel.mu.Unlock()
		for _, f := range w.kernel.flows {
			if f != nil && change {
				f.route.mtu = 1
			}
			if f != nil && f.route.mtu == 1 {
				n++
			}
		}
		return n
	}
	otherwise(true)
	w.kernel.follow(false)
	w.kernel.follow(false)
	if n := otherwise(false); n > 0 {
		t.Errorf("%d flows had no turn", n)
	}
	otherwise(true)
	w.kernel.follow(true)
	if n := otherwise(false); n > 0 {
		t.Errorf("%d flows had no turn after a change", n)
	}
}
