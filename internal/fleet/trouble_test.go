package fleet

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

// Sentinels that switch to a replica cost nothing: what that has not heard of it hears from the machines.
func TestSentinelSwitches(t *testing.T) {
	first := redistest.Serve(t)
	host, port, _ := net.SplitHostPort(first.Addr)
	second := redistest.Serve(t, "replicaof "+host+" "+port)
	sentinel := redistest.Sentinel(t, first)
	all := startMany(t, "redis+sentinel://"+sentinel.Addr+"/mymaster", 2)
	all[0].ban("before")
	direct := start(t, redisAt(second), "watches the replica", "")
	direct.until("the replica has the ban", func() bool { return direct.client.HLen(t.Context(), bansKey).Val() == 1 })
	direct.end()
	first.Kill()
	all[0].ban("meanwhile")
	for _, b := range all {
		b.until("it has the ban", func() bool { return b.reg.Banned("meanwhile") })
		b.until("all is well", func() bool { return b.upNow() == 2 && len(b.foundNow()) == 0 && b.Health().Unshared == 0 })
	}
	if s := all[1].ban("after"); s.Machines != 2 || !s.Shared {
		t.Errorf("%+v", s)
	}
}

// Clocks that are five minutes apart are named, and change nothing: bans hold, are lifted and end, Nodes are sent to both.
func TestClocksApart(t *testing.T) {
	server := redistest.Serve(t)
	ahead := func(c *Config) { c.Now = func() time.Time { return time.Now().Add(5 * time.Minute) } }
	right, wrong := start(t, redisAt(server), "right", ""), start(t, redisAt(server), "wrong", "", ahead)
	for _, b := range []*box{right, wrong} {
		b.until("it sees both", func() bool { return b.upNow() == 2 })
	}
	right.until("the clock is named", func() bool { return strings.Contains(right.foundNow()["fleet.clock.wrong"], "5m0s from") })
	for _, pair := range [][2]*box{{right, wrong}, {wrong, right}} {
		one, other := pair[0], pair[1]
		if s := one.ban("eve"); s.Machines != 2 || !other.reg.Banned("eve") {
			t.Errorf("banned at %s: %+v", one.name, s)
		}
		if s := other.unban("eve"); s.Machines != 2 || one.reg.Banned("eve") {
			t.Errorf("lifted at %s: %+v", other.name, s)
		}
		if len(one.places.Load().by[""]) != 2 {
			t.Errorf("%s does not send Nodes to both", one.name)
		}
	}
}
