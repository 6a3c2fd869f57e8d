package app

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

// BenchmarkConfiguration makes RTC configurations, alone and in a fleet of three.
func BenchmarkConfiguration(b *testing.B) {
	run := func(b *testing.B, s *site) {
		b.ReportAllocs()
		began := cpuTime()
		for i := 0; b.Loop(); i++ {
			if rtc, answer := s.decider.Configuration(b.Context(), fmt.Sprint("n", i%1000), netip.Addr{}); rtc == nil {
				b.Fatal(answer)
			}
		}
		b.ReportMetric(float64((cpuTime()-began).Nanoseconds())/float64(b.N), "cpu-ns/op")
	}
	alone := startSite(b, "")
	together := startFleet(b, redistest.Serve(b), []string{"one", "two", "three"}, "")
	b.Run("alone", func(b *testing.B) { run(b, alone) })
	b.Run("fleet", func(b *testing.B) { run(b, together[0]) })
}
