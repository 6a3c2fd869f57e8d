package config

import (
	"errors"
	"fmt"
	"slices"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

func httpsTable() Table {
	return Table{Name: "https", Doc: "HTTPS on the ports of turn.listen_tls, beside TURN.", Keys: []Key{
		define("https.serve", none(), distinct(oneOf("broker", "hooks", "admin", "test")), func(c *Config) *[]string { return &c.HTTPS.Serve },
			"What is answered there: any of broker (Nodes connect to https://HOST), hooks and admin, which then always require their "+
				"tokens, and test, the page of `crolang-aio test-link` alone, which admin has too. Everything else is answered 404. Empty: only TURN is served.").example(`["broker", "admin"]`),
	}}
}

// checkHTTPS finds parts that cannot be served over TLS, or must not be.
func (l *loader) checkHTTPS() {
	const serve, listenTLS, transports, enabled = "https.serve", "turn.listen_tls", "turn.transports", "broker.enabled"
	h := l.cfg.HTTPS
	if !l.good(serve) || len(h.Serve) == 0 {
		return
	}
	if l.good(listenTLS) && len(l.cfg.Turn.ListenTLS) == 0 {
		l.fail(serve, "", fmt.Errorf("needs a port, and %s is empty", listenTLS), listenTLS)
	}
	if l.good(transports) && !slices.Contains(l.cfg.Turn.Transports, "tls") {
		l.fail(serve, "", fmt.Errorf("needs TLS, which %s does not have: add tls", transports), transports)
	}
	if l.good(enabled) && h.Serves("broker") && !l.cfg.Broker.Enabled {
		l.fail(serve, "", fmt.Errorf("has the Broker, and %s is false: take one of them back", enabled), enabled)
	}
	for part, open := range map[string]bool{"hooks": l.cfg.Hooks.AllowNoToken, "admin": l.cfg.Admin.AllowNoToken} {
		if allow := part + ".allow_no_token"; l.good(allow) && h.Serves(part) && open {
			l.fail(allow, "", fmt.Errorf("is true, and %s has %s, which are never served there without a token: take one of them back", serve, part), serve)
		}
	}
}

// exposedTLS is the first address of turn.listen_tls beyond loopback; empty: there is none.
func (c *Config) exposedTLS() string {
	if i := slices.IndexFunc(c.Turn.ListenTLS, listen.Exposed); i >= 0 {
		return c.Turn.ListenTLS[i]
	}
	return ""
}

// LoopbackTLS reports whether turn.listen_tls is of loopback alone.
func (c *Config) LoopbackTLS() bool { return c.exposedTLS() == "" }

var errEverybody = errors.New(`hooks.authenticate.mode is "allow", so that whoever reaches it is given relays: ` +
	`set another hooks.authenticate.mode, or broker.open = true if that is meant`)
