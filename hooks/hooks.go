// Package hooks answers the five webhooks of a CrolangP2P Broker. Every answer is one that a Broker lives with: JSON with
// every documented key, and 204 on the message webhook whatever comes. Who may come in and who may talk to whom is for a
// Policy to say (package policy has the usual ones), what is known of a Node for a Registry.
package hooks

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

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

// Webhooks are the five webhooks, each with the variable of the Broker's environment that has its URL, in the order of the
// Broker's documentation.
var Webhooks = [...]struct{ Path, Variable string }{
	{PathAuthenticate, "NODES_AUTHENTICATION_WEBHOOK_URL"},
	{PathResolve, "RTC_CONFIGURATION_RESOLVER_WEBHOOK_URL"},
	{PathAuthorize, "AUTHORIZE_NODES_COMMUNICATION_WEBHOOK_URL"},
	{PathValidity, "NODES_VALIDITY_CHECK_WEBHOOK_URL"},
	{PathMessage, "ON_AUTHENTICATED_SOCKET_MSG_WEBHOOK_URL"},
}

// Registry is what is known of Nodes beyond one request. It is called from many goroutines at once, only with valid
// Node ids, and must not block for long. A detail says what happened in plain words, for the Node's why-record.
type Registry interface {
	// BanReason returns the operator's reason where the Node is banned.
	BanReason(node string) (reason string, banned bool)
	// Authenticated and AuthenticationRefused note whether the Node may come in.
	Authenticated(node, detail string)
	AuthenticationRefused(node, detail string)
	// ConfigurationRefused notes that the Broker got no RTC configuration for the Node.
	ConfigurationRefused(node, detail string)
	// AuthorizationRefused notes that from may not talk to another.
	AuthorizationRefused(from, detail string)
	// NamedInvalid notes that the Broker was told to disconnect the Node.
	NamedInvalid(node, detail string)
	// Issued says that a credential was given to the Node, and when it ends.
	Issued(node string, expires time.Time)
	// Validated names Nodes that a Broker has connected now and that were not refused: a part of all, perhaps with
	// duplicates. The slice must not be kept.
	Validated(nodes []string)
	// Authorized says that from may talk to to, as the Broker was just told.
	Authorized(from, to string)
}

// Policy decides. It is called from many goroutines at once, only with valid Node ids; body is the request as it came
// and must not be kept. A cause is a few plain words for the why-record, without secrets.
type Policy interface {
	// Authenticate tells whether the Node may come in. data is the request's field of that name as JSON text: whatever
	// the Node sent, nil where it sent nothing.
	Authenticate(ctx context.Context, node string, data, body []byte) (ok bool, cause string)
	// Authorize tells whether from may talk to to.
	Authorize(ctx context.Context, from, to string, body []byte) (ok bool, cause string)
	// NeedsBody tells whether Invalid wants the body; it is nil otherwise, since it can be megabytes.
	NeedsBody() bool
	// Invalid calls name for each of the connected Nodes that must go. It must not keep nodes.
	Invalid(ctx context.Context, nodes []string, body []byte, name func(node, cause string))
	// Message takes a message that from sent to to through the Broker. It must not block. from and to may be any text.
	Message(from, to string, body []byte)
}

// ICE is what a Node needs for STUN and TURN. Password is a secret.
type ICE struct {
	STUN, TURN         []string // URLs in the order that clients should try them
	Username, Password string   // for the TURN URLs
	Expires            time.Time
}

// ICEProvider issues credentials. It is called from many goroutines at once, only with valid Node ids.
type ICEProvider interface {
	ICE(node string) (ICE, error)
}

// ICEServer is an entry of iceServers that every Node is given.
type ICEServer struct {
	URLs               []string
	Username, Password string // left out where empty
}

// RTC is the part of an RTC configuration that is the same for every Node. An empty policy takes the default that
// stands with it.
type RTC struct {
	ICETransportPolicy   string // all (default), relay, nohost, none
	BundlePolicy         string // max-bundle (default), balanced, max-compat
	RTCPMuxPolicy        string // require (default), negotiate
	ICECandidatePoolSize int    // 0 to 255
	ExtraICEServers      []ICEServer
}

// Config is what a Server is made of. Listen or Listener must be set; everything else has a default.
type Config struct {
	Listen   string       // TCP address; port 0 takes a free one
	Listener net.Listener // used in place of Listen where set; Run closes it
	Token    string       // what calls must carry; "" lets everybody call
	MaxBody  int64        // bytes of a request's body, default 16 MiB
	InFlight int          // requests handled at once, default 256; more wait

	BodyTimeout time.Duration // for a whole request to arrive, default 30 s
	StopTimeout time.Duration // what requests in flight are given at the end, default 5 s
	Linger      time.Duration // what Brokers are given before that to let go of kept connections; default 0

	RTC      RTC
	ICE      ICEProvider // nil: only RTC.ExtraICEServers
	Registry Registry    // nil: nothing is known, nobody is banned
	Policy   Policy      // nil: everybody may do everything

	// Observe is told of each answer: the hook ("authenticate", "resolve", "authorize", "validity", "message", "other"),
	// one of the Result constants, and the time from its header to its answer. It must not block. May be nil.
	Observe func(hook, result string, took time.Duration)
	// Refused is told of each call refused for its token, with the status. It must not block. May be nil.
	Refused func(status int)
	Logger  *slog.Logger     // nil discards
	Now     func() time.Time // nil: time.Now
}

// The results that Config.Observe is given.
const (
	ResultOK           = "ok"           // answered; for a yes-or-no hook, yes
	ResultRefused      = "refused"      // answered no
	ResultUnauthorized = "unauthorized" // no or wrong token
	ResultNotFound     = "not_found"
	ResultMethod       = "method"
	ResultType         = "content_type"
	ResultTooLarge     = "too_large"
	ResultInvalid      = "invalid" // malformed, or an impossible Node id
	ResultTimeout      = "timeout" // the body came too slowly
	ResultError        = "error"   // our fault
)

// Server is the webhooks' listener. It is made by New and served by Run.
type Server struct {
	cfg    Config
	log    *slog.Logger
	guard  *webguard.Guard
	set    atomic.Pointer[settings]
	routes map[string]*route
	calls  sync.Pool // *call
}

// New validates cfg and binds the listener. A Server that is never Run must be closed with Close.
func New(cfg Config) (*Server, error) {
	if cfg.Registry == nil {
		cfg.Registry = noRegistry{}
	}
	if cfg.Policy == nil {
		cfg.Policy = allowAll{}
	}
	if cfg.ICE == nil {
		cfg.ICE = noICE{}
	}
	if cfg.Observe == nil {
		cfg.Observe = func(string, string, time.Duration) {}
	}
	if cfg.Refused == nil {
		cfg.Refused = func(int) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	set, err := newSettings(Settings{Token: cfg.Token, MaxBody: cfg.MaxBody, RTC: cfg.RTC})
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, log: cfg.Logger}
	s.set.Store(set)
	s.calls.New = func() any { return &call{} }
	s.routes = map[string]*route{
		PathAuthenticate: {name: "authenticate", negative: `"authenticated":false`, serve: s.authenticate},
		PathResolve:      {name: "resolve", serve: s.resolve},
		PathAuthorize:    {name: "authorize", negative: `"authorized":false`, serve: s.authorize},
		PathValidity:     {name: "validity", negative: `"invalidNodesIds":[]`, serve: s.validity},
		PathMessage:      {name: "message"},
	}
	s.guard, err = webguard.New(webguard.Config{
		Key:         "hooks.listen",
		Listen:      cfg.Listen,
		Listener:    cfg.Listener,
		Handler:     s,
		Token:       cfg.Token,
		InFlight:    cfg.InFlight,
		BodyTimeout: cfg.BodyTimeout,
		StopTimeout: cfg.StopTimeout,
		Linger:      cfg.Linger,
		Logger:      s.log,
		Exempt:      s.exempt,
		Refused: func(r *http.Request, status int) {
			cfg.Observe(s.hookName(r), ResultUnauthorized, 0)
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
	MaxBody int64
	RTC     RTC
}

// settings are Settings, ready for use. They never change.
type settings struct {
	maxBody int64
	rtc     rtcTemplate
}

func newSettings(s Settings) (*settings, error) {
	if s.MaxBody <= 0 {
		s.MaxBody = 16 << 20
	}
	rtc, err := newRTCTemplate(s.RTC)
	return &settings{s.MaxBody, rtc}, err
}

// Prepare checks other settings. Nothing changes until apply is called, which cannot fail: requests that begin after it
// go by the new ones.
func (s *Server) Prepare(next Settings) (apply func(), err error) {
	set, err := newSettings(next)
	if err != nil {
		return nil, err
	}
	return func() {
		s.guard.SetToken(next.Token)
		s.set.Store(set)
	}, nil
}

// Addr is the bound address.
func (s *Server) Addr() net.Addr { return s.guard.Addr() }

// Close releases the listener of a Server that is not Run.
func (s *Server) Close() error { return s.guard.Close() }

// Alive makes a request to the own listener and returns nil when it is answered; no webhook is called.
func (s *Server) Alive(ctx context.Context) error { return s.guard.Alive(ctx) }

// LetGo makes every answer from now on the last one of its connection, so that no Broker keeps one that Run's end would
// close under it.
func (s *Server) LetGo() { s.guard.LetGo() }

// Run answers until ctx ends and returns when all that it started has ended, nil where ctx ended it.
func (s *Server) Run(ctx context.Context) error {
	if err := s.guard.Run(ctx); err != nil {
		return fmt.Errorf("webhooks: %w", err)
	}
	return nil
}

// find is the route of a path, nil where there is none. A base URL joined carelessly must not cost a Broker its life, so
// slashes around the name do not matter.
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

// exempt lets the message webhook pass token and queue: its answer must not depend on either.
func (s *Server) exempt(r *http.Request) webguard.Exemption {
	if found := s.find(r.URL.Path); found != nil && found.serve == nil {
		return webguard.NoToken | webguard.NoQueue
	}
	return 0
}

// ErrRTC says that a part of Config.RTC is impossible.
var ErrRTC = errors.New("impossible RTC configuration")

func (c *RTC) validate() error {
	oneOf := func(key string, value *string, allowed ...string) error {
		if *value == "" {
			*value = allowed[0]
		}
		if !slices.Contains(allowed, *value) {
			return fmt.Errorf("%w: hooks.rtc.%s is %q, must be one of %s", ErrRTC, key, *value, strings.Join(allowed, ", "))
		}
		return nil
	}
	errs := []error{
		oneOf("ice_transport_policy", &c.ICETransportPolicy, "all", "relay", "nohost", "none"),
		oneOf("bundle_policy", &c.BundlePolicy, "max-bundle", "balanced", "max-compat"),
		oneOf("rtcp_mux_policy", &c.RTCPMuxPolicy, "require", "negotiate"),
	}
	if c.ICECandidatePoolSize < 0 || c.ICECandidatePoolSize > 255 {
		errs = append(errs, fmt.Errorf("%w: hooks.rtc.ice_candidate_pool_size is %d, must be 0 to 255", ErrRTC, c.ICECandidatePoolSize))
	}
	for i, extra := range c.ExtraICEServers {
		if len(extra.URLs) == 0 {
			errs = append(errs, fmt.Errorf("%w: hooks.rtc.extra_ice_servers: entry %d has no urls", ErrRTC, i+1))
		}
	}
	return errors.Join(errs...)
}
