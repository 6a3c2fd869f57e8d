package main

import (
	"fmt"
	"io"
	"net/netip"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/datadir"
)

// announce says, in a few lines that a person can use, what listens where, what clients will be told, and what a Broker
// needs. On a terminal it is plain text; elsewhere one record of the log has the same.
func (a *app) announce(w io.Writer, file string) {
	stun, turn := a.urls()
	env := a.brokerEnv()
	lines := env.lines()
	secret := env.token != "" || env.password != ""
	if secret {
		// A token must not stand in a log.
		lines = []string{"printed by: " + brokerEnvCall(file)}
	}
	if !isTerminal(w) && a.cfg().Log.Format != "text" {
		a.log.Info("listening", "turn", a.turnListeners(), "others", a.otherListeners())
		a.log.Info("clients are told", "urls", append(stun, turn...))
		a.log.Info("a Broker needs this environment", "lines", lines)
		return
	}
	var b strings.Builder
	v, _, _ := build()
	fmt.Fprintf(&b, "crolang-aio %s\n", v)
	for _, l := range a.turnListeners() {
		fmt.Fprintf(&b, "  turn   %-5s %s\n", l.Transport, l.Address)
	}
	for _, l := range a.otherListeners() {
		fmt.Fprintf(&b, "  %-6s %-5s %s\n", l.Part, l.Transport, l.Address)
	}
	fmt.Fprintf(&b, "Clients are told:\n  %s\n", strings.Join(append(stun, turn...), "\n  "))
	fmt.Fprintf(&b, "Dashboard:\n  %s\n", a.dashboard())
	fmt.Fprintf(&b, "A Broker needs this environment:\n  %s\n", strings.Join(lines, "\n  "))
	if !secret && len(env.hints()) > 0 {
		fmt.Fprintf(&b, "A Broker in a container cannot reach %s: see %s\n", env.base.Host, brokerEnvCall(file))
	}
	_, _ = io.WriteString(w, b.String())
}

// dashboard says where it is, and where the token that it asks for.
func (a *app) dashboard() string {
	listen := a.cfg().Admin.Listen
	for _, l := range a.otherListeners() {
		if l.Part == "admin" {
			listen = l.Address
		}
	}
	u, err := listenURL(listen, a.host())
	if err != nil {
		return listen
	}
	switch at := u.String() + "/"; {
	case a.secrets.Load().admin == "":
		return at
	case a.cfg().Admin.Token.IsSet():
		return at + " (its token: admin.token of the configuration)"
	default:
		return at + " (its token: " + filepath.Join(a.cfg().DataDir, datadir.AdminToken) + ")"
	}
}

func brokerEnvCall(file string) string {
	if file == "" {
		return "crolang-aio broker-env"
	}
	return "crolang-aio broker-env --config " + file
}

// turnListeners are the TURN server's listeners that are up.
func (a *app) turnListeners() []adminapi.Listener {
	var out []adminapi.Listener
	for _, l := range a.turn.Listeners() {
		out = append(out, adminapi.Listener{Part: "turn", Transport: l.Transport, Address: l.Addr.String()})
	}
	return out
}

// storedBrokerEnv is a Broker's environment from the configuration and what serve has kept, without a running server.
func storedBrokerEnv(cfg *config.Config) (brokerEnv, error) {
	p, err := findPublic(cfg, known{})
	if err != nil {
		return brokerEnv{}, err
	}
	host := p.name(netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
	base, err := listenURL(cfg.Hooks.Listen, host)
	if err != nil {
		return brokerEnv{}, err
	}
	env := brokerEnv{base: base}
	if env.token, err = hooksToken(cfg).kept(cfg); err != nil {
		return env, fmt.Errorf("the webhooks' token: %w", err)
	}
	if !cfg.Redis.Enabled {
		return env, nil
	}
	u, err := listenURL(cfg.Redis.Listen, host)
	if err != nil {
		return env, err
	}
	env.redis = u.Host
	if env.password, err = redisPassword(cfg).kept(cfg); err != nil {
		return env, fmt.Errorf("the password of the Redis: %w", err)
	}
	return env, nil
}

// listenURL is where others reach a listener of the configuration.
func listenURL(listen, public string) (*url.URL, error) {
	host, port, ok := cutPort(listen)
	if !ok {
		return nil, fmt.Errorf("%q is not HOST:PORT", listen)
	}
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		host = public
	}
	return &url.URL{Scheme: "http", Host: joinPort(host, port)}, nil
}
