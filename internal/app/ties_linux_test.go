package app

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

const ownNetwork = "CROLANG_AIO_TEST_OWN_NETWORK"

// inOwnNetwork runs the test anew in a process with a network of its own, that has these addresses. It reports whether this is that
// process; where it is not, the test is over.
func inOwnNetwork(t *testing.T, addrs ...string) bool {
	t.Helper()
	if os.Getenv(ownNetwork) != "" {
		for _, args := range append([]string{"link set lo up"}, addrs...) {
			if !strings.HasPrefix(args, "link") {
				args = "addr add " + args + " dev lo"
			}
			if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
				t.Fatalf("ip %s: %v: %s", args, err, out)
			}
		}
		return true
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("needs ip of iproute2")
	}
	own := func(host int) []syscall.SysProcIDMap { return []syscall.SysProcIDMap{{HostID: host, Size: 1}} }
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET, UidMappings: own(os.Getuid()), GidMappings: own(os.Getgid()),
	}
	probe := exec.Command("true")
	if probe.SysProcAttr = attr; probe.Run() != nil {
		t.Skip("no network namespaces here: needs root, or namespaces of users")
	}
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	again.SysProcAttr = attr
	again.Env = append(os.Environ(), ownNetwork+"=1")
	out, err := again.CombinedOutput()
	switch {
	case strings.Contains(string(out), "--- SKIP: "+t.Name()):
		t.Skipf("%s", out)
	case err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// guest is a Node with a relay at one of the machines.
type guest struct {
	*turnclient.Client
	relayed netip.AddrPort
}

// relayAt opens a relay for n at s, which has the address ip.
func (n *node) relayAt(s *site, ip string) guest {
	n.t.Helper()
	ctx, cancel := context.WithTimeout(n.t.Context(), patience)
	defer cancel()
	c, err := turnclient.Dial(ctx, turnclient.Options{Addr: ip + ":" + portOf(s), Transport: "udp", Username: n.user, Password: n.password})
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { c.Close() })
	a, err := c.Allocate(ctx, nil)
	if err != nil {
		n.t.Fatal(err)
	}
	return guest{c, a.Relayed}
}

// reaches sends through a channel, and waits until the other has it.
func (g guest) reaches(t *testing.T, number uint16, other guest) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := g.SendChannel(number, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if d, err := other.Receive(ctx); err != nil || string(d.Data) != "hello" {
		t.Fatalf("%+v, %v", d, err)
	}
}

// Two Nodes whom a Broker authorised reach each other though their relays are at two machines with private addresses; a third is not
// let through, and nothing else at those addresses is reached.
func TestFleetRelays(t *testing.T) {
	if !inOwnNetwork(t, "10.77.0.1/32", "10.77.0.2/32", "10.77.0.3/32") {
		return
	}
	server := redistest.Serve(t)
	machine := func(i int) *site {
		return startSite(t, fmt.Sprintf("[public]\nipv4 = '10.77.0.%d'\n[credentials]\nsecret = 'the secret of the fleet'\n[turn]\nlisten = ['10.77.0.%d:0']\nrelay_ports = '%d-%d'\n[turn.peers]\nmode = 'authorized'\n[fleet]\nredis_url = 'redis://%s'\nname = 'm%d'\n",
			i, i, 26000+100*i, 26099+100*i, server.Addr, i))
	}
	one, two := machine(1), machine(2)
	for _, s := range []*site{one, two} {
		await(t, "a machine does not know both", func() bool { return len(s.fleet.Machines()) == 2 })
	}
	alice, bob, carol := joinNode(t, one, "alice"), joinNode(t, two, "bob"), joinNode(t, two, "carol")
	a, b, c := alice.relayAt(one, "10.77.0.1"), bob.relayAt(two, "10.77.0.2"), carol.relayAt(two, "10.77.0.2")
	await(t, "it is not heard which relays there are", func() bool {
		_, atOne := one.ties.Held(b.relayed)
		_, atTwo := two.ties.Held(a.relayed)
		return atOne && atTwo && two.peers.IsRelay(a.relayed) && one.peers.IsRelay(c.relayed)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := a.Bind(ctx, 0x4000, b.relayed); turnclient.Code(err) != 403 {
		t.Errorf("before a Broker was asked: %v", err)
	}
	alice.emit(1, stories.Attempt, map[string]any{"from": "alice", "to": "bob"})
	alice.want(`431["OK"]`)
	await(t, "the other machine does not know that they may talk", func() bool { return two.ties.AuthorizedSince("bob", "alice", time.Now().Add(-time.Hour)) })
	for _, err := range []error{a.Bind(ctx, 0x4000, b.relayed), b.Bind(ctx, 0x4000, a.relayed)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	a.reaches(t, 0x4000, b)
	b.reaches(t, 0x4000, a)

	for name, err := range map[string]error{
		"to a Node that nobody authorised": a.Bind(ctx, 0x4001, c.relayed), "from one": c.Bind(ctx, 0x4001, a.relayed),
		"beside the relays": a.Bind(ctx, 0x4002, netip.AddrPortFrom(b.relayed.Addr(), 6379)), "to another address": a.Permit(ctx, netip.MustParseAddrPort("10.77.0.3:26250")),
	} {
		if turnclient.Code(err) != 403 {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A permission is for the address; who is behind it, each datagram shows.
	if err := c.Permit(ctx, a.relayed); err != nil {
		t.Fatal(err)
	}
	if err := c.Send(a.relayed, []byte("leak")); err != nil {
		t.Fatal(err)
	}
	await(t, "what nobody authorised is not dropped", func() bool {
		for _, x := range two.turn.Allocations() {
			if x.Node == "carol" && x.Stats.Up.Drops[relay.PeerDenied] == 1 {
				return true
			}
		}
		return false
	})

	three := machine(3)
	await(t, "a machine that came later does not know", func() bool {
		since := time.Now().Add(-time.Hour)
		return three.ties.Partner("bob", a.relayed, since) && three.ties.Partner("alice", b.relayed, since) && !three.ties.Partner("carol", a.relayed, since)
	})
}
