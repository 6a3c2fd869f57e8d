package control

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// flood sends n copies of a request from a client's own address, and returns when they have been handled.
func flood(t *testing.T, r *rig, c *turnclient.Client, raw []byte, n int) {
	t.Helper()
	for i := 0; i < n; i += 100 {
		batch := uint64(min(100, n-i))
		before := r.handled.Load()
		for range batch {
			if _, err := c.Conn().Write(raw); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the flood is handled", func() bool { return r.handled.Load() >= before+batch })
	}
}

// What a stranger sends with a wrong password costs no hash once its source has used up what is computed for it in a
// second. Several secrets do not make that more.
func TestFailuresAreCountedBeforeAnyHash(t *testing.T) {
	for _, previous := range []int{0, 10} {
		t.Run(fmt.Sprint(previous, " previous secrets"), func(t *testing.T) {
			r := newRig(t, func(c *Config, _ *relay.Config) { c.Settings.UnauthenticatedPerSecond = 50 })
			var old []string
			for i := range previous {
				old = append(old, fmt.Sprint("an older secret, number ", i))
			}
			if err := replace(r.keys, "the current secret", old); err != nil {
				t.Fatal(err)
			}
			live := r.client(t, "live", time.Hour)
			allocate(t, live)
			good, _ := r.keys.Issue("n", time.Hour, r.clock.now())
			bad := r.as(t, good.Username, "wrong")
			wantCode(t, "wrong password", allocateErr(t, bad), 401)
			r.clock.add(time.Second)
			raw := bad.Build(stunmsg.AllocateRequest, nil)
			before := r.Stats()
			flood(t, r, bad, raw, 1000)
			after := r.Stats()
			if n := after.Checks - before.Checks; n > 50 || n < 20 {
				t.Errorf("%d integrities were computed for 1000 wrong requests of one source", n)
			}
			// 1 + the number of secrets each: of 50 that is so many requests, and no more are answered.
			tried := uint64(50 / (2 + previous))
			if n := after.Refusals[Refusal{401, "wrong_credential"}] - before.Refusals[Refusal{401, "wrong_credential"}]; n != tried {
				t.Errorf("%d were refused, want %d", n, tried)
			}
			if n := after.Limited - before.Limited; n != 1000-tried {
				t.Errorf("%d were dropped unseen, want %d", n, 1000-tried)
			}
			// A stale nonce is worth no more.
			r.clock.add(time.Second)
			before = r.Stats()
			forged := bytes.Replace(raw, bad.Nonce(), []byte("AAAAAAAAAAAAAAAA"), 1)
			flood(t, r, bad, forged, 500)
			after = r.Stats()
			if n := after.Refusals[Refusal{438, "stale_nonce"}] - before.Refusals[Refusal{438, "stale_nonce"}]; n > 50 || after.Checks != before.Checks {
				t.Errorf("%d nonces were checked, %d integrities", n, after.Checks-before.Checks)
			}
			// The same address has a client with an allocation: nobody can spoil that.
			if _, err := live.Refresh(within(t), time.Minute); err != nil {
				t.Errorf("a live client of the same source: %v", err)
			}
		})
	}
}

// A wrong integrity from an allocation's own address and port, but for its nonce, is a stranger's and costs its user
// nothing.
func TestNobodyUsesUpAnothersRate(t *testing.T) {
	r := newRig(t, func(c *Config, _ *relay.Config) { c.Settings.UnauthenticatedPerSecond = 20 })
	c := r.client(t, "Alice", time.Hour)
	allocate(t, c)
	raw := c.Build(stunmsg.RefreshRequest, nil)
	forged := bytes.Replace(raw, c.Nonce(), []byte("AAAAAAAAAAAAAAAA"), 1) // from her 5-tuple, as a spoofer would
	before := r.Stats()
	flood(t, r, c, forged, allocationBurst+1000)
	after := r.Stats()
	if after.Checks != before.Checks || after.Throttled != before.Throttled {
		t.Errorf("%d integrities, %d requests count for the allocation", after.Checks-before.Checks, after.Throttled-before.Throttled)
	}
	if _, err := c.Refresh(within(t), time.Minute); err != nil {
		t.Errorf("her own request: %v", err)
	}
	// A new secret: what was proven with the old ones is proven again, and then goes on as before.
	if err := replace(r.keys, "another secret", []string{"a test secret that is long enough"}); err != nil {
		t.Fatal(err)
	}
	r.clock.add(time.Second)
	for _, want := range []uint64{2, 1, 1} {
		before := r.Stats().Checks
		if _, err := c.Refresh(within(t), time.Minute); err != nil {
			t.Fatal(err)
		}
		if n := r.Stats().Checks - before; n != want {
			t.Errorf("%d integrities for a Refresh, want %d", n, want)
		}
	}
	if err := replace(r.keys, "yet another secret", nil); err != nil {
		t.Fatal(err)
	}
	_, err := c.Refresh(within(t), time.Minute)
	wantCode(t, "a secret that is withdrawn", err, 401)
}

// Beyond its rate an allocation's requests are dropped over UDP before anything is computed, and read more slowly over
// TCP. Others are served meanwhile.
func TestControlMessagesHaveARate(t *testing.T) {
	r := newRig(t, func(c *Config, _ *relay.Config) { c.Settings.UnauthenticatedPerSecond = 100 })
	c := r.client(t, "greedy", time.Hour)
	allocate(t, c)
	_, peer := udpPeer(t, "127.0.0.1")
	raw := c.Build(stunmsg.ChannelBindRequest, func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrChannelNumber, []byte{0x40, 0, 0, 0}).XORAddr(stunmsg.AttrXORPeerAddress, peer)
	})
	before := r.Stats()
	const more = 500
	flood(t, r, c, raw, allocationBurst+more)
	after := r.Stats()
	if n := after.Throttled - before.Throttled; n < more-10 || n > more+10 {
		t.Errorf("%d requests were dropped, want about %d", n, more)
	}
	if n := after.Checks - before.Checks; n > allocationBurst {
		t.Errorf("%d integrities were computed, want at most %d", n, allocationBurst)
	}
	if !r.nodes.noted("greedy: control messages dropped") {
		t.Errorf("the why-record has %v", r.nodes.notes)
	}
	allocate(t, r.client(t, "modest", time.Hour))
	r.clock.add(time.Second)
	wantCode(t, "a second later", c.Bind(within(t), 0x4000, peer), 0)

	// All of a Node's allocations and attempts together have a rate too.
	r.clock.add(time.Minute)
	before = r.Stats()
	greedy, _ := r.keys.Issue("greedy", time.Hour, r.clock.now())
	another := r.as(t, greedy.Username, greedy.Password)
	wantCode(t, "Refresh without an allocation", func() error { _, err := another.Refresh(within(t), time.Minute); return err }(), 437)
	flood(t, r, another, another.Build(stunmsg.RefreshRequest, nil), nodeBurst+more)
	after = r.Stats()
	if n := after.Throttled - before.Throttled; n == 0 || n > 100 {
		t.Errorf("%d requests were dropped for their Node, and more as those of a stranger: want some, within the source's limit", n)
	}
	if n := after.Checks - before.Checks; n > 2*(nodeBurst+110) {
		t.Errorf("%d integrities were computed", n)
	}
}

// What a Node's permissions, channels and allocations take of memory is bounded, and an ordinary Node stays far below.
func TestTablesHaveABudget(t *testing.T) {
	r := newRig(t, nil)
	var clients []*turnclient.Client
	for range 128 {
		c := r.client(t, "ordinary", time.Hour)
		allocate(t, c)
		clients = append(clients, c)
	}
	peer := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(i + 1)}), uint16(1000+i))
	}
	for _, c := range clients {
		var all []netip.AddrPort
		for i := range 20 {
			all = append(all, peer(i))
		}
		if err := c.Permit(within(t), all...); err != nil {
			t.Fatal(err)
		}
		for i := range 20 {
			if err := c.Bind(within(t), uint16(0x4000+i), peer(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	used := r.Stats().TableBytes
	if used < 1<<20 || used > defaultTableBytes/4 || r.Stats().TableBytesMost != used {
		t.Errorf("128 allocations of 20 peers count as %d bytes of %d", used, defaultTableBytes)
	}
	r.Apply(Settings{TableBytes: used + 1000})
	c := clients[0]
	code := 0
	for i := 20; i < 60 && code == 0; i++ {
		code = turnclient.Code(c.Bind(within(t), uint16(0x4000+i), peer(i)))
	}
	if code != 508 || r.Stats().Refusals[Refusal{508, "tables"}] != 1 || !r.nodes.noted("ordinary: channel refused") {
		t.Errorf("beyond the budget: %d, %v", code, r.Stats().Refusals)
	}
	wantCode(t, "what is there is refreshed", c.Bind(within(t), 0x4000, peer(0)), 0)
	wantCode(t, "an allocation beyond the budget", allocateErr(t, r.client(t, "ordinary", time.Hour)), 508)
	allocate(t, r.client(t, "another", time.Hour))
	for _, c := range clients {
		if _, err := c.Refresh(within(t), 0); err != nil {
			t.Fatal(err)
		}
	}
	if now := r.Stats().TableBytes; now > 16<<10 {
		t.Errorf("%d bytes are left", now)
	}
	allocate(t, r.client(t, "ordinary", time.Hour))
}

// Over a stream requests beyond the rate are not dropped: there is nobody who would send them again. They wait.
func TestControlMessagesOfAStreamWait(t *testing.T) {
	var plane *relay.Plane
	r := newRig(t, nil)
	plane = r.plane.(*relay.Plane)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	served := make(chan error, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			a := func(a net.Addr) netip.AddrPort { return a.(*net.TCPAddr).AddrPort() }
			err = plane.ServeStream(t.Context(), c, relay.Tuple{Transport: relay.TCP, Client: a(c.RemoteAddr()), Server: a(c.LocalAddr())}, nil)
		}
		served <- err
	}()
	cred, _ := r.keys.Issue("n", time.Hour, r.clock.now())
	c, err := turnclient.Dial(within(t), turnclient.Options{
		Transport: "tcp", Addr: l.Addr().String(), Username: cred.Username, Password: cred.Password,
	})
	if err != nil {
		t.Fatal(err)
	}
	allocate(t, c)
	s := r.sessions()[0]
	s.rate.full.Store(r.clock.now().Add(time.Duration(allocationBurst) * time.Second / allocationRate).UnixNano()) // used up
	stop := make(chan struct{})
	go func() { // real time passes while it waits
		for {
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
				r.clock.add(time.Millisecond)
			}
		}
	}()
	for range 20 {
		if _, err := c.Refresh(within(t), time.Minute); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	if n := r.Stats().Throttled; n != 0 {
		t.Errorf("%d requests were dropped", n)
	}
	_ = c.Close()
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestGenerationOfSecrets(t *testing.T) {
	k, err := credential.NewKeyring("a", nil)
	if err != nil {
		t.Fatal(err)
	}
	g := k.Generation()
	if err := replace(k, "a", nil); err != nil || k.Generation() != g {
		t.Errorf("the same secrets again are another generation: %v", err)
	}
	if err := replace(k, "a", []string{"b"}); err != nil || k.Generation() == g {
		t.Errorf("other secrets are the same generation: %v", err)
	}
}

func replace(k *credential.Keyring, secret string, previous []string) error {
	c, err := k.Prepare(secret, previous)
	if err == nil {
		c.Apply()
	}
	return err
}
