package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

// Whatever becomes of Redis, calls go on, Nodes are told both machines, and bans are shared when that can be.
func TestFleetRedisInTrouble(t *testing.T) {
	store := redistest.Serve(t)
	client := must(redisurl.Open("redis://" + store.Addr))(t)
	defer client.Close()
	a, b := machine(t, store.Addr, "a", 20000, false), machine(t, store.Addr, "b", 21000, false)
	seesUp(t, 2, a, b)
	user, password := a.credentials(t, "caller")
	call := b.relay(t, user, password)
	set := func(name, value string) func() error {
		return func() error { return client.ConfigSet(t.Context(), name, value).Err() }
	}
	replica := func(host, port string) func() error {
		return func() error { return client.SlaveOf(t.Context(), host, port).Err() }
	}
	goesOn := func(what string) {
		t.Helper()
		call.relays(t, what)
		for _, s := range []*server{a, b} {
			if urls := s.turnURLs(t, "somebody"); !a.leadsTo(urls) || !b.leadsTo(urls) {
				t.Errorf("%s: told %q", what, urls)
			}
		}
	}
	for _, c := range []struct {
		what        string
		begin, over func() error
	}{
		{"it stands still", store.Stop, store.Continue},
		{"it is full", set("maxmemory", "1"), set("maxmemory", "0")},
		{"it is read-only", replica("127.0.0.1", "1"), replica("NO", "ONE")},
		{"it was emptied", func() error { return client.FlushAll(t.Context()).Err() }, func() error { return nil }},
	} {
		if err := c.begin(); err != nil {
			t.Fatal(err)
		}
		goesOn(c.what)
		node := strings.ReplaceAll(c.what, " ", "-")
		a.ban(t, node)
		if yes, _ := a.banned(t, node); !yes {
			t.Errorf("%s: a ban does not hold where it was made", c.what)
		}
		if err := c.over(); err != nil {
			t.Fatal(err)
		}
		await(t, c.what+": the ban is everywhere", func() bool {
			here, unshared := a.banned(t, node)
			there, _ := b.banned(t, node)
			return here && there && !unshared
		})
		seesUp(t, 2, a, b)
	}
	store.Kill()
	await(t, "the loss of Redis is found", func() bool { return a.foundOnes(t)["fleet.redis"] != "" })
	goesOn("it is gone")
}

// A machine that is cut off from Redis goes on with its calls, counts as silent for the others alone, and hears at last of what
// was decided meanwhile, as they do of what it has decided.
func TestFleetCutOff(t *testing.T) {
	if !inOwnNetwork(t) {
		return
	}
	cut := time.Duration(number(t, cutVariable, 0)) * time.Second
	runs(t, "ip", "addr", "add", "10.9.9.9/32", "dev", "lo")
	runs(t, "ip", "rule", "add", "pref", "100", "lookup", "local")
	runs(t, "ip", "rule", "del", "pref", "0")
	store := redistest.Serve(t, "bind 127.0.0.1 10.9.9.9", "protected-mode no")
	a := machine(t, store.Addr, "a", 20000, false)
	b := machine(t, strings.Replace(store.Addr, "127.0.0.1", "10.9.9.9", 1), "b", 21000, false)
	seesUp(t, 2, a, b)
	user, password := a.credentials(t, "caller")
	call := b.relay(t, user, password)
	runs(t, "ip", "rule", "add", "pref", "1", "to", "10.9.9.9", "blackhole")
	began := time.Now()
	for s, node := range map[*server]string{a: "eve", b: "mallory"} {
		s.ban(t, node)
	}
	await(t, "nobody is sent to the machine that is cut off", func() bool { return a.fleetStates(t)["b"] == "silent" && !b.leadsTo(a.turnURLs(t, "alice")) })
	for more := true; more; time.Sleep(100 * time.Millisecond) { // by hand only
		more = time.Since(began) < cut
	}
	call.relays(t, "cut off")
	b.credentials(t, "cut off")
	if _, unshared := b.banned(t, "mallory"); !unshared {
		t.Error("a ban is not marked")
	}
	runs(t, "ip", "rule", "del", "pref", "1")
	healed := time.Now()
	seesUp(t, 2, a, b)
	for s, node := range map[*server]string{a: "mallory", b: "eve"} {
		await(t, "it has the other's ban", func() bool { yes, _ := s.banned(t, node); return yes })
	}
	t.Logf("cut off for %s, one again after %s", healed.Sub(began).Round(time.Millisecond), time.Since(healed).Round(time.Millisecond))
	call.relays(t, "one again")
}
