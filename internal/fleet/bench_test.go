package fleet

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkBan has one of three machines ban Nodes, one after the other, each with a relay at every machine, and says how long it
// took until all have it on the disk, have ended the relays, and have said so: go test -bench Ban -benchtime 1000x.
func BenchmarkBan(b *testing.B) {
	all := startMany(b, redisAt(serveRedis(b)), 3, func(c *Config) { c.beat, c.gone = beatEvery, goneAfter })
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		node := fmt.Sprint("n", i)
		for _, m := range all {
			m.relays.open(node, 1)
		}
		began := time.Now()
		_, s, err := all[i%3].Ban(context.Background(), node, "spam", 0)
		took = append(took, time.Since(began))
		if err != nil || s.Machines != 3 || s.Closed != 2 {
			b.Fatalf("%+v, %v", s, err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)*50/100].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1e3, "most-ms")
	for _, m := range all {
		m.end()
	}
}
