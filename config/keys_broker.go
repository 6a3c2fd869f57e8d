package config

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"reflect"
	"strings"
	"time"
	"unicode"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
)

func brokerTables() []Table {
	return []Table{brokerTable(), brokerLimitsTable(), fleetTable()}
}

func brokerTable() Table {
	return Table{Name: "broker", Doc: "The Broker in this process, which Nodes connect to.", Keys: []Key{
		define("broker.enabled", true, boolean(), func(c *Config) *bool { return &c.Broker.Enabled },
			"Whether to start it. Set to false if Broker containers do its work and call the webhooks.").restart(),
		define("broker.listen", "127.0.0.1:8080", address(), func(c *Config) *string { return &c.Broker.Listen },
			"Where it listens for http and ws. If another program uses that port, and neither this key nor enabled is set, or all of "+
				"[broker] is as `config init` writes it, everything else runs without it.").example(`"0.0.0.0:8080"`).restart(),
		define("broker.open", false, boolean(), func(c *Config) *bool { return &c.Broker.Open },
			`Let it listen beyond loopback even if hooks.authenticate.mode is "allow": whoever reaches it is then given relays.`),
		define("broker.origins", none(), atMost(256, distinct(text(webOrigin))), func(c *Config) *[]string { return &c.Broker.Origins },
			"Origins of the web pages that may connect; \"*\" is any. Empty: those on loopback if it listens on loopback, otherwise any. "+
				"Clients other than browsers send no origin and are let in.").example(`["https://app.example.org"]`),
		define("broker.trusted_proxies", none(), atMost(256, list(text(prefix))), func(c *Config) *[]string { return &c.Broker.TrustedProxies },
			"Addresses and prefixes of proxies whose X-Forwarded-For is trusted: a Node's address is the rightmost one that is not "+
				"among them.").example(`["127.0.0.1", "10.0.0.0/8"]`),
		define("broker.p2p", true, boolean(), func(c *Config) *bool { return &c.Broker.P2P },
			"Whether Nodes may set up connections with each other. false: those events are answered DISABLED."),
		define("broker.relay_messages", true, boolean(), func(c *Config) *bool { return &c.Broker.RelayMessages },
			"Whether Nodes may send each other messages through it. false: those are answered DISABLED."),
		define("broker.same_id", "ask", oneOf("ask", "refuse"), func(c *Config) *string { return &c.Broker.SameID },
			"What happens to a second connection with a Node's id. ask: the first is pinged, and gives way if it sends nothing for 3 s; "+
				`if hooks.authenticate.mode is "allow", only to the same address. refuse: the second is refused while the first is there.`),
		define("broker.check_sender", true, boolean(), func(c *Config) *bool { return &c.Broker.CheckSender },
			"Answer ERROR to anything a Node sends under another's id."),
		define("broker.relays_end_after", "0s", span(0, 0), func(c *Config) *time.Duration { return &c.Broker.RelaysEndAfter },
			`How long after a Node has left the Broker its allocations are ended. "0s": they are not.`).example(`"5m"`),
	}}
}

// leastWaiting is two messages of the greatest size, and some more.
const leastWaiting = 2 << 20

func brokerLimitsTable() Table {
	return Table{Name: "broker.limits", Doc: "How much of the Broker Nodes and strangers may use.", Keys: []Key{
		define("broker.limits.connections", 0, limit(), func(c *Config) *int { return &c.Broker.Limits.Connections },
			"Total number of connections at once. 0: half the number of files that the process may open. Those that have not joined give way first."),
		define("broker.limits.connections_per_ip", 1024, number[int](1, math.MaxInt32), func(c *Config) *int { return &c.Broker.Limits.ConnectionsPerIP },
			"Connections at once from one IPv4 address or IPv6 /64, but at most an eighth of all."),
		define("broker.limits.messages_per_second", 200, number[int](1, math.MaxInt32), func(c *Config) *int { return &c.Broker.Limits.MessagesPerSecond },
			"Messages per second from one Node. A Node that sends more is read more slowly."),
		define("broker.limits.waiting_bytes", "4MiB", size(leastWaiting, 1<<30), func(c *Config) *int64 { return &c.Broker.Limits.WaitingBytes },
			"How much may be queued for a Node that reads slowly: three quarters of it by other Nodes, whose events are refused beyond that. "+
				"A Node that then reads nothing for 10 s is disconnected."),
	}}
}

func fleetTable() Table {
	return Table{Name: "fleet", Doc: "What machines share: see docs/fleet.md.", Keys: []Key{
		define("fleet.redis_url", "", secret(redisURL), func(c *Config) *Secret { return &c.Fleet.RedisURL },
			"Redis or Valkey through which this machine and others are one service, and this Broker and others, including containers, reach each other's Nodes: "+
				"redis://, rediss://, unix://, or redis+sentinel:// with the addresses of sentinels and the name of the master. "+
				"Empty: one machine, and a Broker that shares the Redis of [redis] if that is enabled.").example(`"redis://:PASSWORD@10.0.0.5:6379/0"`).restart(),
		define("fleet.name", "", text(fleetName), func(c *Config) *string { return &c.Fleet.Name },
			"What the other machines and you call this one. Empty: its host name.").example(`"eu-1"`).restart(),
		define("fleet.region", "", text(fleetName), func(c *Config) *string { return &c.Fleet.Region },
			"Where this machine is. Nodes are given the URLs of machines of their region first.").example(`"eu"`).restart(),
		define("fleet.regions", none(), atMost(100_000, tableList(regionKind())), func(c *Config) *[]Region { return &c.Fleet.Regions },
			"Where Nodes are, by their address; the longest prefix counts. Others, and Nodes of Brokers elsewhere, count as in the "+
				"region of the machine that is asked.").example(`[{prefix = "10.1.0.0/16", region = "eu"}, {prefix = "2001:db8::/32", region = "us"}]`),
	}}
}

// webOrigin is the check of an entry of broker.origins.
func webOrigin(s string) error {
	if s == "*" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Hostname() == "" || u.User != nil || u.Path+u.RawQuery+u.Fragment != "" {
		return fmt.Errorf(`%s is no origin such as "https://app.example.org", without a path`, quoted(s))
	}
	return nil
}

// redisURL is the check of fleet.redis_url. Its error does not hold it: it may have a password.
func redisURL(s string) error {
	if s == "" {
		return nil
	}
	return redisurl.Check(s)
}

// fleetName is the check of the names of machines and regions.
func fleetName(s string) error {
	if len(s) > 64 || strings.ContainsFunc(s, unicode.IsControl) {
		return errors.New("must be at most 64 bytes without control characters")
	}
	return nil
}

// copied reports whether the file has every key of the Broker with its default, as `config init` writes it: nobody has chosen
// any of them.
func (l *loader) copied() bool {
	for _, k := range l.keys {
		if strings.HasPrefix(k.Name, "broker.") && l.source[k.Name] != l.file {
			return false
		}
	}
	return l.file != "" && reflect.DeepEqual(l.cfg.Broker, l.standard.Broker)
}

// checkBroker finds a Broker that would give relays to everybody without anybody having said so.
func (l *loader) checkBroker() {
	const addr, open, mode = "broker.listen", "broker.open", "hooks.authenticate.mode"
	l.cfg.Broker.Asked = (l.source["broker.enabled"] != "" || l.source[addr] != "") && !l.copied()
	if !l.good("broker.enabled", addr, open, mode, "https.serve", "turn.listen_tls") {
		return
	}
	if key, err := l.cfg.CheckBroker(); err != nil {
		l.fail(key, "", err, mode, open)
	}
}

// CheckBroker finds a Broker beyond loopback to which everybody is let in though broker.open does not say so, and names the
// key that brings it there. Load has checked it; what [Keep] has put together has to be checked again.
func (c *Config) CheckBroker() (key string, err error) {
	b := c.Broker
	switch {
	case !b.Enabled || b.Open || c.Hooks.Authenticate.Mode != "allow":
	case listen.Exposed(b.Listen):
		return "broker.listen", fmt.Errorf("%s is beyond loopback, and %w", b.Listen, errEverybody)
	case c.HTTPS.Serves("broker") && c.exposedTLS() != "":
		return "https.serve", fmt.Errorf("has the Broker, %s of turn.listen_tls is beyond loopback, and %w", c.exposedTLS(), errEverybody)
	}
	return "", nil
}
