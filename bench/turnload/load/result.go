package load

import (
	"time"
)

// Result is what a run found. Latency, jitter and loss are those of one way, with Echo of the whole round.
type Result struct {
	Server    string `json:"server"`
	Transport string `json:"transport"`
	Direction string `json:"direction"`
	Clients   int    `json:"clients"`
	Size      int    `json:"size"`
	Rate      int    `json:"rate"` // asked for; 0: as fast as possible

	Setup SetupResult `json:"setup"`

	Seconds      float64  `json:"seconds,omitempty"` // of the measurement
	SentPPS      float64  `json:"sent_per_second,omitempty"`
	DeliveredPPS float64  `json:"delivered_per_second,omitempty"`
	Delivered    int64    `json:"delivered,omitempty"`
	Mbit         float64  `json:"delivered_mbit_per_second,omitempty"` // of payload
	Loss         float64  `json:"loss"`                                // of what was sent, 0 to 1
	Reordered    int64    `json:"reordered"`
	SendErrors   int64    `json:"send_errors"`
	Latency      *Latency `json:"latency_us,omitempty"`
	Jitter       float64  `json:"jitter_us,omitempty"` // RFC 3550, mean of the clients
	OwnCPU       float64  `json:"generator_cores,omitempty"`
	Behind       bool     `json:"generator_behind,omitempty"` // the generator could not keep the rate

	Process *Process `json:"process,omitempty"`
}

// SetupResult is about the opening of the allocations, one challenge and one Allocate each, with the channel where
// there is traffic.
type SetupResult struct {
	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"per_second"`
	Took      *Latency `json:"took_us"`
	CPU       float64  `json:"server_cpu_us,omitempty"` // per allocation
	Memory    float64  `json:"server_kb,omitempty"`     // resident, per allocation
}

// Latency has quantiles in microseconds.
type Latency struct {
	P50 float64 `json:"p50"`
	P90 float64 `json:"p90"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
}

// Process is the cost of the server's process.
type Process struct {
	PID   int     `json:"pid"`
	Cores float64 `json:"cores,omitempty"`
	// CPU is µs per datagram that was delivered and per crossing of the server: an echo crosses it twice.
	CPU float64 `json:"cpu_us_per_datagram,omitempty"`
	// Kernel is the same of Config.Threads.
	Kernel float64 `json:"kernel_us_per_datagram,omitempty"`
	// Beyond is the same of Config.Beyond.
	Beyond float64 `json:"beyond_us_per_datagram,omitempty"`
	RSS    float64 `json:"rss_mb"`
}

func us(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }

func (h *histogram) latency() *Latency {
	return &Latency{P50: us(h.quantile(0.5)), P90: us(h.quantile(0.9)), P99: us(h.quantile(0.99)), Max: us(time.Duration(h.max))}
}

const mb = 1 << 20

func (res *Result) setup(took *histogram, before, after snapshot, c Config) {
	d := after.at.Sub(before.at).Seconds()
	res.Setup = SetupResult{Seconds: d, PerSecond: float64(c.Clients) / d, Took: took.latency()}
	if c.PID == 0 {
		return
	}
	n := float64(c.Clients)
	res.Setup.CPU = us(after.server-before.server) / n
	res.Setup.Memory = float64(after.rss-before.rss) / 1024 / n
	res.Process = &Process{PID: c.PID, RSS: float64(after.rss) / mb}
}

func (res *Result) traffic(r *run, before, after snapshot) {
	t := &r.tally
	d := r.Duration.Seconds()
	res.Seconds = d
	res.SentPPS = float64(t.sent) / d
	res.DeliveredPPS = float64(t.arrived) / d
	res.Delivered = t.arrived
	res.Mbit = res.DeliveredPPS * float64(r.Size) * 8 / 1e6
	if t.sent > 0 {
		res.Loss = max(0, 1-float64(t.matched)/float64(t.sent))
	}
	res.Reordered, res.SendErrors = t.reordered, r.sendErrs.Load()
	res.Latency = t.latency.latency()
	if t.flows > 0 {
		res.Jitter = t.jitter / float64(t.flows) / 1e3
	}
	elapsed := after.at.Sub(before.at).Seconds()
	res.OwnCPU = (after.own - before.own).Seconds() / elapsed
	res.Behind = r.slow.Load()
	if r.PID == 0 {
		return
	}
	crossings := 1.0
	if r.Direction == Echo {
		crossings = 2
	}
	cores := (after.server - before.server).Seconds() / elapsed
	res.Process = &Process{PID: r.PID, Cores: cores, RSS: float64(after.rss) / mb}
	if t.arrived > 0 {
		each := func(d time.Duration) float64 { return us(d) / elapsed / res.DeliveredPPS / crossings }
		res.Process.CPU = each(after.server - before.server)
		res.Process.Kernel = each(after.kernel - before.kernel)
		res.Process.Beyond = each(after.beyond - before.beyond)
	}
}
