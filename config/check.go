package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// good tells whether none of the keys has a mistake of its own.
func (l *loader) good(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(k string) bool { return l.bad[k] })
}

// contradictions finds what is wrong with keys together. Keys that are wrong by themselves are left out.
func (l *loader) contradictions() {
	l.checkPublic()
	all := l.sockets()
	l.checkSockets(all)
	l.checkRelayPorts(all)
	l.checkCerts()
	l.checkTokens()
	l.checkAuthenticate()
	l.checkRules()
	l.checkUpstream()
}

func (l *loader) checkPublic() {
	const v4, v6 = "public.ipv4", "public.ipv6"
	if l.good(v4, v6) && l.cfg.Public.IPv4 == "off" && l.cfg.Public.IPv6 == "off" {
		l.fail(v6, "", errors.New("is off, and public.ipv4 too: relays need one of them"), v4)
	}
}

// bound is a listener of the configuration.
type bound struct {
	listen.Address
	key, at  string
	tcp, udp bool
}

// sockets are all that would be bound, in the order of the documentation.
func (l *loader) sockets() []bound {
	var all []bound
	add := func(key, at, address string, tcp, udp bool) {
		if a, err := listen.Parse(address); err == nil && l.good(key) {
			all = append(all, bound{a, key, at, tcp, udp})
		}
	}
	has := func(names ...string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(l.cfg.Turn.Transports, n) })
	}
	if l.good("turn.transports") {
		tcp, udp := has("tcp", "tls"), has("udp", "dtls")
		for _, list := range []struct {
			key       string
			addresses []string
		}{{"turn.listen", l.cfg.Turn.Listen}, {"turn.listen_tls", l.cfg.Turn.ListenTLS}} {
			for i, a := range list.addresses {
				if !covered(a, list.addresses) {
					add(list.key, fmt.Sprintf("[%d]", i), a, tcp, udp)
				}
			}
		}
	}
	add("hooks.listen", "", l.cfg.Hooks.Listen, true, false)
	if l.cfg.Redis.Enabled {
		add("redis.listen", "", l.cfg.Redis.Listen, true, false)
	}
	add("admin.listen", "", l.cfg.Admin.Listen, true, false)
	return all
}

// covered reports whether a is the wildcard of IPv4, and that of IPv6, which stands for both, is in the list too.
func covered(a string, list []string) bool {
	port, ok := strings.CutPrefix(a, "0.0.0.0:")
	return ok && port != "0" && slices.Contains(list, "[::]:"+port)
}

// checkSockets finds listeners that are missing, and those that cannot be bound beside each other.
func (l *loader) checkSockets(all []bound) {
	t := l.cfg.Turn
	if l.good("turn.transports") && len(t.Transports) == 0 {
		l.failf("turn.transports", "must not be empty: name at least one of udp, tcp, tls, dtls")
	}
	if l.good("turn.listen", "turn.listen_tls") && len(t.Listen)+len(t.ListenTLS) == 0 {
		l.fail("turn.listen", "", errors.New("is empty, and turn.listen_tls too: one of them must name an address"), "turn.listen_tls")
	}
	for i, b := range all {
		for _, earlier := range all[:i] {
			if !b.Overlaps(earlier.Address) || (!b.tcp || !earlier.tcp) && (!b.udp || !earlier.udp) {
				continue
			}
			what := fmt.Errorf("%s is taken by %s already", b, earlier.key)
			if b.Address != earlier.Address {
				what = fmt.Errorf("%s is taken by %s already, with %s", b, earlier.key, earlier)
			}
			l.fail(b.key, b.at, what, earlier.key)
			break
		}
	}
}

// checkRelayPorts finds UDP listeners on a port that a relay may be given.
func (l *loader) checkRelayPorts(all []bound) {
	const key = "turn.relay_ports"
	if !l.good(key) {
		return
	}
	r := l.cfg.Turn.RelayPorts
	for _, b := range all {
		if b.udp && b.Port() >= r.Min && b.Port() <= r.Max {
			l.fail(b.key, b.at, fmt.Errorf("port %d is one of %s (%d-%d): choose a port outside of them, or other relay ports",
				b.Port(), key, r.Min, r.Max), key)
		}
	}
}

func (l *loader) checkCerts() {
	const cert, key, validity, renew = "certs.cert_file", "certs.key_file", "certs.validity", "certs.renew_before"
	c := l.cfg.Certs
	if l.good(cert, key) && (c.CertFile == "") != (c.KeyFile == "") {
		missing, there := key, cert
		if c.CertFile == "" {
			missing, there = cert, key
		}
		l.fail(missing, "", fmt.Errorf("is empty, and %s is set: set both, or neither for a self-signed certificate", there), there)
	}
	if l.good(validity, renew) && c.RenewBefore >= c.Validity {
		l.fail(renew, "", fmt.Errorf("must be shorter than %s", validity), validity)
	}
}

func (l *loader) checkTokens() {
	for _, t := range []struct {
		table string
		token Secret
		allow bool
	}{
		{"hooks", l.cfg.Hooks.Token, l.cfg.Hooks.AllowNoToken},
		{"admin", l.cfg.Admin.Token, l.cfg.Admin.AllowNoToken},
	} {
		token, allow := t.table+".token", t.table+".allow_no_token"
		if l.good(token, allow) && t.allow && t.token.IsSet() {
			l.failf(allow, "is true, and %s is set: keep one of them", token)
		}
	}
}

func (l *loader) checkAuthenticate() {
	const mode, tokens, table = "hooks.authenticate.mode", "hooks.authenticate.tokens", "hooks.authenticate.jwt"
	a := l.cfg.Hooks.Authenticate
	if l.good(mode, tokens) && a.Mode == "tokens" && len(a.Tokens) == 0 {
		l.fail(tokens, "", fmt.Errorf("is empty, and %s is \"tokens\": make a line with `crolang-aio token new NODE`", mode), mode)
	}
	first := ""
	for _, source := range []struct {
		key string
		set bool
	}{
		{table + ".secret", a.JWT.Secret.IsSet()},
		{table + ".public_key_file", a.JWT.PublicKeyFile != ""},
		{table + ".jwks_file", a.JWT.JWKSFile != ""},
		{table + ".jwks_url", a.JWT.JWKSURL != ""},
	} {
		switch {
		case !l.good(source.key):
			return // perhaps the only one
		case source.set && first != "":
			l.failf(source.key, "is set, and %s too: only one of them can be", first)
		case source.set:
			first = source.key
		}
	}
	if l.good(mode) && a.Mode == "jwt" && first == "" {
		l.fail(table, "", fmt.Errorf("%s is \"jwt\": set one of secret, public_key_file, jwks_file, jwks_url", mode), mode)
	}
}

// checkUpstream finds modes that need a URL that is not set.
func (l *loader) checkUpstream() {
	h := l.cfg.Hooks
	for _, u := range []struct{ mode, is, key, url string }{
		{"hooks.authenticate.mode", h.Authenticate.Mode, "hooks.upstream.authenticate_url", h.Upstream.AuthenticateURL},
		{"hooks.authorize.mode", h.Authorize.Mode, "hooks.upstream.authorize_url", h.Upstream.AuthorizeURL},
		{"hooks.messages.mode", h.Messages.Mode, "hooks.upstream.messages_url", h.Upstream.MessagesURL},
	} {
		if l.good(u.mode, u.key) && u.is == "upstream" && u.url == "" {
			l.fail(u.key, "", fmt.Errorf("is empty, and %s is \"upstream\": set it, or choose another mode", u.mode), u.mode)
		}
	}
}

// checkRules finds groups that there are not, and rules that an earlier one leaves nothing to match.
func (l *loader) checkRules() {
	const mode, key, groups = "hooks.authorize.mode", "hooks.authorize.rules", "hooks.authorize.groups"
	a := l.cfg.Hooks.Authorize
	if !l.good(key) {
		return
	}
	if l.good(mode) && a.Mode == "rules" && len(a.Rules) == 0 {
		l.fail(key, "", fmt.Errorf("is empty, and %s is \"rules\": write a rule, or set the mode to allow or deny", mode), mode)
	}
	checkGroups := l.good(groups)
	var names []string
	for name := range a.Groups {
		names = append(names, name)
	}
	slices.Sort(names)
	for i, r := range a.Rules {
		for _, side := range []struct{ name, node string }{{"from", r.From}, {"to", r.To}} {
			group, isGroup := strings.CutPrefix(side.node, "@")
			if !isGroup || !checkGroups || a.Groups[group] != nil {
				continue
			}
			meant := ""
			if near := Nearest(group, names); near != "" {
				meant = quoted("@" + near)
			}
			l.fail(key, fmt.Sprintf("[%d].%s", i, side.name),
				fmt.Errorf("entry %d: %s: %w", i+1, side.name, unknown("group "+quoted(side.node), meant)))
		}
		for j, earlier := range a.Rules[:i] {
			if takes(earlier.From, r.From) && takes(earlier.To, r.To) {
				l.fail(key, fmt.Sprintf("[%d]", i), fmt.Errorf("entry %d: can never match: entry %d takes all that it would", i+1, j+1))
				break
			}
		}
	}
}

// takes tells whether one side of a rule surely matches all that another does. Package policy knows more of patterns.
func takes(wide, narrow string) bool { return wide == narrow || strings.Trim(wide, "*") == "" }
