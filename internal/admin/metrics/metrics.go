// Package metrics turns the program's counters into Prometheus metrics. No label ever holds what a stranger chose: neither a
// Node id nor an address.
package metrics

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

const namespace = "crolang_aio"

// Config has the sources of the numbers. They are called by [New] and at each scrape, from any goroutine; a source that is
// nil is left out of the metrics.
type Config struct {
	Version, Commit, Go string

	Turn        func() adminapi.TurnStats
	Nodes       func() nodes.Stats
	Limits      func() map[string]int64              // by configuration key; 0: no limit
	Certificate func() (notAfter time.Time, ok bool) // of the certificate that clients get; ok: it is the one meant, and in its time
	ACME        func() map[string]uint64             // attempts to get one from a CA, by result; nil: none is asked
	Redis       func() (RedisStats, bool)            // false: it is off
	Broker      func() (BrokerStats, bool)           // false: it is off
	Fleet       func() (FleetStats, bool)            // false: this machine is alone
	Policy      func() PolicyStats
	Web         func() (WebStats, bool) // false: nothing is served
	Usage       func() UsageStats
	HTTP        func() map[string]map[string]uint64 // what was not served as it should have been, by listener ("hooks", "admin") and cause
	State       func() (ready, draining bool)
}

// RedisStats is the embedded Redis in numbers.
type RedisStats struct {
	Clients, Keys         int
	Memory                int64 // bytes
	Connections, Commands uint64
	Refused               map[string]uint64 // connections, by cause
	RefusedCommands       map[string]uint64
}

// PolicyStats is what the policies behind the webhooks have done, in numbers.
type PolicyStats struct {
	Upstream       map[string]uint64 // questions for the operator's own webhook, by what became of them
	Messages       map[string]uint64 // notices of messages, likewise
	MessagesQueued int
	TokensWatched  int // Nodes whose token's end is known
	ChecksWaiting  int // tokens that wait to be checked with argon2id
	ChecksRefused  uint64
}

// UsageStats is what was used in the present month of UTC, in numbers.
type UsageStats struct {
	In, Out               uint64 // bytes as on the wire
	Time                  time.Duration
	Allocations, Messages uint64
	Nodes                 int // that used something
	Near, Exhausted       int // of them, at 80 % and at all of their limit
	Unkept                bool
}

// Metrics is a registry of its own, with the Go runtime's and the process's metrics beside the program's.
type Metrics struct {
	registry *prometheus.Registry
	handler  http.Handler
	hooks    *prometheus.HistogramVec
	joins    prometheus.Histogram

	mu      sync.Mutex
	allowed map[string]map[string]bool // label values met, by label
	refused map[[2]string]uint64       // HTTP requests, by listener and status
}

// New makes the metrics.
func New(cfg Config) (*Metrics, error) {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		hooks: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: "hooks", Name: "request_duration_seconds",
			Help:    "Time from a webhook request's header to its answer, by hook and result.",
			Buckets: []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
		}, []string{"hook", "result"}),
		joins: prometheus.NewHistogram(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: "broker", Name: "join_duration_seconds",
			Help:    "Time from a Node's connection to the Broker in this process until it is told AUTHENTICATED.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, 1, 5, 30},
		}),
		allowed: make(map[string]map[string]bool),
		refused: make(map[[2]string]uint64),
	}
	info := prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: namespace, Name: "build_info", Help: "Always 1; the labels say what runs.",
		ConstLabels: prometheus.Labels{"version": cfg.Version, "commit": cfg.Commit, "goversion": cfg.Go},
	})
	info.Set(1)
	for _, c := range []prometheus.Collector{
		m.hooks, m.joins, info, newCollector(cfg, m),
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	} {
		if err := m.registry.Register(c); err != nil {
			return nil, err
		}
	}
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
	return m, nil
}

// ServeHTTP answers a scrape.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.handler.ServeHTTP(w, r) }

// ObserveHook notes an answered webhook request. It is quick, and may be called from any goroutine. Both names come from the
// program's own small vocabulary; whatever comes beyond 16 of each is counted as "other".
func (m *Metrics) ObserveHook(hook, result string, took time.Duration) {
	m.hooks.WithLabelValues(m.bounded("hook", hook), m.bounded("result", result)).Observe(took.Seconds())
}

// ObserveJoin notes how long a Node took from the beginning of its connection until it had joined the Broker in this process.
func (m *Metrics) ObserveJoin(took time.Duration) { m.joins.Observe(took.Seconds()) }

// CountRefused notes an HTTP request that a listener ("hooks", "admin") refused with a status of 401, 403 or 410.
func (m *Metrics) CountRefused(listener string, status int) {
	text := "other"
	switch status {
	case http.StatusUnauthorized:
		text = "401"
	case http.StatusForbidden:
		text = "403"
	case http.StatusGone:
		text = "410"
	}
	listener = m.bounded("listener", listener)
	m.mu.Lock()
	m.refused[[2]string{listener, text}]++
	m.mu.Unlock()
}

// Refused returns what CountRefused has counted, by listener and status, such as "hooks 401".
func (m *Metrics) Refused() map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := make(map[string]uint64, len(m.refused))
	for k, n := range m.refused {
		out[k[0]+" "+k[1]] = n
	}
	return out
}

const maxValues = 16

// bounded lets a label have at most maxValues values.
func (m *Metrics) bounded(label, value string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	known := m.allowed[label]
	if known == nil {
		known = make(map[string]bool)
		m.allowed[label] = known
	}
	if !known[value] {
		if len(known) >= maxValues {
			return "other"
		}
		known[value] = true
	}
	return value
}
