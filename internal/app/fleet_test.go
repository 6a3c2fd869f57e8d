package app

import (
	"fmt"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

// startFleet starts sites that share a Redis and a secret, and waits until each knows all.
func startFleet(t *testing.T, server *redistest.Server, names []string, more string) []*site {
	t.Helper()
	var all []*site
	for i, name := range names {
		all = append(all, startSite(t, fmt.Sprintf("[credentials]\nsecret = 'the secret of the fleet'\n[turn]\nrelay_ports = '%d-%d'\n[fleet]\nredis_url = 'redis://%s'\nname = '%s'\n%s",
			26000+100*i, 26099+100*i, server.Addr, name, more)))
	}
	for _, s := range all {
		s.until(t, "it knows all machines", func() bool { return len(s.fleet.Machines()) == len(names) })
	}
	return all
}

// until waits for something that comes about.
func (s *site) until(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
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
