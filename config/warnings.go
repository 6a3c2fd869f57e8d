package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// fewest characters make a secret that cannot be guessed.
const fewest = 32

// examples are secrets that everybody knows from documentation and habit. They are found with digits and signs round
// them, and repeated, too.
var examples = []string{
	"the-secret", "thesecret", "north", "secret", "changeme", "change-me", "change_me", "password", "passwd", "test", "testing",
	"example", "default", "admin", "token", "demo", "letmein", "qwerty", "crolang", "crolang-aio", "coturn", "turn", "redis",
	"mysecret", "my-secret", "your-secret", "your-secret-here", "supersecret", "super-secret", "s3cr3t", "hunter2", "foobar", "static-auth-secret",
	"dev", "development", "0123456789abcdef", "abcdefghijklmnopqrstuvwxyz",
}

// Warnings names what is allowed but unwise or has no effect, in the order of the documentation: a sentence each,
// without any secret.
func (c *Config) Warnings() []string {
	var w []string
	add := func(format string, args ...any) { w = append(w, fmt.Sprintf(format, args...)) }
	c.warnPeers(add)
	c.warnProxies(add)
	if m := c.Turn.Limits; c.Turn.Offload == "auto" && (m.BitsPerSecond != 0 || m.TotalBitsPerSecond != 0) {
		add("turn.offload is \"auto\", and turn.limits.bits_per_second or total_bits_per_second is set: the kernel relays nothing")
	}
	c.warnSecrets(add)
	c.warnHooks(add)
	if c.Broker.Enabled && c.Broker.Open && c.Hooks.Authenticate.Mode == "allow" && listen.Exposed(c.Broker.Listen) {
		add("broker.open is true: whoever reaches %s is given relays", c.Broker.Listen)
	}
	if c.HTTPS.Serves("broker") && c.Broker.Open && c.Hooks.Authenticate.Mode == "allow" && !listen.Exposed(c.Broker.Listen) && !c.LoopbackTLS() {
		add("broker.open is true: whoever reaches %s is given relays", c.exposedTLS())
	}
	if c.Redis.Enabled && listen.Exposed(c.Redis.Listen) {
		add("redis.listen is %s: the Redis in this process is for development only", c.Redis.Listen)
	}
	if c.Admin.AllowNoToken && listen.Exposed(c.Admin.Listen) {
		add("admin.allow_no_token is true: whoever reaches %s can ban Nodes and end their relays", c.Admin.Listen)
	}
	return w
}

func (c *Config) warnPeers(add func(string, ...any)) {
	if !slices.Contains(c.Turn.Peers.Deny, recommended) {
		add("turn.peers.deny is without %q: relays can reach this machine and the networks behind it", recommended)
	}
	for _, s := range c.Turn.Peers.Allow {
		if n, err := netip.ParsePrefix(s); err == nil && n.Bits() == 0 {
			add("turn.peers.allow has %s, which undoes turn.peers.deny", s)
		}
	}
}

// warnProxies names entries by which everybody may say where he comes from.
func (c *Config) warnProxies(add func(string, ...any)) {
	for _, l := range []struct {
		key  string
		list []string
	}{{"turn.proxy_protocol", c.Turn.ProxyProtocol}, {"broker.trusted_proxies", c.Broker.TrustedProxies}} {
		for _, s := range l.list {
			if n, err := netip.ParsePrefix(s); err == nil && n.Bits() == 0 {
				add("%s has %s: whoever connects can choose the address that limits and bans go by", l.key, s)
			}
		}
	}
}

func (c *Config) warnHooks(add func(string, ...any)) {
	h := c.Hooks
	if h.AllowNoToken && listen.Exposed(h.Listen) {
		add("hooks.allow_no_token is true: whoever reaches %s is given credentials", h.Listen)
	}
	unused := func(is bool, key, mode, value, needed string) {
		if is && value != needed {
			add("%s has no effect: %s is %q, not %q", key, mode, value, needed)
		}
	}
	a, j, z, u := h.Authenticate, h.Authenticate.JWT, h.Authorize, h.Upstream
	unused(len(a.Tokens) > 0, "hooks.authenticate.tokens", "hooks.authenticate.mode", a.Mode, "tokens")
	hasKey := j.Secret.IsSet() || j.PublicKeyFile+j.JWKSFile+j.JWKSURL != ""
	unused(hasKey, "hooks.authenticate.jwt", "hooks.authenticate.mode", a.Mode, "jwt")
	unused(len(z.Rules) > 0, "hooks.authorize.rules", "hooks.authorize.mode", z.Mode, "rules")
	unused(u.AuthenticateURL != "", "hooks.upstream.authenticate_url", "hooks.authenticate.mode", a.Mode, "upstream")
	unused(u.AuthorizeURL != "", "hooks.upstream.authorize_url", "hooks.authorize.mode", z.Mode, "upstream")
	unused(u.MessagesURL != "", "hooks.upstream.messages_url", "hooks.messages.mode", h.Messages.Mode, "upstream")
	encrypted := func(transport string) bool { return transport == "tls" || transport == "dtls" }
	if h.RTC.AdvertiseTLS == "always" && (len(c.Turn.ListenTLS) == 0 || !slices.ContainsFunc(c.Turn.Transports, encrypted)) {
		add(`hooks.rtc.advertise_tls is "always", and no turns: URL is told: that takes an address in turn.listen_tls, and tls or dtls in turn.transports`)
	}
	if target, err := url.Parse(j.JWKSURL); err == nil && target.Scheme == "http" && !localName(target.Hostname()) {
		add("hooks.authenticate.jwt.jwks_url is without TLS: whoever is on the way can let anybody in")
	}
}

// warnSecrets names the secrets that can be guessed.
func (c *Config) warnSecrets(add func(string, ...any)) {
	type named struct {
		key    string
		secret Secret
	}
	all := []named{{"credentials.secret", c.Credentials.Secret}}
	for i, s := range c.Credentials.PreviousSecrets {
		key := fmt.Sprintf("credentials.previous_secrets, entry %d,", i+1)
		if s.Equal(c.Credentials.Secret.Reveal()) {
			add("%s is credentials.secret itself: put the one from before there", key)
			continue
		}
		all = append(all, named{key, s})
	}
	all = append(all, named{"hooks.token", c.Hooks.Token}, named{"hooks.authenticate.jwt.secret", c.Hooks.Authenticate.JWT.Secret},
		named{"hooks.upstream.token", c.Hooks.Upstream.Token})
	if c.Redis.Enabled {
		all = append(all, named{"redis.password", c.Redis.Password})
	}
	all = append(all, named{"admin.token", c.Admin.Token})
	for _, s := range all {
		switch text := s.secret.Reveal(); {
		case text == "":
		case wellKnown(text):
			add("%s is one that everybody knows: use %d random characters", s.key, fewest)
		case utf8.RuneCountInString(text) < fewest:
			add("%s is shorter than %d characters and can be guessed", s.key, fewest)
		}
	}
}

// wellKnown reports whether a secret is one of the examples, perhaps repeated or with digits and signs at its ends, or
// consists of the same few characters.
func wellKnown(s string) bool {
	s = strings.ToLower(s)
	different := map[rune]bool{}
	for _, r := range s {
		different[r] = true
	}
	if len(different) < 4 {
		return true
	}
	core := strings.Trim(s, "0123456789-_.!?#$*@ ")
	for _, e := range examples {
		if s == e || core == e || strings.Trim(strings.ReplaceAll(s, e, ""), "-_. ") == "" {
			return true
		}
	}
	return false
}

func localName(host string) bool {
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.IsLoopback()
}
