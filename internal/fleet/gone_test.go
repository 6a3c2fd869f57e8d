package fleet

import "testing"

// A process that was killed, or has left, counts as gone at every machine that has heard of it, also when its machine is there
// again as another process; one that is there never does, nor anybody while this machine does not reach Redis.
func TestGone(t *testing.T) {
	server := serveRedis(t)
	all := startMany(t, redisAt(server), 4)
	one, killed, leaves, stays := all[0], all[1], all[2], all[3]
	if one.Gone(killed.Boot()) || one.Gone("never heard of") || one.Gone(one.Boot()) {
		t.Error("somebody who is there counts as gone")
	}
	killed.die()
	leaves.end()
	for _, b := range []*box{one, stays} {
		b.until("the others are gone", func() bool { return b.Gone(killed.Boot()) && b.Gone(leaves.Boot()) })
	}
	again := start(t, redisAt(server), killed.name, "")
	one.until("it is there again", func() bool { return one.state(killed.name) == Up })
	one.until("the former is forgotten", func() bool { return one.machineOf(killed.Boot()) == nil })
	one.until("the former is gone", func() bool { return one.Gone(killed.Boot()) })
	if one.Gone(again.Boot()) || one.Gone(stays.Boot()) {
		t.Error("somebody who is there counts as gone")
	}
	server.Kill()
	one.until("it cannot tell", func() bool { return !one.Gone(killed.Boot()) && !one.Gone(leaves.Boot()) })
}

// machineOf is what is known of a process.
func (f *Fleet) machineOf(boot string) *machine {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.machines[boot]
}

// Who comes anew takes the process for gone whose heartbeat it finds, and of which it hears nothing; not before.
func TestGoneBeforeTheStart(t *testing.T) {
	server := serveRedis(t)
	killed := start(t, redisAt(server), "m0", "")
	killed.until("it has beaten", func() bool { return killed.Counts().Beats > 0 })
	killed.die()
	again := start(t, redisAt(server), "m0", "")
	if again.Gone(killed.Boot()) {
		t.Error("it cannot know yet")
	}
	again.until("the former is gone", func() bool { return again.Gone(killed.Boot()) })
}
