package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"
)

// durations are measurements, in any order.
type durations []time.Duration

// quantile is the q-th part from below; "-" where nothing was measured.
func (d durations) quantile(q float64) string {
	if len(d) == 0 {
		return "-"
	}
	sorted := slices.Sorted(slices.Values(d))
	v := sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
	if v < 10*time.Millisecond {
		return v.Round(10 * time.Microsecond).String()
	}
	return v.Round(time.Millisecond).String()
}

func table(out io.Writer, rows []row) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "attack\ton\trate\tin %s\tp50\tp99\tworst\tBinding p50\tp99\tlost\tcores\tmemory\n", inTime)
	for _, r := range rows {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%.0f %s\t%d of %d\t%s\t%s\t%s\t%s\t%s\t%d\t%.2f\t%+d MB\n", r.scenario, r.server, r.rate, r.unit, r.got, r.came,
			r.times.quantile(0.5), r.times.quantile(0.99), r.times.quantile(1), r.bindings.quantile(0.5), r.bindings.quantile(0.99), r.lost, r.cores, r.grown>>20)
	}
	return w.Flush()
}
