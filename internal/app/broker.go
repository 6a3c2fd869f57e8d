package app

import (
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/embedded/broker"
	"github.com/crolang-p2p/crolang-aio/internal/brokerenv"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/listen"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
	"github.com/crolang-p2p/crolang-aio/internal/systemd"
)

// listenBroker returns the Broker's listener, nil if it has to do without one: then there is no Broker but at the TLS ports.
func listenBroker(cfg *config.Config, from *supervisor, found *findings.Set) (net.Listener, error) {
	b := cfg.Broker
	passed, err := from.passed(systemd.NameBroker, "broker.listen", b.Listen, b.Open || cfg.Hooks.Authenticate.Mode != "allow")
	if err != nil {
		return nil, err
	}
	if passed != nil {
		return passed, nil
	}
	if b.Asked {
		ln, err := listen.TCP(b.Listen)
		if err != nil {
			return nil, fmt.Errorf("broker.listen: %w", err)
		}
		return ln, nil
	}
	err = answers(b.Listen)
	if err == nil {
		var ln net.Listener
		if ln, err = listen.TCP(b.Listen); err == nil {
			return ln, nil
		}
	}
	left := "is off, everything else runs: "
	if cfg.HTTPS.Serves("broker") {
		left = "is reached over HTTPS alone: "
	}
	found.Replace("broker.port", []findings.Finding{{
		ID:     "broker.port",
		Detail: "the Broker in this process " + left + err.Error(),
		Remedy: "set broker.listen to a free port for Nodes to connect to; or broker.enabled = false if a Broker of its own runs there",
	}})
	return nil, nil
}

// answers is an error if somebody accepts connections at address: some systems let a second program listen there all the
// same, and take connections away from the first.
func answers(address string) error {
	c, err := net.DialTimeout("tcp", address, 200*time.Millisecond)
	if err != nil {
		return nil //nolint:nilerr // nobody is there
	}
	c.Close()
	return fmt.Errorf("another program answers on %s", address)
}

// openShared makes the client of the Redis that Brokers share, nil if there is none. [App.Run] closes it.
func (p *parts) openShared(hold *holding) (redis.UniversalClient, error) {
	switch at := hold.cfg.Fleet.RedisURL; {
	case at.IsSet():
		return openRedis(at)
	case p.redis == nil:
		return nil, nil
	}
	u := url.URL{Scheme: "redis", Host: brokerenv.Reachable(p.redis.Addr().AddrPort(), "127.0.0.1")}
	if password := hold.secrets.redis; password != "" {
		u.User = url.UserPassword("", password)
	}
	return redisurl.Open(u.String())
}

// openRedis makes a client of fleet.redis_url. The caller closes it.
func openRedis(at config.Secret) (redis.UniversalClient, error) {
	client, err := redisurl.Open(at.Reveal())
	if err != nil {
		return nil, fmt.Errorf("fleet.redis_url: %w", err)
	}
	return client, nil
}

// letNodesGo has the Broker's newcomers try again, here when the process is started anew or at another Broker, and sends
// those away who are connected.
func (p *parts) letNodesGo() {
	if p.broker != nil {
		p.broker.LetGo()
	}
}

// closeShared closes the client of the shared Redis.
func (p *parts) closeShared() error {
	if p.shared == nil {
		return nil
	}
	return p.shared.Close()
}

func brokerSettings(cfg *config.Config) broker.Settings {
	b := cfg.Broker
	return broker.Settings{
		P2P: b.P2P, RelayMessages: b.RelayMessages, CheckSender: b.CheckSender, SameID: broker.SameID(b.SameID), Origins: b.Origins,
		TrustedProxies: prefixes(b.TrustedProxies),
		Limits: broker.Limits{
			Connections: b.Limits.Connections, ConnectionsPerIP: b.Limits.ConnectionsPerIP,
			MessagesPerSecond: b.Limits.MessagesPerSecond, WaitingBytes: int(b.Limits.WaitingBytes),
		},
	}
}
