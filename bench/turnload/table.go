package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/crolang-p2p/crolang-aio/bench/turnload/load"
)

// table is the result for people.
func table(r *load.Result) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		_, _ = fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{name}, args...)...)
	}
	s := r.Setup
	row("set-up", "%d allocations over %s in %.2f s, %s/s", r.Clients, r.Transport, s.Seconds, count(s.PerSecond))
	row("  one took", "%s", latency(s.Took))
	if r.Process != nil {
		row("  server", "%.0f µs of CPU and %.1f kB per allocation", s.CPU, s.Memory)
	}
	if r.Seconds > 0 {
		rate := "as fast as possible"
		if r.Rate > 0 {
			rate = count(float64(r.Rate)) + "/s asked for"
		}
		row("traffic", "%s, %d bytes, %s, for %.1f s", r.Direction, r.Size, rate, r.Seconds)
		row("  sent", "%s/s", count(r.SentPPS))
		row("  delivered", "%s/s, %.1f Mbit/s", count(r.DeliveredPPS), r.Mbit)
		row("  lost", "%.3f %%", r.Loss*100)
		row("  reordered", "%d", r.Reordered)
		row("  "+way(r), "%s", latency(r.Latency))
		row("  jitter", "%s", micro(r.Jitter))
		if p := r.Process; p != nil {
			row("  server", "%.2f cores, %.2f µs of CPU per datagram, %.1f MB resident", p.Cores, p.CPU, p.RSS)
		}
		if r.OwnCPU > 0 {
			row("  generator", "%.2f cores", r.OwnCPU)
		}
	} else if p := r.Process; p != nil {
		row("  resident", "%.1f MB", p.RSS)
	}
	_ = w.Flush()
	for _, n := range notes(r) {
		b.WriteString("note: " + n + "\n")
	}
	return b.String()
}

// resent is when a request over UDP is sent again, in µs.
const resent = 500e3

// notes are what a reader should know before trusting the figures.
func notes(r *load.Result) (out []string) {
	if r.Behind || r.Rate > 0 && r.SentPPS > 0 && r.SentPPS < 0.97*float64(r.Rate) {
		out = append(out, "the generator could not keep the rate: the figures are those of what was sent")
	}
	if took := r.Setup.Took; r.Transport == "udp" && took != nil && took.P99 > resent {
		out = append(out, "some requests had to be sent again: a server that limits unauthenticated requests per address drops them "+
			"(crolang-aio: turn.limits.unauthenticated_per_second), and so does a full socket")
	}
	if r.SendErrors > 0 {
		out = append(out, fmt.Sprintf("sending failed %d times", r.SendErrors))
	}
	return out
}

func way(r *load.Result) string {
	if r.Direction == load.Echo {
		return "round trip"
	}
	return "one way"
}

func latency(l *load.Latency) string {
	if l == nil {
		return "-"
	}
	return fmt.Sprintf("p50 %s, p90 %s, p99 %s, at most %s", micro(l.P50), micro(l.P90), micro(l.P99), micro(l.Max))
}

func micro(us float64) string {
	switch {
	case us >= 1e6:
		return fmt.Sprintf("%.2f s", us/1e6)
	case us >= 1e4:
		return fmt.Sprintf("%.1f ms", us/1e3)
	case us >= 1e3:
		return fmt.Sprintf("%.2f ms", us/1e3)
	}
	return fmt.Sprintf("%.0f µs", us)
}

// count groups the digits of a whole number.
func count(v float64) string {
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}
