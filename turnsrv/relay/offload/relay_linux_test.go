//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// world is a data plane with a Kernel, in this namespace; clients and peers have one each.
type world struct {
	testing.TB
	*relay.Plane
	kernel           *Kernel
	clients, peer    *space
	family           int
	way              Way
	ways             []Way      // where way is auto
	clientAt, peerAt netip.Addr // of clients and peers
	flows            int        // the most
	server           netip.AddrPort

	mu   sync.Mutex
	seen map[netip.AddrPort]relay.Source // by what the server sees of a client
	last relay.Source                    // of these
	log  bytes.Buffer
}

// Write is of the log.
func (w *world) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.log.Write(b)
}

// said counts the lines of the log with a text.
func (w *world) said(text string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Count(w.log.String(), text)
}

// trust has every way trusted from the beginning.
func (w *world) trust() {
	w.kernel.mu.Lock()
	w.kernel.lenient = true
	w.kernel.mu.Unlock()
}

func (w *world) HandleSTUN(src relay.Source, msg []byte) {
	w.mu.Lock()
	w.seen[src.Client], w.last = src, src
	w.mu.Unlock()
	src.Send(msg)
}

// auto is no way: the Kernel is to choose.
const auto = numWays

// newWorld makes one in which every way is trusted. It has peers behind another interface than clients, or, for XDP, behind
// the same one.
func newWorld(t *testing.T, family int, v Way, change ...func(*world) func(*relay.Config)) *world {
	t.Helper()
	w := newProvingWorld(t, family, v, change...)
	w.trust()
	return w
}

func newProvingWorld(t *testing.T, family int, v Way, change ...func(*world) func(*relay.Config)) *world {
	t.Helper()
	w := newBareWorld(t, family)
	w.way = v
	w.clients = newSpace(t)
	w.peer = w.clients
	joined(t, fmt.Sprintf("c%d", family), 10+family, w.clients)
	if v.program() == TCX {
		w.peer = newSpace(t)
		joined(t, fmt.Sprintf("p%d", family), 20+family, w.peer)
	} else {
		w.clients.Run(fmt.Sprintf("ethtool -K c%dx gro on", family))
	}
	w.peerAt = address(family, w.number(), 1)
	w.start(t, netip.AddrPortFrom(address(family, 10+family, 2), 0), relay.Family{Bind: address(family, w.number(), 2)}, change...)
	return w
}

// newBareWorld has no network yet, and does not run.
func newBareWorld(t *testing.T, family int) *world {
	t.Helper()
	w := &world{TB: t, family: family, way: auto, flows: 256, seen: map[netip.AddrPort]relay.Source{}}
	w.clientAt, w.peerAt = address(family, 10+family, 1), address(family, 20+family, 1)
	return w
}

// start begins with serving, at an address and with relays in a place.
func (w *world) start(t *testing.T, listen netip.AddrPort, place relay.Family, change ...func(*world) func(*relay.Config)) {
	t.Helper()
	var err error
	ours := Config{Flows: w.flows, Logger: slog.New(slog.NewTextHandler(w, nil))}
	ours.Ways = w.ways
	if w.way != auto {
		ours.Ways = []Way{w.way}
	}
	if w.kernel, err = New(ours); err != nil {
		t.Fatal(err)
	}
	cfg := relay.Config{Handler: w, PortMin: 30000, PortMax: 32000, Workers: 2, Kernel: w.kernel}
	if w.family == 4 {
		cfg.IPv4 = place
	} else {
		cfg.IPv6 = place
	}
	for _, c := range change {
		c(w)(&cfg)
	}
	if w.Plane, err = relay.New(cfg); err != nil {
		t.Fatal(err)
	}
	if w.server, err = w.ListenUDP(listen); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	for _, f := range []func(context.Context) error{w.Run, w.kernel.Run} {
		running.Go(func() {
			if err := f(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(func() {
		stop()
		running.Wait()
		if n := w.entries(); n != 0 {
			t.Errorf("%d entries are left in the kernel's table", n)
		}
		if r := w.kernel.Report(); r.Flows != 0 {
			t.Errorf("%d flows are left", r.Flows)
		}
		if err := w.kernel.Close(); err != nil {
			t.Error(err)
		}
	})
}

// number is that of the link to the peers.
func (w *world) number() int {
	if w.way.program() == TCX {
		return 20 + w.family
	}
	return 10 + w.family
}

// far is a peer.
func (w *world) far() *endpoint {
	w.Helper()
	return w.peer.endpoint(w.peerAt)
}

// entries counts those of the kernel's table.
func (w *world) entries() (n int) {
	w.kernel.mu.Lock()
	defer w.kernel.mu.Unlock()
	for _, b := range w.kernel.table.buckets {
		for _, e := range b.Entries {
			if e != 0 {
				n++
			}
		}
	}
	if n != w.kernel.table.entries {
		w.Errorf("%d entries, %d by the table's own account", n, w.kernel.table.entries)
	}
	return n
}

// client is one with a relay.
type client struct {
	*endpoint
	w *world
	r *relay.Relay
}

// come is an end in the clients' network that the server knows, and its path.
func (w *world) come() (*endpoint, relay.Source) {
	w.Helper()
	e := w.clients.endpoint(w.clientAt)
	msg := make([]byte, 20)
	binary.BigEndian.PutUint16(msg, 1)
	binary.BigEndian.PutUint32(msg[4:], 0x2112A442)
	var got []byte
	for range 5 { // a machine that is too busy drops datagrams
		e.to(w.server, msg)
		if got, _ = e.next(patience); got != nil {
			break
		}
	}
	if !bytes.Equal(got, msg) {
		w.Fatalf("the server answers %x", got)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	src, ok := w.seen[e.addr]
	if !ok {
		src = w.last // behind a NAT
	}
	return e, src
}

func (w *world) client() *client {
	w.Helper()
	e, src := w.come()
	r, err := w.Open(src, relay.OpenOptions{Family: w.family, Mobile: true})
	if err != nil {
		w.Fatal(err)
	}
	return &client{e, w, r}
}

func (c *client) bind(number uint16, peer netip.AddrPort, scope relay.Scope) {
	c.Helper()
	if err := c.r.Bind(number, peer, scope, nil); err != nil {
		c.Fatal(err)
	}
}

func framed(number uint16, data []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, number)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(data))), data...)
}

// way is one direction of a flow.
type way struct {
	from, to *endpoint
	dst, src netip.AddrPort
	send     func([]byte) []byte // what is sent for the data, and received
	receive  func([]byte) []byte
}

func plain(b []byte) []byte { return b }

func (c *client) up(number uint16, p *endpoint) way {
	return way{c.endpoint, p, c.w.server, c.r.Addr(), func(b []byte) []byte { return framed(number, b) }, plain}
}

func (c *client) down(number uint16, p *endpoint) way {
	return way{p, c.endpoint, c.r.Addr(), c.w.server, plain, func(b []byte) []byte { return framed(number, b) }}
}

func (c *client) over(number uint16, d *client, back uint16) way {
	return way{c.endpoint, d.endpoint, c.w.server, c.w.server, func(b []byte) []byte { return framed(number, b) }, func(b []byte) []byte { return framed(back, b) }}
}

func (v way) pass(data []byte) {
	v.from.Helper()
	v.from.to(v.dst, v.send(data))
	v.to.expect(v.src, v.receive(data))
}

// moved sends until the kernel takes what is sent. It returns how many that were.
func (w *world) moved(v way) int {
	w.Helper()
	data := make([]byte, 100)
	for n := 1; n < 2000; n++ {
		before := w.kernel.Report().Taken
		v.pass(data)
		if w.kernel.Report().Taken > before {
			return n
		}
		time.Sleep(time.Millisecond)
	}
	w.Fatalf("the kernel takes nothing: %+v", w.kernel.Report())
	return 0
}

func families(t *testing.T, f func(t *testing.T, w *world), change ...func(*world) func(*relay.Config)) {
	each(t, []Way{TCX, Across, Native}, f, change...)
}

func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// What the kernel relays arrives as what the sockets relay does, in both directions, of any length, and is counted; whether
// the checksum is in the datagram or left to the interface, as senders on the same machine do.
func TestRelays(t *testing.T) {
	families(t, func(t *testing.T, w *world) {
		for _, offloaded := range []string{"on", "off"} {
			w.clients.Run(fmt.Sprintf("ethtool -K c%dx tx %s", w.family, offloaded))
			if w.way.program() == TCX {
				w.peer.Run(fmt.Sprintf("ethtool -K p%dx tx %s", w.family, offloaded))
			}
			c, p := w.client(), w.far()
			c.bind(0x4abc, p.addr, relay.ScopeAny)
			testWay(t, w, c.up(0x4abc, p), func() relay.Direction { return c.r.Stats().Up })
			testWay(t, w, c.down(0x4abc, p), func() relay.Direction { return c.r.Stats().Down })
			c.r.Close()
		}
	})
}

func testWay(t *testing.T, w *world, v way, stats func() relay.Direction) {
	t.Helper()
	was := stats()
	n := uint64(w.moved(v))
	all := n * 100
	begun := w.kernel.Report().Taken
	sizes := []int{60, 61, 62, 63, 64, 200, 511, 512, 513, 1000, 1023, 1024, 1199, 1200, 1220}
	for _, size := range sizes {
		v.pass(random(size))
		n, all = n+1, all+uint64(size)
	}
	if took := w.kernel.Report().Taken - begun; took != uint64(len(sizes)) {
		t.Errorf("the kernel took %d of %d: %+v", took, len(sizes), w.kernel.Report())
	}
	for _, size := range []int{0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 27, 28, 47, 48, 1240, 1440, 1468, 1472} {
		more := w.moved(v)
		v.pass(random(size))
		n, all = n+1+uint64(more), all+uint64(size+100*more)
	}
	got := stats() // the sockets count after they have sent
	for end := time.Now().Add(patience); got.Datagrams-was.Datagrams < n && time.Now().Before(end); got = stats() {
		time.Sleep(time.Millisecond)
	}
	if got.Datagrams-was.Datagrams != n || got.Bytes-was.Bytes != all || got.Dropped != was.Dropped {
		t.Errorf("counted %d datagrams with %d bytes, want %d with %d", got.Datagrams-was.Datagrams, got.Bytes-was.Bytes, n, all)
	}
}

// Between two clients on relays one look-up is enough.
func TestRelaysBetweenRelays(t *testing.T) {
	families(t, func(t *testing.T, w *world) {
		a, b := w.client(), w.client()
		a.bind(0x4001, b.r.Addr(), relay.ScopeRelays)
		if n := w.entries(); n != 0 {
			t.Errorf("%d entries before there is a channel back", n)
		}
		b.bind(0x4002, a.r.Addr(), relay.ScopeRelays)
		for _, v := range []way{a.over(0x4001, b, 0x4002), b.over(0x4002, a, 0x4001)} {
			w.moved(v)
			for _, size := range []int{0, 1, 2, 3, 4, 60, 64, 513, 1200, 1468} {
				v.pass(random(size))
			}
		}
		even := func(s, o relay.Stats) bool {
			return s.Up.Datagrams == o.Down.Datagrams && s.Down.Datagrams == o.Up.Datagrams && s.Up.Bytes == o.Down.Bytes
		}
		for end := time.Now().Add(patience); !even(a.r.Stats(), b.r.Stats()) && time.Now().Before(end); {
			time.Sleep(time.Millisecond) // the sockets count after they have sent
		}
		if s, o := a.r.Stats(), b.r.Stats(); !even(s, o) {
			t.Errorf("counted %+v and %+v", s, o)
		}
		b.r.Close()
		if n := w.entries(); n != 0 {
			t.Errorf("%d entries after one end has gone", n)
		}
	})
}

// Nothing is relayed any more when Close, a replaced channel or Restrict has returned.
func TestEndsAtOnce(t *testing.T) {
	families(t, func(t *testing.T, w *world) {
		for name, end := range map[string]func(c *client, p *endpoint){
			"close":    func(c *client, _ *endpoint) { c.r.Close() },
			"restrict": func(c *client, _ *endpoint) { c.r.Restrict(func(netip.Addr) relay.Scope { return 0 }) },
			"replace": func(c *client, p *endpoint) {
				c.bind(0x4000, netip.AddrPortFrom(p.addr.Addr(), 9), relay.ScopeAny)
			},
		} {
			t.Run(name, func(t *testing.T) {
				c, p := w.client(), w.far()
				c.bind(0x4000, p.addr, relay.ScopeAny)
				v := c.down(0x4000, p)
				w.moved(v)
				stop := make(chan struct{})
				var sending sync.WaitGroup
				sending.Go(func() {
					for data := bytes.Repeat([]byte{7}, 100); ; {
						select {
						case <-stop:
							return
						default:
							_, _ = p.WriteToUDPAddrPort(data, v.dst)
						}
					}
				})
				time.Sleep(20 * time.Millisecond) // for some to pass
				end(c, p)
				after := c.r.Stats()
				for b, _ := c.next(100 * time.Millisecond); b != nil; b, _ = c.next(100 * time.Millisecond) {
					// what was on its way when it ended
				}
				close(stop)
				sending.Wait()
				if s := c.r.Stats(); s.Down.Datagrams != after.Down.Datagrams {
					t.Errorf("%d datagrams after the end", s.Down.Datagrams-after.Down.Datagrams)
				}
				c.r.Close()
			})
		}
	})
}
