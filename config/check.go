package config

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// good reports whether each of the keys is right by itself.
func (l *loader) good(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(k string) bool { return l.bad[k] })
}

// contradictions finds keys that are at odds with each other. Those that are wrong by themselves are left out.
func (l *loader) contradictions() {
	l.checkLog()
	l.checkPublic()
	l.checkBroker()
	l.checkHTTPS()
	all := l.sockets()
	l.checkSockets(all)
	l.checkRelayPorts(all)
	l.checkPublicPorts()
	l.checkNATDiscovery(all)
	l.checkOffload()
	l.checkCerts()
	l.checkACME()
	l.checkTokens()
	l.checkCredentials()
}

// checkOffload finds limits under which "require" could not be kept: the kernel knows none.
func (l *loader) checkOffload() {
	const offload = "turn.offload"
	c := l.cfg.Turn
	for _, limit := range []struct {
		key string
		set bool
	}{{"turn.limits.bits_per_second", c.Limits.BitsPerSecond != 0}, {"turn.limits.total_bits_per_second", c.Limits.TotalBitsPerSecond != 0}} {
		if l.good(offload, limit.key) && c.Offload == "require" && limit.set {
			l.failf(offload, "is \"require\", and %s is set, which the sockets alone keep to: remove one of them, or set \"auto\"", limit.key)
		}
	}
}

// checkLog keeps the log out of data_dir, of which every backup has a copy, and finds what was meant for a file that is not there.
func (l *loader) checkLog() {
	const file, dir = "log.file", "data_dir"
	if !l.good(file, dir) {
		return
	}
	c, standard := l.cfg.Log, l.standard.Log
	if c.File == "" {
		for _, of := range []struct {
			key string
			set bool
		}{{"log.file_size", c.Size != standard.Size}, {"log.file_age", c.Age != standard.Age}, {"log.file_count", c.Files != standard.Files}} {
			if l.good(of.key) && of.set {
				l.failf(of.key, "is set, and %s is not: name a file, or take it back", file)
			}
		}
		return
	}
	if below, err := filepath.Rel(l.cfg.DataDir, c.File); err == nil && filepath.IsLocal(below) {
		l.fail(file, "", fmt.Errorf("is in %s, which has names of its own and is backed up whole: name a file elsewhere", dir), dir)
	}
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

// sockets lists all that would be bound, in the order of the documentation.
func (l *loader) sockets() []bound {
	var all []bound
	add := func(key, at, address string, tcp, udp bool) {
		if a, err := listen.Parse(address); err == nil { // else the entry is known to be wrong
			all = append(all, bound{a, key, at, tcp, udp})
		}
	}
	// Wrong transports most likely stand for some over TCP and some over UDP.
	has := func(names ...string) bool {
		return !l.good("turn.transports") || len(l.cfg.Turn.Transports) == 0 ||
			slices.ContainsFunc(names, func(n string) bool { return slices.Contains(l.cfg.Turn.Transports, n) })
	}
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
	one := func(key, address string) {
		if l.good(key) {
			add(key, "", address, true, false)
		}
	}
	one("hooks.listen", l.cfg.Hooks.Listen)
	if l.cfg.Redis.Enabled {
		one("redis.listen", l.cfg.Redis.Listen)
	}
	one("admin.listen", l.cfg.Admin.Listen)
	if l.cfg.Broker.Enabled && l.cfg.Broker.Asked { // else it makes do without a port that is taken
		one("broker.listen", l.cfg.Broker.Listen)
	}
	if a := l.cfg.Certs.ACME; a.Enabled && slices.Contains(a.Challenges, "http-01") {
		one("certs.acme.http_listen", a.HTTPListen)
	}
	return all
}

// covered reports whether a is the wildcard of IPv4, and that of IPv6, which stands for both, is in the list too.
func covered(a string, list []string) bool {
	port, ok := strings.CutPrefix(a, "0.0.0.0:")
	return ok && port != "0" && slices.Contains(list, "[::]:"+port)
}

// checkSockets finds out whether there are listeners, and which of them cannot be bound beside each other.
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

// checkPublicPorts finds ports that no TURN listener has. A listener whose port the system chooses may have any.
func (l *loader) checkPublicPorts() {
	const key = "turn.public_ports"
	if !l.good(key, "turn.listen", "turn.listen_tls") {
		return
	}
	inner := map[uint16]bool{}
	for _, text := range slices.Concat(l.cfg.Turn.Listen, l.cfg.Turn.ListenTLS) {
		if a, err := listen.Parse(text); err == nil {
			inner[a.Port()] = true
		}
	}
	for _, port := range slices.Sorted(maps.Keys(l.cfg.Turn.PublicPorts)) {
		if !inner[port] && !inner[0] {
			l.fail(key, fmt.Sprintf(".%d", port), fmt.Errorf("port %d is that of no address in turn.listen and turn.listen_tls", port))
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

// checkCredentials finds settings that undo each other. It is a mistake only if both are set: a default may give way.
func (l *loader) checkCredentials() {
	const strict, connected, ttl, session = "credentials.strict_expiry", "credentials.while_connected", "credentials.ttl", "credentials.max_session"
	c := l.cfg.Credentials
	set := func(a, b string) bool { return l.good(a, b) && l.source[a] != "" && l.source[b] != "" }
	if set(strict, connected) && c.StrictExpiry && c.WhileConnected {
		l.failf(strict, "is true, and %s too, which then has no effect: set one of them to false", connected)
	}
	if set(ttl, session) && c.TTL > c.MaxSession {
		l.failf(ttl, "is longer than %s, after which every allocation ends: shorten it, or lengthen that", session)
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
	const read, token, allow = "admin.read_token", "admin.token", "admin.allow_no_token"
	a := l.cfg.Admin
	switch {
	case !l.good(read, token, allow) || !a.ReadToken.IsSet():
	case a.AllowNoToken:
		l.failf(allow, "is true, and %s is set: keep one of them", read)
	case a.ReadToken.Reveal() == a.Token.Reveal():
		l.fail(read, "", fmt.Errorf("is the same as %s, which may change things: choose another", token), token)
	}
}
