package main

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"

	"github.com/crolang-p2p/crolang-aio/hooks"
)

// brokerEnv are the parts from which a Broker's environment is made.
type brokerEnv struct {
	base     *url.URL // under which the Broker reaches the webhooks
	token    string   // of the webhooks; empty: none
	redis    string   // host:port of the embedded Redis; empty: it is off
	password string   // of the Redis; empty: none
}

// lines are NAME=value, in the order of the Broker's documentation.
func (b brokerEnv) lines() []string {
	hook := func(path string) string {
		u := *b.base
		if b.token != "" {
			// axios sends no user-info where the user name is empty, so there always is one.
			u.User = url.UserPassword("broker", b.token)
		}
		u.Path = strings.TrimRight(u.Path, "/") + path
		return u.String()
	}
	out := []string{
		"NODES_AUTHENTICATION_WEBHOOK_URL=" + hook(hooks.PathAuthenticate),
		"RTC_CONFIGURATION_RESOLVER_WEBHOOK_URL=" + hook(hooks.PathResolve),
		"AUTHORIZE_NODES_COMMUNICATION_WEBHOOK_URL=" + hook(hooks.PathAuthorize),
		"NODES_VALIDITY_CHECK_WEBHOOK_URL=" + hook(hooks.PathValidity),
		"ON_AUTHENTICATED_SOCKET_MSG_WEBHOOK_URL=" + hook(hooks.PathMessage),
	}
	if b.redis != "" {
		u := url.URL{Scheme: "redis", Host: b.redis}
		if b.password != "" {
			u.User = url.UserPassword("default", b.password)
		}
		out = append(out, "REDIS_URL="+u.String())
	}
	return append(out, "NODE_OPTIONS=--unhandled-rejections=warn")
}

// reachable is the address by which others reach a listener: itself, or for a wildcard the public host.
func reachable(listen netip.AddrPort, public string) string {
	host := listen.Addr().Unmap().String()
	if listen.Addr().IsUnspecified() {
		host = public
	}
	return net.JoinHostPort(host, fmt.Sprint(listen.Port()))
}

// hints are comment lines for what a Broker elsewhere cannot do with these addresses. docker run --env-file takes them.
func (b brokerEnv) hints() []string {
	host := b.base.Hostname()
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

// moveRedis names the Redis by the host under which the webhooks are reached: both are this process.
func (b *brokerEnv) moveRedis(host string) {
	if _, port, ok := cutPort(b.redis); ok {
		b.redis = joinPort(host, port)
	}
}

func cutPort(hostport string) (host, port string, ok bool) {
	host, port, err := net.SplitHostPort(hostport)
	return host, port, err == nil
}

func joinPort(host, port string) string { return net.JoinHostPort(host, port) }
