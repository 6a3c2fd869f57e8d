// Package brokerenv writes the environment with which a Broker uses this process: its webhooks and its Redis.
package brokerenv

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/crolang-p2p/crolang-aio/hooks"
	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// Env is what a Broker's environment is made of. Token and Password are secrets.
type Env struct {
	Base     *url.URL // under which the Broker reaches the webhooks
	Token    string   // of the webhooks; empty: none
	Redis    string   // host:port of the embedded Redis; empty: it is off
	Password string   // of the Redis; empty: none
}

// Lines returns NAME=value lines, in the order of the Broker's documentation.
func (e Env) Lines() []string {
	var out []string
	for _, h := range hooks.Webhooks {
		out = append(out, h.Variable+"="+e.webhook(h.Path))
	}
	if e.Redis != "" {
		u := url.URL{Scheme: "redis", Host: e.Redis}
		if e.Password != "" {
			u.User = url.UserPassword("default", e.Password)
		}
		out = append(out, "REDIS_URL="+u.String())
	}
	return append(out, "NODE_OPTIONS=--unhandled-rejections=warn")
}

func (e Env) webhook(path string) string {
	u := *e.Base
	if e.Token != "" {
		// axios sends no user-info if the user name is empty, so there always is one.
		u.User = url.UserPassword("broker", e.Token)
	}
	u.Path = strings.TrimRight(u.Path, "/") + path
	return u.String()
}

// Masked returns e with a word in place of each secret.
func (e Env) Masked() Env {
	if e.Token != "" {
		e.Token = "TOKEN"
	}
	if e.Password != "" {
		e.Password = "TOKEN"
	}
	return e
}

// HasSecret reports whether Lines have a secret in them.
func (e Env) HasSecret() bool { return e.Token != "" || e.Password != "" }

// Hints returns comment lines about what a Broker elsewhere cannot do with these addresses; docker run --env-file takes
// them. It returns none if there is nothing to say.
func (e Env) Hints() []string {
	host := e.Base.Hostname()
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		return nil
	}
	return []string{
		"# A Broker in a container cannot reach " + host + " of this machine. Either start it with --network host,",
		"# or set hooks.listen (and redis.listen) to an address that containers reach, such as \"0.0.0.0:8083\": a token is",
		"# made then. Print these lines again with --url http://host.docker.internal:8083, and start the container with",
		"# --add-host host.docker.internal:host-gateway.",
	}
}

// At returns e as it is under another base URL. The Redis has the same host: both are this process.
func (e Env) At(base *url.URL) Env {
	e.Base = base
	if _, port, err := net.SplitHostPort(e.Redis); err == nil {
		e.Redis = net.JoinHostPort(base.Hostname(), port)
	}
	return e
}

// Reachable returns the address by which others reach a listener: its own, or public for a wildcard.
func Reachable(at netip.AddrPort, public string) string {
	host := at.Addr().Unmap().String()
	if at.Addr().IsUnspecified() {
		host = public
	}
	return net.JoinHostPort(host, fmt.Sprint(at.Port()))
}

// URL returns where others reach a listener of the configuration, ADDRESS:PORT or :PORT.
func URL(address, public string) (*url.URL, error) {
	a, err := listen.Parse(address)
	if err != nil {
		return nil, err
	}
	return &url.URL{Scheme: "http", Host: Reachable(a.AddrPort(), public)}, nil
}
