package app

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

// BenchmarkConfiguration makes RTC configurations alone and in a fleet of three, in turns within one process, so that both
// have the same machine; fleet/alone is the median of the pairs: go test -bench Configuration -benchtime 300x -count 5.
func BenchmarkConfiguration(b *testing.B) {
	const each = 1000 // in one turn
	alone := startSite(b, "")
	together := startFleet(b, redistest.Serve(b), []string{"one", "two", "three"}, "")[0]
	turn := func(s *site) float64 {
		began := cpuTime()
		for i := range each {
			if rtc, answer := s.decider.Configuration(b.Context(), fmt.Sprint("n", i), netip.Addr{}); rtc == nil {
				b.Fatal(answer)
			}
		}
		return float64((cpuTime() - began).Nanoseconds()) / each
	}
	turn(alone)
	turn(together)
	var ones, others, ratios []float64
	for i := 0; b.Loop(); i++ {
		var one, other float64
		if i%2 == 0 {
			one, other = turn(alone), turn(together)
		} else {
			other, one = turn(together), turn(alone)
		}
		ones, others, ratios = append(ones, one), append(others, other), append(ratios, other/max(one, float64(time.Nanosecond)))
	}
	median := func(all []float64) float64 {
		slices.Sort(all)
		return all[len(all)/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ones), "alone-cpu-ns")
	b.ReportMetric(median(others), "fleet-cpu-ns")
	b.ReportMetric(median(ratios), "fleet/alone")
}
