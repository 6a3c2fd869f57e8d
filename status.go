package main

import (
	"net/netip"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/admin"
	"github.com/crolang-p2p/crolang-aio/internal/admin/metrics"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// status describes the running process for the admin API.
func (a *app) status() admin.Status {
	v, commit, goVersion := build()
	stun, turn := a.urls()
	info := a.certs.Info()
	source := info.Source
	if info.SelfSigned && a.cfg().Certs.CertFile == "" {
		source = "self-signed"
	}
	env := a.brokerEnv()
	if env.token != "" {
		env.token = "TOKEN"
	}
	if env.password != "" {
		env.password = "TOKEN"
	}
	return admin.Status{
		Version: v, Commit: commit, Go: goVersion, Now: time.Now().UTC(), Started: a.started.UTC(), BrokerSeen: a.broker.time(),
		Listeners: append(a.turnListeners(), a.otherListeners()...), URLs: append(stun, turn...),
		Public: admin.Public{
			Host: a.host(), IPv4: text(a.public.Load().ipv4.Advertise), IPv6: text(a.public.Load().ipv6.Advertise),
		},
		Certificate: &admin.Certificate{
			Source: source, Names: info.Names, NotBefore: info.NotBefore, NotAfter: info.NotAfter, SelfSigned: info.SelfSigned,
		},
		Limits:    a.limits(),
		BrokerEnv: env.lines(),
		Warnings:  a.warnings(),
	}
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// notReady names what is not ready: listeners are bound before Run, so only the start and the end are not.
func (a *app) notReady() []string {
	switch {
	case a.draining():
		return []string{"draining"}
	case !a.running.Load():
		return []string{"starting"}
	}
	return nil
}

// turnStats brings the TURN server's counters to the admin API.
func (a *app) turnStats() admin.TurnStats {
	st := a.turn.Stats()
	out := admin.TurnStats{
		Drops:  map[string]uint64{"unanswered": st.Dropped, "rate_limited": st.Limited},
		Panics: a.turn.Panics(), Ports: int(a.cfg().Turn.RelayPorts.Max) - int(a.cfg().Turn.RelayPorts.Min) + 1,
	}
	out.Ports *= a.public.Load().families()
	out.PortsUsed = max(0, out.Ports-a.turn.FreePorts())
	for _, t := range []relay.Transport{relay.UDP, relay.TCP, relay.TLS, relay.DTLS} {
		sum := st.Traffic[t]
		out.Transports = append(out.Transports, admin.TransportStats{
			Transport: t.String(), Allocations: sum.Live, Opened: sum.Opened,
			Connections: a.turn.Connections(t),
			In:          admin.Flow{Datagrams: sum.Total.Up.Datagrams, Bytes: sum.Total.Up.Bytes},
			Out:         admin.Flow{Datagrams: sum.Total.Down.Datagrams, Bytes: sum.Total.Down.Bytes},
		})
		for why := range relay.Causes {
			out.Drops[why.String()] += sum.Total.Up.Drops[why] + sum.Total.Down.Drops[why]
		}
	}
	for k, n := range st.Refusals {
		out.Refusals = append(out.Refusals, admin.Refusal{Code: k.Code, Cause: k.Cause, Count: n})
	}
	return out
}

// adminHosts are the names under which a browser may ask for the admin listener.
func (a *app) adminHosts() []string {
	return []string{strings.Trim(a.host(), "[]")}
}

// newMetrics reads every part at each scrape.
func (a *app) newMetrics() (*metrics.Metrics, error) {
	v, commit, goVersion := build()
	return metrics.New(metrics.Config{
		Version: v, Commit: commit, Go: goVersion,
		Turn:        a.turnStats,
		Nodes:       a.nodes.Stats,
		Limits:      a.limits,
		Certificate: func() (time.Time, bool) { return a.certs.Info().NotAfter, true },
		Redis: func() (metrics.RedisStats, bool) {
			if a.redis == nil {
				return metrics.RedisStats{}, false
			}
			s := a.redis.Stats()
			return metrics.RedisStats{
				Clients: s.Clients, Keys: s.Keys, Memory: s.Memory,
				Connections: s.Connections, Commands: s.Commands, Refused: s.Refused,
			}, true
		},
		Messages: func() map[string]uint64 {
			s := a.policy.Stats()
			return map[string]uint64{"forwarded": s.MessagesForwarded, "dropped": s.MessagesDropped}
		},
		State: func() (ready, draining bool) { return len(a.notReady()) == 0, a.draining() },
	})
}

func (a *app) limits() map[string]int64 {
	l := a.cfg().Turn.Limits
	return map[string]int64{
		"turn.limits.allocations":                int64(l.Allocations),
		"turn.limits.allocations_per_node":       int64(l.AllocationsPerNode),
		"turn.limits.bits_per_second":            l.BitsPerSecond,
		"turn.limits.connections_per_ip":         int64(l.ConnectionsPerIP),
		"turn.limits.unauthenticated_per_second": int64(l.UnauthenticatedPerSecond),
	}
}
