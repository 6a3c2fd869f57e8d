package fleet

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// BenchmarkBan has one of three machines ban Nodes, one after the other, each with a relay at every machine, and says how long it
// took until all have it on the disk, have ended the relays, and have said so: go test -bench Ban -benchtime 1000x.
func BenchmarkBan(b *testing.B) {
	banAmong(b, 0)
}

// BenchmarkBanAmongMany does so beside a hundred thousand bans: go test -bench BanAmongMany -benchtime 50x.
func BenchmarkBanAmongMany(b *testing.B) {
	banAmong(b, 100_000)
}

func banAmong(b *testing.B, many int) {
	b.Helper()
	others := make([]nodes.Imposed, many)
	for i := range others {
		others[i] = nodes.Imposed{By: "the operator", Ban: nodes.Ban{Node: fmt.Sprint("other", i), Reason: "spam", Since: time.Unix(1_700_000_000, 0)}}
	}
	all := startMany(b, redisAt(serveRedis(b)), 3, func(c *Config) {
		c.beat, c.gone = beatEvery, goneAfter
		c.Bans.Impose(others)
	})
	for _, m := range all {
		m.until("Redis has all", func() bool { return m.Health().Bans == many && m.Health().Unshared == 0 })
	}
	var took []time.Duration
	late := 0
	for i := 0; b.Loop(); i++ {
		node := fmt.Sprint("n", i)
		for _, m := range all {
			m.relays.open(node, 1)
		}
		began := time.Now()
		_, s, err := all[i%3].Ban(context.Background(), node, "spam", 0)
		took = append(took, time.Since(began))
		switch {
		case err != nil:
			b.Fatal(err)
		case len(s.Silent) > 0: // a second is over
			late++
		case s.Machines != 3 || s.Closed != 2:
			b.Fatalf("%+v", s)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*50/100].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1e3, "most-ms")
	b.ReportMetric(float64(late), "late")
	for _, m := range all {
		m.end()
	}
}
