package broker

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/engineio"
	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// ErrConfig says that a part of the configuration is impossible.
var ErrConfig = errors.New("broker configuration")

// SameID is what happens to a second connection with the id of a Node that is connected here.
type SameID string

// The ways to treat a second connection.
const (
	// Ask pings the older connection; the newcomer takes over if nothing comes from that within 3 s. A newcomer that has
	// proven nothing may do so only from the older one's address.
	Ask SameID = "ask"
	// Refuse refuses it, as the original Broker does.
	Refuse SameID = "refuse"
)

// Limits bound what Nodes and strangers may take. Zero values are the defaults.
type Limits struct {
	Connections       int // default: half of the descriptors that the process may open
	ConnectionsPerIP  int // of one IPv4 address or IPv6 /64; default 1024
	MessagesPerSecond int // of one Node; beyond it is read more slowly; default 200
	// WaitingBytes may wait for one Node; default 4 MiB. What others send it may take three quarters, and is refused beyond
	// that; it is let go where it takes nothing at all for 10 s then, or does not read the Broker's own messages.
	WaitingBytes int
}

// Settings are what Prepare can change while the Broker runs.
type Settings struct {
	P2P           bool // false: the six events of connections are answered DISABLED
	RelayMessages bool // false: SOCKET_MSG_EXCHANGE is answered DISABLED
	CheckSender   bool // a payload whose "from" is not the sender's id is answered ERROR
	SameID        SameID
	// Origins are those of browsers' pages that may connect, as in the Origin header; "*" is any. Empty: those of loopback
	// if the Broker listens on loopback, else any. A request without Origin always passes.
	Origins []string
	// TrustedProxies are believed in X-Forwarded-For: the rightmost address that is none of them counts.
	TrustedProxies []netip.Prefix
	Limits         Limits
}

// Config is what a Broker is made of. Decider must be set, and at most one of Listen and Listener; a Broker with neither
// serves by its [Broker.Handler] alone.
type Config struct {
	Listen   string       // as listen.Parse reads it
	Listener net.Listener // used in place of Listen; Run closes it
	Decider  Decider
	Settings Settings
	// HandlerOnLoopback says that the listener of whoever serves [Broker.Handler] is on loopback alone, where browsers'
	// pages may connect as Settings.Origins says of it.
	HandlerOnLoopback bool

	// Redis has the locks and carries the messages that Brokers share; see package redisurl. nil: this is the only Broker. It
	// stays the caller's to close, after Run.
	Redis redis.UniversalClient

	// Peers knows the other Brokers that share Redis. nil: the lock of one that was killed holds until it runs out.
	Peers Peers

	StatusInterval time.Duration // between questions who must go, and extensions of locks; default 30 s
	LockTTL        time.Duration // default 60 s
	StopTimeout    time.Duration // for Nodes to be told at the end; default 5 s

	Observer Observer     // nil: nobody
	Logger   *slog.Logger // nil discards

	timing timing // for tests
}

// Peers tells Brokers on one Redis apart. Its methods are called from many goroutines, and must not block.
type Peers interface {
	// Self names this Broker's process, in at most 40 letters, digits, - and _. It stays the same.
	Self() string
	// Gone reports whether the process that another Broker's Self named has ended for certain: the ids of Nodes that it held may be
	// taken then. In doubt it has not.
	Gone(other string) bool
}

// timing is what the protocol fixes.
type timing struct {
	pingInterval, pingTimeout  time.Duration
	handshake, join, ask, tick time.Duration
	stall                      time.Duration // for a client to take some of what waits, where no more fits
	linger                     time.Duration // for a client to take what it was told last
	redis                      time.Duration // of a question to Redis; 0: as package replicas has it
}

func (t *timing) fill() {
	def := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	def(&t.pingInterval, engineio.PingInterval)
	def(&t.pingTimeout, engineio.PingTimeout)
	def(&t.handshake, 10*time.Second)
	def(&t.join, 45*time.Second)
	def(&t.ask, 3*time.Second)
	def(&t.tick, 100*time.Millisecond)
	def(&t.stall, 10*time.Second)
	def(&t.linger, 2*time.Second)
}

func (c *Config) fill() error {
	if c.Decider == nil {
		return fmt.Errorf("%w: no Decider", ErrConfig)
	}
	if c.StatusInterval == 0 {
		c.StatusInterval = 30 * time.Second
	}
	if c.LockTTL == 0 {
		c.LockTTL = 60 * time.Second
	}
	if c.StopTimeout == 0 {
		c.StopTimeout = 5 * time.Second
	}
	if c.StatusInterval < 0 || c.StopTimeout < 0 || c.LockTTL <= c.StatusInterval {
		return fmt.Errorf("%w: locks of %v must outlive the %v between status checks", ErrConfig, c.LockTTL, c.StatusInterval)
	}
	if c.Observer == nil {
		c.Observer = noObserver{}
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	c.timing.fill()
	return nil
}

// settings are Settings ready for use; they never change.
type settings struct {
	Settings

	anyOrigin bool
	origins   map[string]bool
}

func newSettings(s Settings) (*settings, error) {
	l := &s.Limits
	if l.Connections < 0 || l.ConnectionsPerIP < 0 || l.MessagesPerSecond < 0 || l.WaitingBytes < 0 {
		return nil, fmt.Errorf("%w: broker.limits: a limit is negative", ErrConfig)
	}
	if l.Connections == 0 {
		l.Connections = descriptors() / 2
	}
	if l.ConnectionsPerIP == 0 {
		l.ConnectionsPerIP = 1024
	}
	if l.MessagesPerSecond == 0 {
		l.MessagesPerSecond = 200
	}
	if l.WaitingBytes == 0 {
		l.WaitingBytes = 4 << 20
	}
	if l.WaitingBytes < 2*engineio.MaxPayload {
		return nil, fmt.Errorf("%w: broker.limits.waiting_bytes is %d, must be at least %d: two messages of the greatest size",
			ErrConfig, l.WaitingBytes, 2*engineio.MaxPayload)
	}
	if s.SameID == "" {
		s.SameID = Ask
	}
	if s.SameID != Ask && s.SameID != Refuse {
		return nil, fmt.Errorf("%w: broker.same_id is %q, must be ask or refuse", ErrConfig, s.SameID)
	}
	set := &settings{Settings: s, origins: map[string]bool{}}
	for _, origin := range s.Origins {
		if origin == "*" {
			set.anyOrigin = true
			continue
		}
		u, err := url.Parse(origin)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "" {
			return nil, fmt.Errorf("%w: broker.origins: %q is no origin such as https://app.example.com", ErrConfig, origin)
		}
		set.origins[strings.ToLower(origin)] = true
	}
	return set, nil
}

// bind listens at cfg.Listen, if it is set.
func bind(cfg *Config) (net.Listener, error) {
	if cfg.Listener != nil || cfg.Listen == "" {
		return cfg.Listener, nil
	}
	ln, err := listen.TCP(cfg.Listen)
	if err != nil {
		return nil, fmt.Errorf("broker.listen: %w", err)
	}
	return ln, nil
}
