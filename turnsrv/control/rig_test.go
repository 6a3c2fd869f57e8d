package control

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// directory is a Directory that a test sets.
type directory struct {
	mu        sync.Mutex
	banned    map[string]bool
	connected map[string]bool
	seen      map[string]bool // "node address"
	pairs     map[string]bool // "node node"
	notes     []string
}

func (d *directory) Banned(n string) bool          { d.mu.Lock(); defer d.mu.Unlock(); return d.banned[n] }
func (d *directory) Connected(n string) bool       { d.mu.Lock(); defer d.mu.Unlock(); return d.connected[n] }
func (d *directory) SeenAt(n string, a netip.Addr) { d.set(&d.seen, n+" "+a.String(), true) }
func (d *directory) AuthorizedSince(a, b string, _ time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.pairs[a+" "+b] || d.pairs[b+" "+a]
}

func (d *directory) SeenPartner(n string, a netip.Addr, since time.Time) bool {
	for _, other := range []string{"a", "b", "c"} {
		if d.AuthorizedSince(n, other, since) {
			d.mu.Lock()
			ok := d.seen[other+" "+a.String()]
			d.mu.Unlock()
			if ok {
				return true
			}
		}
	}
	return false
}

func (d *directory) Opened(n, detail string)   { d.note(n, detail) }
func (d *directory) Moved(n, detail string)    { d.note(n, detail) }
func (d *directory) Ended(n, detail string)    { d.note(n, detail) }
func (d *directory) Refused(n, detail string)  { d.note(n, detail) }
func (d *directory) Observed(n, detail string) { d.note(n, detail) }

func (d *directory) note(n, detail string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.notes = append(d.notes, n+": "+detail)
}

func (d *directory) set(m *map[string]bool, n string, v bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if *m == nil {
		*m = map[string]bool{}
	}
	(*m)[n] = v
}

func (d *directory) noted(part string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, n := range d.notes {
		if strings.Contains(n, part) {
			return true
		}
	}
	return false
}

// rig is a running control and data plane on loopback.
type rig struct {
	*Control
	addr  string
	keys  *credential.Keyring
	nodes *directory
	clock *clock

	handled atomic.Uint64                // messages
	last    atomic.Pointer[relay.Source] // of the last one
}

// HandleSTUN counts what Control has handled.
func (r *rig) HandleSTUN(src relay.Source, msg []byte) {
	r.Control.HandleSTUN(src, msg)
	r.last.Store(&src)
	r.handled.Add(1)
}

const rigRealm = "crolang"

// newRig starts one; 127.0.0.0/24 is allowed as peers, all else denied. edit may change the Config.
func newRig(t testing.TB, edit func(*Config, *relay.Config)) *rig {
	t.Helper()
	keys, err := credential.NewKeyring("a test secret that is long enough", []string{"the one before"})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{keys: keys, nodes: &directory{}, clock: &clock{t: time.Now().Truncate(time.Second)}}
	allowed := netip.MustParsePrefix("127.0.0.0/24")
	cfg := Config{
		Realm: rigRealm, Keys: keys, Nodes: r.nodes, Engines: 2, Now: r.clock.now,
		OwnListener: func(a netip.AddrPort) bool { return a.String() == r.addr },
		CheckPeer: func(ip netip.Addr) (bool, string) {
			return allowed.Contains(ip) || ip == netip.IPv6Loopback(), "denied by the test"
		},
		Settings: Settings{MaxSession: 24 * time.Hour, Mobility: true},
	}
	lo := netip.MustParseAddr("127.0.0.1")
	rcfg := relay.Config{
		IPv4: relay.Family{Bind: lo}, IPv6: relay.Family{Bind: netip.IPv6Loopback()}, PortMin: 10000, PortMax: 14999,
		Now: r.clock.now,
	}
	if edit != nil {
		edit(&cfg, &rcfg)
	}
	if r.Control, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	rcfg.Handler = r
	rcfg.OwnListener = cfg.OwnListener
	rcfg.AllowSend = r.AllowSend
	rcfg.Sibling = r.Sibling
	rcfg.OnClientGone = func(x *relay.Relay, cause string) { r.ClientGone(x, cause) }
	rcfg.OnClientAway = func(x *relay.Relay, cause string) { r.ClientAway(x, cause) }
	rcfg.OnClientMoved = func(x *relay.Relay, from, to relay.Tuple) { r.ClientMoved(x, from, to) }
	plane, err := relay.New(rcfg)
	if err != nil {
		t.Fatal(err)
	}
	r.Use(plane)
	bound, err := plane.ListenUDP(netip.AddrPortFrom(lo, 0))
	if err != nil {
		t.Fatal(err)
	}
	r.addr = bound.String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- plane.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if n := r.Live(); n != 0 {
			t.Errorf("%d allocations left over", n)
		}
		if r.quota.all != 0 || len(r.quota.nodes) != 0 || len(r.byNode) != 0 {
			t.Errorf("quota left over: %d, %v", r.quota.all, r.quota.nodes)
		}
	})
	return r
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// client is a client of node with a credential that ends ttl from the rig's now.
func (r *rig) client(t testing.TB, node string, ttl time.Duration) *turnclient.Client {
	t.Helper()
	c, err := r.keys.Issue(node, ttl, r.clock.now())
	if err != nil {
		t.Fatal(err)
	}
	return r.as(t, c.Username, c.Password)
}

func (r *rig) as(t testing.TB, username, password string) *turnclient.Client {
	t.Helper()
	c, err := turnclient.Dial(within(t), turnclient.Options{Transport: "udp", Addr: r.addr, Username: username, Password: password})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// udpPeer is a peer socket on loopback.
func udpPeer(t *testing.T, ip string) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.ParseIP(ip)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

func allocate(t testing.TB, c *turnclient.Client) turnclient.Allocation {
	t.Helper()
	a, err := c.Allocate(within(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not so in time: %s", what)
		}
	}
}

func wantCode(t *testing.T, what string, err error, code int) {
	t.Helper()
	if turnclient.Code(err) != code {
		t.Errorf("%s: %v, want %d", what, err, code)
	}
}
