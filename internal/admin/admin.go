// Package admin is what the admin listener serves: the API (whose types and client are in package adminapi), events as they
// happen, metrics, health and the dashboard.
//
// Time-outs, the token and the check of Host and Origin belong to the listener in front (package webguard).
package admin

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/audit"
	"github.com/crolang-p2p/crolang-aio/internal/history"
	"github.com/crolang-p2p/crolang-aio/internal/losses"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
	"github.com/crolang-p2p/crolang-aio/internal/usage"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

// Relays is the part of the TURN server that an operator sees and acts on.
type Relays interface {
	// Allocations lists the live allocations.
	Allocations() []adminapi.Allocation
	// Toward lists those of a Node that let data through to and from one of these addresses.
	Toward(node string, peers []netip.Addr) []adminapi.Allocation
	// CloseAllocation ends the one with that id, and reports whether there was one.
	CloseAllocation(id, cause string) bool
}

// Config is what New needs. Status and the functions are called from any goroutine.
type Config struct {
	Nodes  *nodes.Registry
	Relays Relays
	// Status describes the running program. NotReady is filled in from the func below.
	Status func() adminapi.Status
	// NotReady names what is not ready to serve, "draining" while the server drains; empty: ready.
	NotReady func() []string
	// Degraded names the parts that serve, but not all clients as they should. May be nil.
	Degraded func() []string
	// Drain begins the end of the program and returns at once; it may be called again. nil: /api/drain answers 404.
	Drain func()
	// Draining is how far that is; nil while the server does not drain. The func may be nil.
	Draining func() *adminapi.Drain
	// Turn reads the TURN server's counters; nil: none are shown.
	Turn func() adminapi.TurnStats
	// Losses reads the counters of what was refused, displaced or dropped; nil: none are shown.
	Losses func() []losses.Count
	// History is what was relayed over time; nil: nobody remembers.
	History *history.Keeper
	// Figures reads what else the dashboard shows as a number; nil: nothing.
	Figures func() []adminapi.Figure
	// Metrics serves /metrics; nil: 404.
	Metrics http.Handler
	// Broker is the one in this process, and Stories what it passed on between Nodes; nil: there is none.
	Broker  Broker
	Stories *stories.Keeper
	// Usage is what Nodes use, by month; nil: it is not kept.
	Usage *usage.Keeper
	// Audit keeps who changed what; nil: nothing does, and the list is empty.
	Audit *audit.Log
	// Fleet is the machines that share a Redis; nil: this one is alone.
	Fleet Fleet
	// RTC makes the RTC configuration, with a fresh credential, that the webhook would give to node: for the dashboard's
	// test page. nil: there is no such test.
	RTC func(node string) (json.RawMessage, error)
	// TestPage is the URL at which people elsewhere reach the page of a test by a link; empty: none is known. May be nil.
	TestPage func() string
	// Gone is told of each test by a link that is used up, too old or made up. May be nil.
	Gone func()
	// MaxStreams bounds the clients of /api/events; 0: 32.
	MaxStreams int
	Now        func() time.Time // nil: time.Now
	Logger     *slog.Logger     // nil: nothing is logged
}

const defaultStreams = 32

// Admin is the http.Handler of the admin listener.
type Admin struct {
	cfg    Config
	log    *slog.Logger
	routes []route
	live   liveCache
	rates  rates
	links  testLinks

	tick      time.Duration // between the "stats" events of a stream
	heartbeat time.Duration // after which a stream without events says that it lives
	writeWait time.Duration // how long a stream's client may take to read one event before it is cut off

	mu      sync.Mutex
	streams int
	closed  bool
	closing chan struct{} // closed when streams must end
	idle    chan struct{} // closed when the last stream has ended after that
}

// New checks cfg. The caller serves the Admin and calls Run.
func New(cfg Config) (*Admin, error) {
	switch {
	case cfg.Nodes == nil:
		return nil, errors.New("admin: no registry of Nodes given")
	case cfg.Relays == nil:
		return nil, errors.New("admin: no TURN server given")
	case cfg.Status == nil || cfg.NotReady == nil:
		return nil, errors.New("admin: no status given")
	case cfg.MaxStreams < 0:
		return nil, errors.New("admin: the number of event streams must not be negative")
	}
	if cfg.MaxStreams == 0 {
		cfg.MaxStreams = defaultStreams
	}
	if cfg.Turn == nil {
		cfg.Turn = func() adminapi.TurnStats { return adminapi.TurnStats{} }
	}
	if cfg.Losses == nil {
		cfg.Losses = func() []losses.Count { return nil }
	}
	if cfg.Figures == nil {
		cfg.Figures = func() []adminapi.Figure { return nil }
	}
	if cfg.Draining == nil {
		cfg.Draining = func() *adminapi.Drain { return nil }
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Admin{
		cfg:       cfg,
		log:       cfg.Logger,
		tick:      time.Second,
		heartbeat: 15 * time.Second,
		writeWait: 10 * time.Second,
		closing:   make(chan struct{}),
		idle:      make(chan struct{}),
	}
	dashboard, err := dashboardRoutes()
	if err != nil {
		return nil, err
	}
	a.routes = append(apiRoutes(), dashboard...)
	if cfg.Metrics != nil {
		a.routes = append(a.routes, route{"/metrics", map[string]handler{
			http.MethodGet: func(_ *Admin, w http.ResponseWriter, r *http.Request, _ string) error {
				cfg.Metrics.ServeHTTP(w, r)
				return nil
			},
		}})
	}
	return a, nil
}

// Run looks at which way connections take until ctx ends, then ends the event streams, so that the listener can close, and waits
// for them.
func (a *Admin) Run(ctx context.Context) error {
	a.watchPaths(ctx)
	<-ctx.Done()
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		close(a.closing)
		if a.streams == 0 {
			close(a.idle)
		}
	}
	a.mu.Unlock()
	<-a.idle
	return nil
}

// Exempt is the listener's Config.Exempt: health checks and the dashboard's own files need no token, and an event stream
// must not hold a place among the requests in flight.
func Exempt(r *http.Request) webguard.Exemption {
	p := r.URL.EscapedPath()
	switch {
	case p == "/healthz" || p == "/readyz":
		return webguard.NoToken | webguard.NoHost | webguard.NoQueue
	case p == "/api/events":
		return webguard.NoQueue
	case strings.HasPrefix(p, "/api/") || p == "/metrics":
		return 0
	}
	return webguard.NoToken
}

func apiRoutes() []route {
	get := func(h handler) map[string]handler { return map[string]handler{http.MethodGet: h} }
	record := map[string]handler{
		http.MethodGet: endpoint(http.StatusOK, (*Admin).node), http.MethodDelete: changing(audit.Forget, http.StatusNoContent, (*Admin).forget),
	}
	unban := changing(audit.Unban, http.StatusNoContent, (*Admin).unban)
	return []route{
		{"/healthz", get(endpoint(http.StatusOK, (*Admin).health))},
		{"/readyz", get((*Admin).ready)},
		{"/api/status", get(endpoint(http.StatusOK, (*Admin).status))},
		{"/api/nodes", get(endpoint(http.StatusOK, (*Admin).nodes))},
		{"/api/nodes/", record},
		{"/api/node", record}, // ?id=, since no browser can be made to ask for a path that ends in "%2E%2E"
		{"/api/usage", get(endpoint(http.StatusOK, (*Admin).usage))},
		{"/api/usage/node", get(endpoint(http.StatusOK, (*Admin).usageOfNode))},
		{"/api/story", get(endpoint(http.StatusOK, (*Admin).story))},
		{"/api/allocations", get(endpoint(http.StatusOK, (*Admin).allocations))},
		{"/api/allocations/", map[string]handler{http.MethodDelete: changing(audit.CloseAllocation, http.StatusNoContent, (*Admin).closeAllocation)}},
		{"/api/bans", map[string]handler{
			http.MethodGet:    endpoint(http.StatusOK, (*Admin).bans),
			http.MethodPost:   changing(audit.Ban, http.StatusCreated, (*Admin).ban),
			http.MethodDelete: unban, // ?id=, likewise
		}},
		{"/api/bans/", map[string]handler{http.MethodDelete: unban}},
		{"/api/connections", get(endpoint(http.StatusOK, (*Admin).connections))},
		{"/api/history", get(endpoint(http.StatusOK, (*Admin).history))},
		{"/api/audit", get(endpoint(http.StatusOK, (*Admin).audited))},
		{"/api/fleet", get(endpoint(http.StatusOK, (*Admin).fleet))},
		{"/api/events", get((*Admin).events)},
		{"/api/events/recent", get(endpoint(http.StatusOK, (*Admin).recent))},
		{"/api/drain", map[string]handler{http.MethodPost: changing(audit.Drain, http.StatusAccepted, (*Admin).drain)}},
		{"/api/test-links", map[string]handler{http.MethodPost: changing(audit.TestLink, http.StatusCreated, (*Admin).makeTestLink)}},
		{testPath + "/start", map[string]handler{http.MethodPost: endpoint(http.StatusOK, (*Admin).beginTest)}},
		{testPath + "/result", map[string]handler{http.MethodPost: endpoint(http.StatusNoContent, (*Admin).endTest)}},
		{"/api/test", map[string]handler{http.MethodPost: changing(audit.TestCredential, http.StatusOK, (*Admin).test)}},
	}
}
