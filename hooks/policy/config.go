package policy

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"time"
)

// The modes. An empty mode is the first of its part.
const (
	ModeAllow    = "allow"
	ModeDeny     = "deny"
	ModeTokens   = "tokens"
	ModeJWT      = "jwt"
	ModeRules    = "rules"
	ModeUpstream = "upstream"
	ModeCount    = "count"
)

// ErrConfig is what every error of Check, New and Prepare is, each inside a *KeyError and all of them joined.
var ErrConfig = errors.New("impossible policy")

// KeyError is a mistake in the configuration.
type KeyError struct {
	Key     string // under which it stands, such as "hooks.authorize.rules"; entry n of a list, counted from 0, is KEY[n]
	Because string // the key that makes it a mistake, such as that of a mode; empty if there is none
	Err     error
}

func (e *KeyError) Error() string {
	key, _, _ := strings.Cut(e.Key, "[") // what is wrong says which entry
	return key + ": " + e.Err.Error()
}

// Unwrap returns the mistake and [ErrConfig].
func (e *KeyError) Unwrap() []error { return []error{e.Err, ErrConfig} }

// Config is what a Policy is made of. Its zero value allows everything.
type Config struct {
	Authenticate Authenticate
	Authorize    Authorize
	Messages     Messages
	Upstream     Upstream

	// Dated is told the time of each answer of the upstream, in whole seconds and by its own clock; may be nil. It must
	// not block, and the one given to New stays.
	Dated func(time.Time)
	// Dropped is told whose message was not forwarded, for every one; may be nil. It must not block, and the one given to New
	// stays.
	Dropped func(node string)
	Logger  *slog.Logger     // nil discards; the one given to New stays
	Now     func() time.Time // nil: time.Now; the one given to New stays
}

// Authenticate says who may come in.
type Authenticate struct {
	Mode   string   // allow, deny, tokens, jwt, upstream
	Tokens []string // "GLOB sha256:HEX" or "GLOB argon2id:PHC", see NewTokenLine
	JWT    JWT
}

// JWT says which tokens are taken in mode jwt. Exactly one of Secret, PublicKeyFile, JWKSFile and JWKSURL must be set.
type JWT struct {
	Secret        string        // HS256
	PublicKeyFile string        // PEM: RSA, ECDSA or Ed25519
	JWKSFile      string        // read by New and Prepare, and again every JWKSRefresh
	JWKSURL       string        // fetched by Run, and again every JWKSRefresh
	JWKSRefresh   time.Duration // default 1 h, at least 1 s
	Claim         string        // must equal the Node id; default sub
	Audience      string        // must be among the token's, if set
	Issuer        string        // must be the token's, if set
	Leeway        time.Duration // by which clocks may differ
}

// Authorize says who may talk to whom.
type Authorize struct {
	Mode    string // allow, deny, rules, upstream
	Default string // allow or deny (the default): what no rule matches
	Rules   []Rule // the first that matches decides
	Groups  map[string][]string
}

// Rule decides for pairs of Nodes. From and To are a glob, or @ and the name of a group.
type Rule struct {
	From, To string
	Action   string // allow or deny
}

// Messages says what becomes of messages through the Broker.
type Messages struct {
	Mode string // count, upstream
}

// Upstream is the user's own webhook.
type Upstream struct {
	AuthenticateURL string
	AuthorizeURL    string
	ValidityURL     string // asked in every mode, if set
	MessagesURL     string
	Token           string        // sent as Bearer, if set
	Timeout         time.Duration // for one answer; default 5 s
	MaxInFlight     int           // default 64; more fail at once
	Cache           time.Duration // for which an answer on a pair of Nodes is used again; 0: not at all
	FailOpen        bool          // what fails is allowed
	MessageQueue    int           // default 1024; more are dropped
	MessageWorkers  int           // default 4
}

// Check returns all mistakes of cfg at once, joined, without connecting anywhere. It reads the files that cfg names.
func Check(cfg Config) error {
	_, err := compile(cfg, nil)
	return err
}

// mistakes gathers errors with their keys.
type mistakes []error

func (m *mistakes) add(key, format string, args ...any) { m.because("", key, format, args...) }

func (m *mistakes) because(other, key, format string, args ...any) {
	*m = append(*m, &KeyError{Key: key, Because: other, Err: fmt.Errorf(format, args...)})
}

// mode checks that value is one of the modes, and makes the empty one the first.
func (m *mistakes) mode(key string, value *string, modes ...string) {
	if *value == "" {
		*value = modes[0]
	}
	if !slices.Contains(modes, *value) {
		m.add(key, "%q is none of %s", *value, strings.Join(modes, ", "))
	}
}

// url checks an http or https URL, which is needed if mode is "upstream". It never prints it: it may hold a secret.
func (m *mistakes) url(key, value, modeKey, mode string) {
	if value == "" {
		if mode == ModeUpstream {
			m.because(modeKey, key, `is empty, and %s is "upstream": set it, or choose another mode`, modeKey)
		}
		return
	}
	parsed, err := url.Parse(value)
	if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
		m.add(key, "is no http or https URL")
	}
}

func (m *mistakes) notNegative(key string, value int64) {
	if value < 0 {
		m.add(key, "is negative")
	}
}

// checkUpstream completes and checks the part of the configuration about the user's webhook.
func (c *Config) checkUpstream(m *mistakes) {
	u := &c.Upstream
	m.url("hooks.upstream.authenticate_url", u.AuthenticateURL, "hooks.authenticate.mode", c.Authenticate.Mode)
	m.url("hooks.upstream.authorize_url", u.AuthorizeURL, "hooks.authorize.mode", c.Authorize.Mode)
	m.url("hooks.upstream.validity_url", u.ValidityURL, "", "")
	m.url("hooks.upstream.messages_url", u.MessagesURL, "hooks.messages.mode", c.Messages.Mode)
	if strings.ContainsFunc(u.Token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		m.add("hooks.upstream.token", "has characters that a header cannot carry: use printable ASCII without spaces")
	}
	m.notNegative("hooks.upstream.timeout", int64(u.Timeout))
	m.notNegative("hooks.upstream.max_in_flight", int64(u.MaxInFlight))
	m.notNegative("hooks.upstream.cache", int64(u.Cache))
	m.notNegative("hooks.upstream.message_queue", int64(u.MessageQueue))
	m.notNegative("hooks.upstream.message_workers", int64(u.MessageWorkers))
	if u.MessageQueue > maxMessages {
		m.add("hooks.upstream.message_queue", "is %d, at most %d are kept", u.MessageQueue, maxMessages)
	}
	if u.MessageWorkers > 256 {
		m.add("hooks.upstream.message_workers", "is %d, at most 256 make sense", u.MessageWorkers)
	}
	setDefault(&u.Timeout, 5*time.Second)
	setDefault(&u.MaxInFlight, 64)
	setDefault(&u.MessageQueue, 1024)
	setDefault(&u.MessageWorkers, 4)
}

func setDefault[T int | time.Duration](value *T, otherwise T) {
	if *value <= 0 {
		*value = otherwise
	}
}
