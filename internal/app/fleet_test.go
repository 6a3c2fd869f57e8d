package app

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/internal/usage"
)

// startFleet starts sites that share a Redis and a secret, and waits until each knows all.
func startFleet(t testing.TB, server *redistest.Server, names []string, more string) []*site {
	t.Helper()
	var all []*site
	for i, name := range names {
		all = append(all, startSite(t, fmt.Sprintf("drain_timeout = '20s'\n[credentials]\nsecret = 'the secret of the fleet'\n[turn]\nrelay_ports = '%d-%d'\n[fleet]\nredis_url = 'redis://%s'\nname = '%s'\n%s",
			26000+100*i, 26099+100*i, server.Addr, name, more)))
	}
	for _, s := range all {
		await(t, "a machine does not know all", func() bool { return len(s.fleet.Machines()) == len(names) })
	}
	return all
}

// operator is a client of the admin API of s.
func (s *site) operator(t *testing.T) *adminapi.Client {
	t.Helper()
	c, err := adminapi.NewClient("http://"+s.guard.Addr().String(), "")
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// A Node that is banned at one machine has its relays ended, and is let go, at another.
func TestFleetBan(t *testing.T) {
	all := startFleet(t, redistest.Serve(t), []string{"eu-1", "eu-2"}, "")
	eve := joinNode(t, all[1], "eve")
	client := eve.allocate(all[1])
	defer client.Close()
	operator := all[0].operator(t)
	a, err := operator.Ban(t.Context(), adminapi.BanRequest{Node: "eve", Reason: "spam"})
	if err != nil || a.Closed != 1 || a.Fleet == nil || a.Fleet.Machines != 2 || a.Fleet.Closed != 1 || !a.Fleet.Shared {
		t.Fatalf("%+v %+v, %v", a, a.Fleet, err)
	}
	if n := all[1].turn.Live(); n != 0 {
		t.Errorf("%d relays are left", n)
	}
	eve.ends()
	if _, said, err := dialNode(all[1].broker.Addr().String(), "eve", ""); err != nil || said[:2] != "44" {
		t.Errorf("a banned Node is told %q, %v", said, err)
	}
	bans, err := all[1].operator(t).Bans(t.Context(), 0)
	if err != nil || len(bans.Bans) != 1 || bans.Bans[0].Reason != "spam" || bans.Bans[0].Unshared {
		t.Errorf("%+v, %v", bans, err)
	}
	if err := all[1].operator(t).Unban(t.Context(), "eve"); err != nil || all[0].nodes.Banned("eve") {
		t.Errorf("lifted at the other machine: %v", err)
	}
	f, err := operator.Fleet(t.Context())
	if err != nil || f.Name != "eu-1" || len(f.Machines) != 2 || !f.Machines[0].Here || f.Machines[1].State != "up" || f.Redis != "" {
		t.Errorf("%+v, %v", f, err)
	}
}

// Alone, nothing is different.
func TestNoFleet(t *testing.T) {
	s := startSite(t, "")
	operator := s.operator(t)
	if _, err := operator.Fleet(t.Context()); err == nil {
		t.Error("a fleet of one without a Redis")
	}
	if a, err := operator.Ban(t.Context(), adminapi.BanRequest{Node: "eve"}); err != nil || a.Fleet != nil {
		t.Errorf("%+v, %v", a, err)
	}
}

// Nodes are told the URLs of both machines with a credential that both take; one that drains is left out at once, and refuses.
func TestFleetConfiguration(t *testing.T) {
	all := startFleet(t, redistest.Serve(t), []string{"eu-1", "eu-2"}, "")
	ports := []string{portOf(all[0]), portOf(all[1])}
	leadsTo := func(urls []string) (to []string) {
		for _, port := range ports {
			if slices.ContainsFunc(urls, func(u string) bool { return strings.Contains(u, ":"+port+"?") }) {
				to = append(to, port)
			}
		}
		return to
	}
	var alice *node
	await(t, "a Node is not told both machines", func() bool {
		alice = joinNode(t, all[0], fmt.Sprint("alice", time.Now().UnixNano()))
		return slices.Equal(leadsTo(alice.urls), ports)
	})
	if len(alice.urls) > 6 {
		t.Errorf("%d URLs", len(alice.urls))
	}
	alice.allocate(all[0])
	alice.allocate(all[1])
	all[0].Drain()
	await(t, "Nodes are sent to a machine that drains", func() bool {
		n := joinNode(t, all[1], fmt.Sprint("bob", time.Now().UnixNano()))
		return slices.Equal(leadsTo(n.urls), ports[1:])
	})
	c, err := turnclient.Dial(t.Context(), turnclient.Options{Addr: "127.0.0.1:" + ports[0], Transport: "udp", Username: alice.user, Password: alice.password})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Allocate(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "508") {
		t.Errorf("an Allocate at a machine that drains: %v", err)
	}
	var f adminapi.Fleet
	await(t, "the load of the other is not known", func() bool {
		f, err = all[1].operator(t).Fleet(t.Context())
		return err != nil || f.Machines[0].Allocations > 0
	})
	if err != nil || f.Machines[0].State != "draining" || f.Machines[0].Ports != 100 {
		t.Errorf("%+v, %v", f.Machines, err)
	}
	for _, s := range all { // so that they need not be waited for
		s.turn.CloseNode(alice.user[strings.Index(alice.user, ":")+1:], "the test is over")
	}
}

// A machine with another configuration is named.
func TestFleetNamesWhatDiffers(t *testing.T) {
	server := redistest.Serve(t)
	all := startFleet(t, server, []string{"one"}, "")
	startSite(t, fmt.Sprintf("drain_timeout = '20s'\n[credentials]\nsecret = 'the secret of the fleet'\n[turn]\nrealm = 'other'\n[fleet]\nredis_url = 'redis://%s'\nname = 'odd'\n[hooks.authorize]\nmode = 'deny'\n", server.Addr))
	await(t, "nothing is found", func() bool {
		for _, f := range all[0].found.All() {
			if f.ID == "fleet.machine.odd" {
				return strings.Contains(f.Detail, "another hooks.authorize, turn.realm than")
			}
		}
		return false
	})
}

// While a Node is connected at one machine its expired credential opens relays at the others.
func TestFleetWhileConnected(t *testing.T) {
	all := startFleet(t, redistest.Serve(t), []string{"one", "two"}, "")
	alice := joinNode(t, all[0], "alice")
	old, err := all[0].keys.Issue("alice", -time.Minute, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	alice.user, alice.password = old.Username, old.Password
	await(t, "the other machine does not know that it is connected", func() bool { return all[1].fleet.Connected("alice") })
	alice.allocate(all[1])
	if all[1].fleet.Connected("bob") {
		t.Error("a Node that is nowhere counts as connected")
	}
}

// A Node's limits hold over all machines: allocations, and what it relays in a month; and that is what it is told.
func TestFleetLimits(t *testing.T) {
	all := startFleet(t, redistest.Serve(t), []string{"one", "two"}, "[turn.limits]\nallocations_per_node = 2\nbytes_per_month_per_node = '1 MB'\n")
	alice := joinNode(t, all[0], "alice")
	alice.allocate(all[0])
	last := alice.allocate(all[1])
	refused := func(s *site) bool {
		c, err := turnclient.Dial(t.Context(), turnclient.Options{Addr: "127.0.0.1:" + portOf(s), Transport: "udp", Username: alice.user, Password: alice.password})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = c.Allocate(t.Context(), nil)
		return err != nil && strings.Contains(err.Error(), "486")
	}
	for _, s := range all {
		await(t, "a machine does not count what the other has", func() bool { return s.fleet.LiveElsewhere("alice") == 1 })
		if !refused(s) {
			t.Error("a third allocation")
		}
		if _, events, _ := s.nodes.Lookup("alice"); !strings.Contains(events[len(events)-1].Detail, "2 of 2 in use over all machines of the fleet") {
			t.Errorf("%+v", events)
		}
	}
	last.Close()
	all[1].turn.CloseNode("alice", "the test is over")
	await(t, "it is not heard that one has ended", func() bool { return all[0].fleet.LiveElsewhere("alice") == 0 })
	all[1].usage.Used("alice", 400_000, 0, time.Second)
	all[0].usage.Used("alice", 600_000, 0, time.Second)
	await(t, "the month's limit is not noticed", func() bool {
		return all[0].turn.Live() == 0 && all[1].fleet.UsedElsewhere(int32(usage.MonthOf(time.Now())), "alice") == 600_000
	})
	for _, s := range all {
		if limit, detail := s.usage.Exhausted("alice"); limit != usage.NodeLimit || !strings.Contains(detail, "over all machines of the fleet") {
			t.Errorf("%v: %s", limit, detail)
		}
	}
	if limit, _ := all[0].usage.Exhausted("bob"); limit != usage.NoLimit {
		t.Error("another Node pays for it")
	}
}

// Two Nodes at two machines have one story at each: what comes from the Broker of the other is in it.
func TestFleetStories(t *testing.T) {
	all := startFleet(t, redistest.Serve(t), []string{"one", "two"}, "")
	alice, bob := joinNode(t, all[0], "alice"), joinNode(t, all[1], "bob")
	alice.emit(1, stories.Attempt, map[string]any{"from": "alice", "to": "bob"})
	alice.want(`431["OK"]`)
	bob.want(`42["CONNECTION_ATTEMPT"`)
	bob.emit(1, stories.Acceptance, map[string]any{"from": "bob", "to": "alice"})
	bob.want(`431["OK"]`)
	alice.want(`42["CONNECTION_ACCEPTANCE"`)
	for _, s := range all {
		await(t, "a machine does not know the end of the story", func() bool {
			story, _ := s.stories.Between("alice", "bob")
			return story.Asker == "alice" && story.Reply == stories.Acceptance
		})
		if list := s.stories.Connections(time.Time{}, "bob"); len(list) != 1 || !list[0].Accepted() {
			t.Errorf("%+v", list)
		}
	}
}

// Whichever machine is asked, it tells what all know of a Node, and which has not answered.
func TestFleetWhy(t *testing.T) {
	server := redistest.Serve(t)
	all := startFleet(t, server, []string{"one", "two", "three"}, "")
	alice, bob := joinNode(t, all[0], "alice"), joinNode(t, all[1], "bob")
	alice.allocate(all[2])
	alice.emit(1, stories.Attempt, map[string]any{"from": "alice", "to": "bob"})
	alice.want(`431["OK"]`)
	bob.want(`42["CONNECTION_ATTEMPT"`)
	for i, s := range all {
		c := s.operator(t)
		var n adminapi.NodeRecord
		await(t, "a machine does not know the whole story", func() (whole bool) {
			var err error
			n, err = c.Node(t.Context(), "alice")
			return err == nil && len(n.Unanswered) == 0 && len(n.Allocations) == 1 && n.Broker != nil && len(n.Connections) == 1
		})
		if n.Machine != []string{"one", "two", "three"}[i] || n.Broker.Machine != "one" || n.Allocations[0].Machine != "three" || !slices.Equal(n.ConnectedAt, []string{"one"}) {
			t.Errorf("%+v", n)
		}
		where := map[nodes.Kind]string{}
		for _, e := range n.Events {
			where[e.Kind] = e.Machine
		}
		if where[nodes.KindConnected] != "one" || where[nodes.KindAllocated] != "three" || where[nodes.KindSignal] != "one" {
			t.Errorf("%v", where)
		}
		story, err := c.Story(t.Context(), "bob", "alice")
		if err != nil || story.Nodes != [2]string{"alice", "bob"} || story.Missing != "accepted" || len(story.Unanswered) != 0 {
			t.Errorf("%+v, %v", story, err)
		}
	}
	server.Kill()
	n, err := all[0].operator(t).Node(t.Context(), "alice")
	if err != nil || len(n.Unanswered) != 2 || n.Unanswered[0].Machine != "three" {
		t.Errorf("without Redis: %+v, %v", n.Unanswered, err)
	}
	all[2].turn.CloseNode("alice", "the test is over") // so that it need not be waited for
}

// The lock of a Node says in which process its socket is, so that other machines' Brokers can tell when that is gone.
func TestFleetLocksNameTheirProcess(t *testing.T) {
	server := redistest.Serve(t)
	all := startFleet(t, server, []string{"one", "two"}, "")
	client, err := redisurl.Open("redis://" + server.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	for i, node := range []string{"alice", "bob"} {
		joinNode(t, all[i], node)
		if lock := client.Get(t.Context(), node).Val(); !strings.HasSuffix(lock, "-"+all[i].fleet.Boot()) {
			t.Errorf("the lock of %s is %q", node, lock)
		}
	}
}
