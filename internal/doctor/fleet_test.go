package doctor

import (
	"context"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

// The fleet's Redis is looked at as far as it lets itself be seen.
func TestFleetRedis(t *testing.T) {
	server := redistest.Serve(t)
	url := "redis://" + server.Addr
	look := func(url string) []Finding {
		return goodStub().examine(t, func(l *Local, _ *Config) { l.FleetRedis = url })
	}
	client, err := redisurl.Open(url)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	do := func(words ...any) {
		t.Helper()
		if err := client.Do(context.Background(), words...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	want(t, look(url), OK, "fleet redis", "answers within")
	do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru", "maxmemory", "1mb")
	all := look(url)
	want(t, all, Warn, "fleet redis", "evicts keys", "maxmemory-policy noeviction")
	want(t, all, Warn, "fleet redis", "of its maxmemory")
	do("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "0")
	do("ACL", "SETUSER", "shy", "on", ">pass", "~*", "&*", "+@read", "+@write", "+@pubsub", "+@connection")
	want(t, look("redis://shy:pass@"+server.Addr), OK, "fleet redis", "it does not answer INFO")
	do("ACL", "SETUSER", "shut", "on", ">pass")
	want(t, look("redis://shut:pass@"+server.Addr), Fail, "fleet redis", "cannot be used")
	server.Kill()
	want(t, look(url), Fail, "fleet redis", "cannot be used", "calls go on")
}

// Each machine that serves is tried at a URL of its own; what else there is of machines is named.
func TestFleetMachines(t *testing.T) {
	s := goodStub()
	s.fleet = adminapi.Fleet{Machines: []adminapi.Machine{
		{Name: "here", Here: true, State: "up", URLs: []string{"turn:127.0.0.1:1"}},
		{Name: "two", State: "up", Takes: true, URLs: []string{"stun:127.0.0.1:2", "turn:127.0.0.1:2?transport=tcp", "turn:127.0.0.1:2"}},
		{Name: "tried", State: "up", Takes: true, URLs: []string{"turn:127.0.0.1:1"}},
		{Name: "three", State: "silent", URLs: []string{"turn:127.0.0.1:3"}},
		{Name: "gone", State: "left", URLs: []string{"turn:127.0.0.1:4"}},
	}}
	all := s.examine(t, func(l *Local, _ *Config) { l.FleetRedis = "redis://127.0.0.1:1" })
	want(t, all, Warn, "fleet", `the machine "three" is silent`)
	want(t, all, OK, "fleet", "5 machines in the fleet")
	if len(about(all, "turn:127.0.0.1:2?transport=tcp")) == 0 {
		t.Errorf("a machine was not tried: %+v", all)
	}
	for _, url := range []string{"turn:127.0.0.1:3", "turn:127.0.0.1:4", "turn:127.0.0.1:2"} {
		if found := about(all, url); len(found) > 0 {
			t.Errorf("%s was tried: %+v", url, found)
		}
	}
}
