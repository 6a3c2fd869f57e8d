package control

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

func settings(s Settings) func(*Config, *relay.Config) {
	return func(c *Config, _ *relay.Config) { c.Settings = s }
}

func allocateErr(t *testing.T, c *turnclient.Client) error {
	t.Helper()
	_, err := c.Allocate(within(t), nil)
	return err
}

func TestWhoMayBegin(t *testing.T) {
	r := newRig(t, nil)
	good, _ := r.keys.Issue("Alice", time.Hour, r.clock.now())
	old, _ := credential.NewKeyring("the one before", nil)
	rotated, _ := old.Issue("Alice", time.Hour, r.clock.now())
	foreign, _ := credential.NewKeyring("somebody else's secret", nil)
	wrong, _ := foreign.Issue("Alice", time.Hour, r.clock.now())
	late, _ := r.keys.Issue("Alice", -42*time.Second, r.clock.now())
	connected, _ := r.keys.Issue("Carol", -time.Hour, r.clock.now())
	banned, _ := r.keys.Issue("Mallory", time.Hour, r.clock.now())
	r.nodes.set(&r.nodes.connected, "Carol", true)
	r.nodes.set(&r.nodes.banned, "Mallory", true)
	for _, c := range []struct {
		name, user, pass string
		code             int
	}{
		{"fresh", good.Username, good.Password, 0},
		{"from the previous secret", rotated.Username, rotated.Password, 0},
		{"expired, but connected to a Broker", connected.Username, connected.Password, 0},
		{"another server's", wrong.Username, wrong.Password, 401},
		{"wrong password", good.Username, "nonsense", 401},
		{"unknown user", "nobody", "nonsense", 401},
		{"expired", late.Username, late.Password, 401},
		{"banned", banned.Username, banned.Password, 401},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantCode(t, "Allocate", allocateErr(t, r.as(t, c.user, c.pass)), c.code)
		})
	}
	if !r.nodes.noted("Alice: allocation refused: credential expired 42s ago") {
		t.Errorf("the why-record has %v", r.nodes.notes)
	}
	if n := r.Live(); n != 3 {
		t.Errorf("%d allocations are live, want 3", n)
	}
}

// An unknown user, a wrong password and an expired name are answered alike, after the same number of integrity checks.
func TestRefusalsTellNothing(t *testing.T) {
	r := newRig(t, nil)
	late, _ := r.keys.Issue("Alice", -time.Hour, r.clock.now())
	good, _ := r.keys.Issue("Alice", time.Hour, r.clock.now())
	var size int
	var checks uint64
	for i, c := range []struct{ user, pass string }{
		{good.Username, "wrong"}, {"nobody", "x"}, {late.Username, late.Password}, {":n", "x"}, {"1e9:n", "x"},
		{"-1:n", "x"}, {"99999999999999999999:n", "x"}, {"1:\x00", "x"}, {"1:" + string(make([]byte, 598)), "x"},
	} {
		cl := r.as(t, c.user, c.pass)
		before := r.Stats().Checks
		m, err := cl.Do(within(t), stunmsg.AllocateRequest, func(w *stunmsg.Builder) {
			w.Attr(stunmsg.AttrRequestedTransport, []byte{17, 0, 0, 0})
		})
		wantCode(t, fmt.Sprintf("%.20q", c.user), err, 401)
		if m == nil {
			continue
		}
		done := r.Stats().Checks - before
		if i == 0 {
			size, checks = len(m.Raw), done
			if checks != uint64(r.keys.Len()) || size > 68 {
				t.Errorf("%d checks for %d secrets, %d bytes", checks, r.keys.Len(), size)
			}
		}
		if len(m.Raw) != size || done != checks {
			t.Errorf("%.20q: %d bytes after %d checks, want %d after %d", c.user, len(m.Raw), done, size, checks)
		}
		if m.HasIntegrity() {
			t.Errorf("%.20q: the 401 is signed", c.user)
		}
	}
}

func TestLifetimesAreCutAndToldTruthfully(t *testing.T) {
	ask := func(d time.Duration) func(*stunmsg.Builder) {
		return func(w *stunmsg.Builder) { w.Uint32(stunmsg.AttrLifetime, uint32(d/time.Second)) }
	}
	for _, c := range []struct {
		name     string
		set      Settings
		ttl, ask time.Duration
		want     time.Duration
	}{
		{"more than allowed", Settings{Lifetime: 5 * time.Minute}, time.Hour, time.Hour, 5 * time.Minute},
		{"less than the default, which RFC 8656 §7.2 does not grant", Settings{Lifetime: 5 * time.Minute}, time.Hour, time.Minute, 5 * time.Minute},
		{"absurd", Settings{}, time.Hour, (1<<32 - 1) * time.Second, 10 * time.Minute},
		{"an hour, which pion would make ten minutes", Settings{Lifetime: time.Hour}, 2 * time.Hour, time.Hour, time.Hour - time.Second},
		{"max_session", Settings{MaxSession: 90 * time.Second}, time.Hour, 10 * time.Minute, 90 * time.Second},
		{"strict_expiry", Settings{StrictExpiry: true}, 100 * time.Second, 10 * time.Minute, 100 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, settings(c.set))
			a, err := r.client(t, "n", c.ttl).Allocate(within(t), ask(c.ask))
			// Credentials end on whole seconds, so the strict one may be a second short.
			if err != nil || a.Lifetime > c.want || a.Lifetime < c.want-time.Second {
				t.Errorf("granted %v, %v; want %v", a.Lifetime, err, c.want)
			}
		})
	}
}

func TestLiveCallOutlastsItsCredential(t *testing.T) {
	r := newRig(t, settings(Settings{MaxSession: time.Hour}))
	c := r.client(t, "n", time.Minute)
	allocate(t, c)
	r.clock.add(10 * time.Minute)
	if got, err := c.Refresh(within(t), 10*time.Minute); err != nil || got != 10*time.Minute {
		t.Errorf("Refresh with an expired credential = %v, %v", got, err)
	}
	if err := c.Permit(within(t), netip.MustParseAddrPort("127.0.0.1:9")); err != nil {
		t.Errorf("CreatePermission with an expired credential: %v", err)
	}
	r.clock.add(45 * time.Minute)
	if got, err := c.Refresh(within(t), 10*time.Minute); err != nil || got != 5*time.Minute {
		t.Errorf("near max_session Refresh = %v, %v", got, err)
	}
	r.clock.add(5 * time.Minute)
	_, err := c.Refresh(within(t), 10*time.Minute)
	wantCode(t, "Refresh beyond max_session", err, 437)
	if r.Live() != 0 {
		t.Error("the allocation outlives max_session")
	}
}

func TestStrictExpiryCutsLiveCalls(t *testing.T) {
	r := newRig(t, settings(Settings{StrictExpiry: true, MaxSession: time.Hour}))
	r.nodes.set(&r.nodes.connected, "n", true)
	c := r.client(t, "n", time.Minute)
	allocate(t, c)
	r.clock.add(30 * time.Second)
	if got, err := c.Refresh(within(t), 10*time.Minute); err != nil || got > 30*time.Second {
		t.Errorf("Refresh = %v, %v", got, err)
	}
	r.clock.add(31 * time.Second)
	_, err := c.Refresh(within(t), 10*time.Minute)
	wantCode(t, "Refresh beyond the credential", err, 437)
	wantCode(t, "a new allocation of a connected Node", allocateErr(t, c), 401)
}

// pion's own timer ends an allocation that is not refreshed, and everything is given back.
func TestExpiryGivesEverythingBack(t *testing.T) {
	r := newRig(t, settings(Settings{AllocationsPerNode: 1, Lifetime: time.Second}))
	allocate(t, r.client(t, "n", time.Hour))
	wantCode(t, "over the quota", allocateErr(t, r.client(t, "n", time.Hour)), 486)
	if !r.nodes.noted("n: allocation refused: 1 of 1 in use") {
		t.Errorf("the why-record has %v", r.nodes.notes)
	}
	deadline := time.Now().Add(10 * time.Second)
	for r.Live() != 0 && time.Now().Before(deadline) {
		time.Sleep(10 * time.Millisecond) // pion's timer runs on real time and tells nobody but us
	}
	if !r.nodes.noted(causeExpired) {
		t.Errorf("the why-record has %v", r.nodes.notes)
	}
	allocate(t, r.client(t, "n", time.Hour))
}

func TestAnotherUserOnSomebodysTuple(t *testing.T) {
	r := newRig(t, nil)
	c := r.client(t, "Alice", time.Hour)
	allocate(t, c)
	local := c.LocalAddr().String()
	mallory, _ := r.keys.Issue("Mallory", time.Hour, r.clock.now())
	// The same 5-tuple: Alice's socket moves to another holder, as behind a NAT that reuses a port.
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	m, err := turnclient.Dial(within(t), turnclient.Options{
		Transport: "udp", Addr: r.addr, Local: local, Username: mallory.Username, Password: mallory.Password,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	_, err = m.Refresh(within(t), 0)
	wantCode(t, "Refresh", err, 441)
	wantCode(t, "CreatePermission", m.Permit(within(t), netip.MustParseAddrPort("127.0.0.1:9")), 441)
	wantCode(t, "ChannelBind", m.Bind(within(t), 0x4000, netip.MustParseAddrPort("127.0.0.1:9")), 441)
	wantCode(t, "Allocate", allocateErr(t, m), 437)
	if r.Live() != 1 {
		t.Error("Alice's allocation is gone")
	}
}

func TestRetransmittedAllocateGetsTheSameAnswer(t *testing.T) {
	r := newRig(t, nil)
	c := r.client(t, "Alice", time.Hour)
	first := allocate(t, c)
	if _, err := c.Refresh(within(t), 0); err != nil {
		t.Fatal(err)
	}
	raw := c.Build(stunmsg.AllocateRequest, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedTransport, []byte{17, 0, 0, 0}) })
	one, err := c.Exchange(within(t), raw)
	if err != nil {
		t.Fatal(err)
	}
	two, err := c.Exchange(within(t), raw)
	if err != nil || string(one.Raw) != string(two.Raw) || one.Type != stunmsg.AllocateRequest.Success() {
		t.Errorf("%v then %v, %v", one.Type, two.Type, err)
	}
	if r.Live() != 1 || !first.Relayed.IsValid() {
		t.Errorf("%d allocations", r.Live())
	}
}

func TestQuotasOverManyClientsAtOnce(t *testing.T) {
	r := newRig(t, settings(Settings{Allocations: 12, AllocationsPerNode: 5}))
	var wg sync.WaitGroup
	codes := make(chan int, 60)
	for i := range 60 {
		// Each has a credential of its own: the quota is the Node's, not the name's.
		c := r.client(t, fmt.Sprintf("n%d", i%3), time.Hour+time.Duration(i)*time.Second)
		wg.Add(1)
		go func() {
			defer wg.Done()
			_, err := c.Allocate(within(t), nil)
			codes <- turnclient.Code(err)
		}()
	}
	wg.Wait()
	close(codes)
	got := map[int]int{}
	for c := range codes {
		got[c]++
	}
	if got[0] != 12 || r.Live() != 12 || got[486]+got[508] != 48 {
		t.Errorf("answers %v, %d live", got, r.Live())
	}
}

func TestCloseNodeIsExact(t *testing.T) {
	r := newRig(t, nil)
	for i := range 5 {
		allocate(t, r.client(t, "Mallory", time.Hour+time.Duration(i)*time.Second))
	}
	keep := r.client(t, "Alice", time.Hour)
	allocate(t, keep)
	if n := r.CloseNode("Mallory", "banned by the operator: spam"); n != 5 {
		t.Errorf("closed %d of 5", n)
	}
	if n := r.CloseNode("Mallory", "again"); n != 0 || r.Live() != 1 {
		t.Errorf("closed %d more, %d live", n, r.Live())
	}
	if id := r.Allocations()[0].ID; !r.CloseAllocation(id, "by hand") || r.CloseAllocation(id, "by hand") {
		t.Error("closing one allocation by its id")
	}
	_, err := keep.Refresh(within(t), time.Minute)
	wantCode(t, "Refresh of a closed allocation", err, 437)
}

func TestDrainRefusesNewAllocations(t *testing.T) {
	r := newRig(t, nil)
	c := r.client(t, "Alice", time.Hour)
	allocate(t, c)
	r.Drain()
	wantCode(t, "Allocate while draining", allocateErr(t, r.client(t, "Bob", time.Hour)), 508)
	if _, err := c.Refresh(within(t), time.Minute); err != nil {
		t.Errorf("Refresh while draining: %v", err)
	}
}

// Whichever of a ban and an Allocate comes first, no allocation is left over.
func TestBanRacesWithAllocate(t *testing.T) {
	r := newRig(t, nil)
	for i := range 50 {
		node := fmt.Sprintf("n%d", i)
		var wg sync.WaitGroup
		for k := range 4 {
			c := r.client(t, node, time.Hour+time.Duration(k)*time.Second)
			wg.Add(1)
			go func() { defer wg.Done(); _, _ = c.Allocate(within(t), nil) }()
		}
		r.nodes.set(&r.nodes.banned, node, true)
		r.CloseNode(node, causeBanned)
		wg.Wait()
		if n := r.Live(); n != 0 {
			t.Fatalf("round %d: %d allocations of a banned Node are live", i, n)
		}
	}
}

func TestReplayFromElsewhereIsRefused(t *testing.T) {
	r := newRig(t, nil)
	c := r.client(t, "Alice", time.Hour)
	allocate(t, c)
	if _, err := c.Refresh(within(t), 0); err != nil {
		t.Fatal(err)
	}
	raw := c.Build(stunmsg.AllocateRequest, func(w *stunmsg.Builder) { w.Attr(stunmsg.AttrRequestedTransport, []byte{17, 0, 0, 0}) })
	m, err := r.as(t, "", "").Exchange(within(t), raw)
	if err != nil || m.Type != stunmsg.AllocateRequest.Error() {
		t.Fatalf("%v, %v", m, err)
	}
	v, _ := m.Get(stunmsg.AttrErrorCode)
	if len(v) < 4 || v[2] != 4 || v[3] != 38 || r.Live() != 0 {
		t.Errorf("a captured Allocate got %x, %d live", v, r.Live())
	}
}
