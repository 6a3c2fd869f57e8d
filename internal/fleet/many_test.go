package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

// imposed makes a data_dir with n bans.
func imposed(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	reg, err := nodes.New(nodes.Config{DataDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	all := make([]nodes.Imposed, n)
	for i := range all {
		all[i] = nodes.Imposed{By: "the operator", Ban: nodes.Ban{Node: fmt.Sprint("n", i), Reason: "spam", Since: time.Now()}}
	}
	reg.Impose(all)
	return dir
}

// Ten thousand bans come to a machine with a few writes of its disk, and back into a Redis that was emptied once, not by each machine.
func TestManyBans(t *testing.T) {
	const many = 10_000
	server := redistest.Serve(t)
	writes := 0
	first := start(t, redisAt(server), "m0", imposed(t, many))
	first.until("Redis has all", func() bool { return first.Health().Unshared == 0 && first.Counts().Sent >= many })
	dir := t.TempDir()
	second := start(t, redisAt(server), "m1", dir, func(c *Config) { c.Bans = counting{c.Bans.(*nodes.Registry), &writes} })
	second.until("it has all", func() bool { return second.Health().Bans == many })
	second.until("both see both", func() bool { return second.upNow() == 2 && first.upNow() == 2 })
	third := start(t, redisAt(server), "m2", "")
	third.until("it has all", func() bool { return third.Health().Bans == many && third.upNow() == 3 })
	all := []*box{first, second, third}
	for _, b := range all {
		b.until("it sees all", func() bool { return b.upNow() == 3 })
	}
	sent := func() (n uint64) {
		for _, b := range all {
			n += b.Counts().Sent
		}
		return n
	}
	before := sent()
	first.client.FlushAll(t.Context())
	for _, b := range all {
		b.until("it has compared, and waits for nothing", func() bool {
			return b.Counts().Compared > 1 && b.Health().Unshared == 0 && b.client.HLen(t.Context(), bansKey).Val() == many
		})
	}
	if got := sent() - before; got < many || got > many+many/2 {
		t.Errorf("%d bans were put into the emptied Redis, of %d", got, many)
	}
	second.end()
	if most := 2 * (many/received + 1); writes > most {
		t.Errorf("the disk was written %d times, more than %d", writes, most)
	}
	if len(second.reg.Bans()) != many {
		t.Error("bans are lacking")
	}
}

// counting counts how often bans are put in force, each time with one write of the disk. It belongs to one Fleet.
type counting struct {
	*nodes.Registry
	n *int
}

func (c counting) Impose(all []nodes.Imposed) {
	*c.n++
	c.Registry.Impose(all)
}

// In a fleet of hundreds each reads the others' heartbeats more seldom, counts none as silent for that, and hears all the same at
// once who comes, who drains and who leaves.
func TestManyMachines(t *testing.T) {
	server := redistest.Serve(t)
	all := startMany(t, redisAt(server), 3)
	m := all[0]
	var said []string
	for i := range 5 * stretchedFrom { // who never speaks again
		h := heartbeat{Boot: fmt.Sprint("b", i), Seq: 1, At: time.Now(), Name: fmt.Sprint("other", i), Takes: m.own().Takes}
		said = append(said, h.Boot, sealed(t, m, h))
	}
	m.client.HSet(t.Context(), machinesKey, said)
	m.until("it reads seldom", func() bool { return m.stretch() == 6 })
	m.Fleet.mu.Lock()
	gone := m.gone()
	m.Fleet.mu.Unlock()
	if gone != time.Second+5*100*time.Millisecond {
		t.Errorf("silent after %v", gone)
	}
	beats := m.Counts().Beats
	m.until("it has beaten", func() bool {
		if m.upNow() < 3 {
			t.Fatal("a machine that is there counts as silent")
		}
		return m.Counts().Beats > beats+20
	})
	all[1].Drain()
	m.until("it knows who drains", func() bool { return m.state("m1") == Draining })
	all[2].end()
	m.until("it knows who left", func() bool { return m.state("m2") == Left })
	fresh := start(t, redisAt(server), "fresh", "")
	m.until("it knows who came", func() bool { return m.state("fresh") == Up })
	fresh.until("it knows who is there", func() bool { return fresh.state("m0") == Up })
}
