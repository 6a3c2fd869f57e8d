// Package hooks answers a CrolangP2P Broker's questions about its Nodes: who may come in and who may talk to whom, as a
// [Policy] decides (package policy has the usual ones), with which RTC configuration, and who must go. A [Decider]
// answers them. A [Server] is the five webhooks through which a Broker in another process asks: every answer of it is
// one that a Broker lives with, JSON with every documented key, and 204 on the message webhook, whatever it is sent.
package hooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

// The paths of the webhooks, as in the Broker's own example. Doubled and trailing slashes are forgiven.
const (
	PathAuthenticate = "/authenticate-node"
	PathResolve      = "/resolve-rtc-configuration"
	PathAuthorize    = "/authorize-nodes-communication"
	PathValidity     = "/validity-check"
	PathMessage      = "/authenticated-socket-msg"
)

// Webhooks are the five webhooks, each with the variable of the Broker's environment that has its URL, in the order of
// the Broker's documentation.
var Webhooks = [...]struct{ Path, Variable string }{
	{PathAuthenticate, "NODES_AUTHENTICATION_WEBHOOK_URL"},
	{PathResolve, "RTC_CONFIGURATION_RESOLVER_WEBHOOK_URL"},
	{PathAuthorize, "AUTHORIZE_NODES_COMMUNICATION_WEBHOOK_URL"},
	{PathValidity, "NODES_VALIDITY_CHECK_WEBHOOK_URL"},
	{PathMessage, "ON_AUTHENTICATED_SOCKET_MSG_WEBHOOK_URL"},
}

// Config is what a Server is made of. Decider, and Listen or Listener, must be set; everything else has a default.
type Config struct {
	Decider  *Decider     // answers
	Listen   string       // TCP address; port 0 takes a free one
	Listener net.Listener // used in place of Listen if set; Run closes it
	Token    string       // what calls must carry; "" lets everybody call
	Hosts    []string     // further host names by which it may be called where Token is ""; without port
	Machine  []string     // host names and addresses of this machine, for the same
	MaxBody  int64        // bytes of a request's body, default 16 MiB
	InFlight int          // requests handled at once, default 256; more wait

	BodyTimeout time.Duration // for a whole request to arrive, default 30 s
	StopTimeout time.Duration // what requests in flight are given at the end, default 5 s
	Linger      time.Duration // what Brokers are given before that to let go of kept connections; default 0

	// Refused is told of each call refused for its token, Host or Origin, with the status. It must not block. May be
	// nil.
	Refused func(status int)
	Logger  *slog.Logger // nil discards
}

// Server is the webhooks' listener. It is made by New and served by Run.
type Server struct {
	cfg     Config
	decider *Decider
	log     *slog.Logger
	guard   *webguard.Guard
	maxBody atomic.Int64
	budget  *budget
	seen    atomic.Int64 // when a Broker called last, in Unix seconds; 0: none has
	routes  map[string]*route
	calls   sync.Pool // *call
}

// New validates cfg and binds the listener. A Server that is never Run must be closed with Close.
func New(cfg Config) (*Server, error) {
	if cfg.Decider == nil {
		return nil, errors.New("hooks: no Decider given")
	}
	if cfg.Refused == nil {
		cfg.Refused = func(int) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, decider: cfg.Decider, log: cfg.Logger, budget: newBudget()}
	s.setMaxBody(cfg.MaxBody)
	s.calls.New = func() any { return &call{} }
	s.routes = map[string]*route{
		PathAuthenticate: {name: "authenticate", negative: `"authenticated":false`, serve: s.authenticate},
		PathResolve:      {name: "resolve", serve: s.resolve},
		PathAuthorize:    {name: "authorize", negative: `"authorized":false`, serve: s.authorize},
		PathValidity:     {name: "validity", negative: `"invalidNodesIds":[]`, serve: s.validity},
		PathMessage:      {name: "message"},
	}
	var err error
	s.guard, err = webguard.New(webguard.Config{
		Key:         "hooks.listen",
		Listen:      cfg.Listen,
		Listener:    cfg.Listener,
		Handler:     s,
		Settings:    webguard.Settings{Token: cfg.Token, Hosts: cfg.Hosts},
		CheckHost:   webguard.CallersHosts,
		Machine:     cfg.Machine,
		InFlight:    cfg.InFlight,
		BodyTimeout: cfg.BodyTimeout,
		StopTimeout: cfg.StopTimeout,
		Linger:      cfg.Linger,
		Logger:      s.log,
		Exempt:      s.exempt,
		Refused: func(r *http.Request, status int) {
			result := ResultUnauthorized
			if status == http.StatusForbidden {
				result = ResultForeign
			}
			cfg.Decider.cfg.Observe(s.hookName(r), result, 0)
			cfg.Refused(status)
		},
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Settings are the parts of Config that Prepare can change while the Server runs.
type Settings struct {
	Token   string
	Hosts   []string
	MaxBody int64
}

// Prepare gets other settings ready. Requests that begin after the change was applied go by them.
func (s *Server) Prepare(next Settings) (change.Change, error) {
	var all change.Set
	all.Add(s.guard.Prepare(webguard.Settings{Token: next.Token, Hosts: next.Hosts}))
	all.Add(change.New(func() { s.setMaxBody(next.MaxBody) }, nil), nil)
	return all.Join()
}

// Handler serves the webhooks on another listener of package webguard, with the same checks. It has to be Run all the same.
func (s *Server) Handler() http.Handler { return s.guard }

// Serves reports whether a path is a webhook's.
func (s *Server) Serves(path string) bool { return s.find(path) != nil }

// Lost is what the listener did not serve as it should have, by cause: see [webguard.Guard.Lost].
func (s *Server) Lost() map[string]uint64 { return s.guard.Lost() }

// SetMachine replaces Config.Machine, for every request that begins from now on.
func (s *Server) SetMachine(hosts []string) { s.guard.SetMachine(hosts) }

func (s *Server) setMaxBody(n int64) {
	if n <= 0 {
		n = 16 << 20
	}
	s.maxBody.Store(n)
}

// Addr returns the bound address.
func (s *Server) Addr() net.Addr { return s.guard.Addr() }

// Close releases the listener of a Server that is not Run.
func (s *Server) Close() error { return s.guard.Close() }

// Alive makes a request to the Server's own listener and returns nil when it is answered. No webhook is called.
func (s *Server) Alive(ctx context.Context) error { return s.guard.Alive(ctx) }

// LetGo makes every answer from now on the last one of its connection, so that no Broker still keeps one when Run ends.
func (s *Server) LetGo() { s.guard.LetGo() }

// Run answers until ctx ends and returns when all that it started has ended, nil if ctx ended it.
func (s *Server) Run(ctx context.Context) error {
	if err := s.guard.Run(ctx); err != nil {
		return fmt.Errorf("webhooks: %w", err)
	}
	return nil
}

// find returns the route of a path, nil if there is none. A base URL joined carelessly must not cost a Broker its life,
// so slashes around the name do not matter.
func (s *Server) find(path string) *route {
	if found := s.routes[path]; found != nil {
		return found
	}
	return s.routes["/"+strings.Trim(path, "/")]
}

func (s *Server) hookName(r *http.Request) string {
	if found := s.find(r.URL.Path); found != nil {
		return found.name
	}
	return "other"
}

// exempt lets the message webhook pass every check: its answer must not depend on any.
func (s *Server) exempt(r *http.Request) webguard.Exemption {
	if found := s.find(r.URL.Path); found != nil && found.serve == nil {
		return webguard.NoToken | webguard.NoHost | webguard.NoQueue
	}
	return 0
}
