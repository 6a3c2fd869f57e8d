package e2e

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

// One machine of two is replaced while calls are live at both, and Nodes connected: its Nodes join the other, its relays go on
// until they are given back, nobody is sent there meanwhile, and it knows afterwards what was decided without it.
func TestFleetRollingUpgrade(t *testing.T) {
	redis := redistest.Serve(t)
	a := machine(t, redis.Addr, "a", 20000, true, `drain_timeout = "2s"`, `drain_timeout = "1m"`)
	b := machine(t, redis.Addr, "b", 21000, true)
	seesUp(t, 2, a, b)
	alice := must(a.join(t, "alice"))(t)
	if !a.leadsTo(alice.urls) || !b.leadsTo(alice.urls) {
		t.Errorf("told %q", alice.urls)
	}
	here, there := a.relay(t, alice.user, alice.password), b.relay(t, alice.user, alice.password)
	began := time.Now()
	if out, err := run(t, binary, "drain", "--config", a.config); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, s := range []*server{a, b} {
		eventually(t, "nobody is sent to the machine that drains", 20*time.Second, func() bool {
			urls := s.turnURLs(t, "bob")
			return !a.leadsTo(urls) && b.leadsTo(urls)
		})
	}
	t.Logf("out of new credentials %s after drain was called", time.Since(began).Round(time.Millisecond))
	for said := ""; said != "41"; {
		var err error
		if said, err = alice.read(); err != nil {
			t.Fatalf("the Node was not let go: %v", err)
		}
	}
	if _, err := a.join(t, "alice"); err == nil {
		t.Error("a machine that drains takes Nodes")
	}
	var again *joined
	eventually(t, "the Node joins the other machine", 20*time.Second, func() (ok bool) {
		n, err := b.join(t, "alice")
		again, ok = n, err == nil
		return ok
	})
	if a.leadsTo(again.urls) || !b.leadsTo(again.urls) {
		t.Errorf("joined again, and told %q", again.urls)
	}
	here.relays(t, "while it drains")
	there.relays(t, "at the other")
	b.ban(t, "mallory")
	must(here.client.Refresh(patiently(t), 0))(t)
	select {
	case <-a.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("does not end when nothing is left\n%s", a.logs())
	}
	a.edit = nil // the new program
	a.start(t)
	seesUp(t, 2, a, b)
	await(t, "it has the ban", func() bool { yes, _ := a.banned(t, "mallory"); return yes })
	await(t, "Nodes are sent there again", func() bool { return a.leadsTo(b.turnURLs(t, "carol")) })
	there.relays(t, "after all")
	last := a.relay(t, again.user, again.password)
	last.relays(t, "with the other's credential")
	must(last.client.Refresh(patiently(t), 0))(t) // so that its end need not be waited for
	if os.Getenv(formerVariable) != "" {          // both ways: what the new one decides holds at the former
		a.ban(t, "trudy")
		if yes, _ := b.banned(t, "trudy"); !yes {
			t.Error("the former release does not have a ban of the new one")
		}
	}
}

// A machine that is killed harms nobody's calls but its own, and its Nodes are sent elsewhere.
func TestFleetKilledMachine(t *testing.T) {
	calls := number(t, callsVariable, 30)
	redis := redistest.Serve(t)
	var all []*server
	for i := range 3 {
		all = append(all, machine(t, redis.Addr, fmt.Sprint("m", i), 20000+1000*i, false))
	}
	victim, others := all[2], all[:2]
	seesUp(t, 3, all...)
	var unharmed []liveRelay
	for i := range calls {
		user, password := all[i%3].credentials(t, fmt.Sprint("caller", i))
		victim.relay(t, user, password)
		if i%3 == 0 {
			unharmed = append(unharmed, others[0].relay(t, user, password), others[1].relay(t, user, password))
		}
	}
	alice := must(victim.join(t, "alice"))(t)
	victim.killed(t)
	began := time.Now()
	for _, l := range unharmed {
		l.relays(t, "after a machine is gone")
	}
	for err := error(nil); err == nil; _, err = alice.read() {
	}
	if os.Getenv(callsVariable) != "" { // by hand: its id is locked for a minute
		await(t, "its Node joins another machine", func() bool { _, err := others[0].join(t, "alice"); return err == nil })
		t.Logf("its Node is at another machine after %s", time.Since(began).Round(time.Millisecond))
	}
	for _, s := range others {
		await(t, "nobody is sent to the dead machine", func() bool {
			urls := s.turnURLs(t, "alice")
			if !slices.ContainsFunc(others, func(o *server) bool { return o.leadsTo(urls) }) {
				t.Fatalf("none of %q leads to a machine that is there", urls)
			}
			return s.fleetStates(t)["m2"] == "silent" && !victim.leadsTo(urls)
		})
	}
	t.Logf("%d calls were live there; nobody is sent there after %s", calls, time.Since(began).Round(time.Millisecond))
	for _, l := range unharmed {
		l.relays(t, "still")
	}
}
