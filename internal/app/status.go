package app

import (
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/admin/metrics"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/brokerenv"
	"github.com/crolang-p2p/crolang-aio/internal/datadir"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/version"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// reporter says how the running process is: for the admin API, for the metrics, and at the start for whoever started it.
type reporter struct {
	*parts
	now     *atomic.Pointer[holding]
	told    *told
	found   *findings.Set
	meters  *metrics.Metrics
	log     *slog.Logger
	life    *life
	started time.Time
	lately  lately
}

// status describes the running process for the admin API.
func (r *reporter) status() adminapi.Status {
	v, hold := version.Get(), r.now.Load()
	info := r.certs.Info()
	source := info.Source
	if info.Kind == certs.SelfSigned || info.StandIn {
		source = string(certs.SelfSigned)
	}
	return adminapi.Status{
		Version: v.Version, Commit: v.Commit, Go: v.Go, Now: time.Now().UTC(), Started: r.started.UTC(), BrokerSeen: r.hooks.BrokerSeen(),
		Listeners: append(r.turnListeners(), r.otherListeners()...), URLs: r.told.load().all(), NodesURL: r.nodesURL(), HTTPS: r.webURLs(),
		Public: adminapi.Public{
			Host: hold.public.Machine(), IPv4: text(hold.public.IPv4.Advertise), IPv6: text(hold.public.IPv6.Advertise),
		},
		Certificate: &adminapi.Certificate{
			Kind: string(info.Kind), StandIn: info.StandIn, Source: source, Names: info.Names,
			NotBefore: info.NotBefore, NotAfter: info.NotAfter, SelfSigned: info.SelfSigned,
		},
		Limits:    r.limits(),
		BrokerEnv: r.brokerEnv().Masked().Lines(),
		Warnings:  r.warnings(),
		Policy:    did(r.policy.Stats()),
		Offload:   offloaded(r.turn.Offload()),
	}
}

// did is what the policy has done since the start, and does now, in words for an operator.
func did(s policy.Stats) map[string]uint64 {
	all := map[string]uint64{
		"questions answered by the upstream": s.UpstreamAnswered, "questions the upstream gave no usable answer to": s.UpstreamFailures,
		"questions not asked, too many in flight": s.UpstreamBusy, "questions answered from the cache": s.UpstreamCached,
		"messages forwarded": s.MessagesForwarded, "messages dropped": s.MessagesDropped, "messages waiting now": uint64(s.MessagesQueued),
		"Nodes whose token's end is watched": uint64(s.TokensRemembered), "tokens waiting for argon2id now": uint64(s.ChecksWaiting),
		"tokens not checked, too many waiting": s.ChecksRefused,
	}
	maps.DeleteFunc(all, func(_ string, n uint64) bool { return n == 0 })
	return all
}

func text(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// turnStats brings the TURN server's counters to the admin API.
func (r *reporter) turnStats() adminapi.TurnStats { return r.turnStatsOf(r.turn.Stats()) }

func (r *reporter) turnStatsOf(st control.Stats) adminapi.TurnStats {
	streams, hold := r.turn.Streams(), r.now.Load()
	out := adminapi.TurnStats{
		Drops:     map[string]uint64{"unanswered": st.Dropped, "rate_limited": st.Limited, "nat_discovery": st.Aside, "throttled": st.Throttled},
		Strangers: streams.Strangers, Hellos: streams.Hellos, HalfOpen: streams.HalfOpen, Accepted: streams.Accepted, TurnedAway: turnedAway(streams),
		Tables: st.TableBytes, MostTables: st.TableBytesMost,
		Cut:    map[string]uint64{},
		Panics: r.turn.Panics(), Ports: int(hold.cfg.Turn.RelayPorts.Max) - int(hold.cfg.Turn.RelayPorts.Min) + 1,
	}
	out.Offload = offloaded(r.turn.Offload())
	out.Ports *= len(hold.public.Advertised())
	out.PortsUsed = max(0, out.Ports-r.turn.FreePorts())
	for _, t := range []relay.Transport{relay.UDP, relay.TCP, relay.TLS, relay.DTLS} {
		sum := st.Traffic[t]
		out.Transports = append(out.Transports, adminapi.TransportStats{
			Transport: t.String(), Allocations: sum.Live, Opened: sum.Opened,
			Connections: r.turn.Connections(t),
			In:          adminapi.Flow{Datagrams: sum.Total.Up.Datagrams, Bytes: sum.Total.Up.Bytes},
			Out:         adminapi.Flow{Datagrams: sum.Total.Down.Datagrams, Bytes: sum.Total.Down.Bytes},
		})
		for cause, n := range dropped(sum.Total) {
			out.Drops[cause] += n
		}
	}
	for which, n := range st.Cut {
		out.Cut[string(which)] = n
	}
	for k, n := range st.Refusals {
		if k.Cause == "no_credential" {
			out.Challenges += n
			continue
		}
		out.Refusals = append(out.Refusals, adminapi.Refusal{Code: k.Code, Cause: k.Cause, Count: n})
	}
	return out
}

// offloaded brings what the kernel relays to the admin API.
func offloaded(o turnsrv.OffloadReport) adminapi.Offload {
	out := adminapi.Offload{On: o.On, Reason: o.Reason, Flows: o.Flows, Waiting: o.Waiting, Apart: o.Apart, Taken: o.Taken, Left: o.ByCause()}
	for _, i := range o.Interfaces {
		at := adminapi.OffloadInterface{Name: i.Name, Failed: make(map[string]string)}
		for _, w := range i.Ways {
			at.Modes = append(at.Modes, w.String())
		}
		for w, why := range i.Failed {
			at.Failed[w.String()] = why
		}
		out.Interfaces = append(out.Interfaces, at)
	}
	for _, p := range o.Proofs {
		out.Ways = append(out.Ways, adminapi.OffloadWay(p))
	}
	return out
}

// traffic is how many bytes were relayed since the start, from clients to peers and back.
func (r *reporter) traffic() (in, out uint64) {
	for _, sum := range r.lately.stats(r.turn).Traffic {
		in += sum.Total.Up.Bytes
		out += sum.Total.Down.Bytes
	}
	return in, out
}

// newMetrics makes the metrics, which read every part at each scrape.
func (r *reporter) newMetrics() (err error) {
	v := version.Get()
	r.meters, err = metrics.New(metrics.Config{
		Version: v.Version, Commit: v.Commit, Go: v.Go,
		Turn:        r.turnStats,
		Nodes:       r.nodes.Stats,
		Limits:      r.limits,
		Certificate: func() (time.Time, bool) { return r.certs.Info().NotAfter, r.certs.Usable() },
		ACME:        r.certs.Attempts,
		Redis: func() (metrics.RedisStats, bool) {
			if r.redis == nil {
				return metrics.RedisStats{}, false
			}
			s := r.redis.Stats()
			return metrics.RedisStats{
				Clients: s.Clients, Keys: s.Keys, Memory: s.Memory,
				Connections: s.Connections, Commands: s.Commands, Refused: s.Refused, RefusedCommands: s.RefusedCommands,
			}, true
		},
		Broker: r.brokerStats,
		Fleet:  r.fleetStats,
		Policy: r.policyStats,
		Web:    r.webStats,
		Usage:  r.usageStats,
		HTTP:   r.lostOverHTTP,
		State:  func() (ready, draining bool) { return len(r.life.notReady()) == 0, r.life.draining() },
	})
	return err
}

// brokerStats brings the Broker's counters to the metrics; false if there is none.
func (r *reporter) brokerStats() (metrics.BrokerStats, bool) {
	if r.broker == nil {
		return metrics.BrokerStats{}, false
	}
	s := r.broker.Stats()
	return metrics.BrokerStats{
		Connections: s.Connections, Nodes: s.Nodes, Waiting: s.Waiting,
		Joins: map[string]uint64{
			"joined": s.Joined, "unauthorized": s.Unauthorized, "id_taken": s.Taken, "malformed": s.Malformed, "failed": s.Failed,
		},
		Answers: s.Answers, Asked: s.Asked, LetGo: letGo(s), SlowedDown: s.SlowedDown,
		Received: s.ReceivedBytes, Relayed: s.RelayedBytes, RedisFailures: s.RedisFailures,
	}, true
}

func (r *reporter) usageStats() metrics.UsageStats {
	s := r.usage.Stats()
	return metrics.UsageStats{
		In: s.Sum.Up, Out: s.Sum.Down, Time: s.Sum.Time, Allocations: s.Sum.Allocations, Messages: s.Sum.Messages,
		Nodes: s.Nodes, Near: s.Near, Exhausted: s.Exhausted, Unkept: s.Unkept,
	}
}

func (r *reporter) policyStats() metrics.PolicyStats {
	s := r.policy.Stats()
	return metrics.PolicyStats{
		Upstream: map[string]uint64{
			"answered": s.UpstreamAnswered, "failed": s.UpstreamFailures, "busy": s.UpstreamBusy, "cached": s.UpstreamCached,
		},
		Messages:       map[string]uint64{"forwarded": s.MessagesForwarded, "dropped": s.MessagesDropped},
		MessagesQueued: s.MessagesQueued, TokensWatched: s.TokensRemembered,
		ChecksWaiting: s.ChecksWaiting, ChecksRefused: s.ChecksRefused,
	}
}

// degraded names what serves, but not all clients as it should.
func (r *reporter) degraded() []string {
	if !r.certs.Usable() {
		return []string{"certificate"}
	}
	return nil
}

// limits are the numbers of [turn.limits] that hold, and of [broker.limits] if there is a Broker in this process.
func (r *reporter) limits() map[string]int64 {
	cfg := r.now.Load().cfg
	all := cfg.Counts("turn.limits")
	if r.broker != nil {
		maps.Copy(all, cfg.Counts("broker.limits"))
		all["broker.limits.connections"] = int64(r.broker.Limits().Connections) // 0 is by the limit of open files
	}
	return all
}

// warnings are what looks wrong with the set-up now, for the admin API and for doctor.
func (r *reporter) warnings() []findings.Finding {
	var all []findings.Finding
	for _, w := range r.now.Load().cfg.Warnings() {
		all = append(all, findings.Finding{ID: "config", Detail: w, Remedy: "change the key, unless it is meant so"})
	}
	for _, d := range r.certs.Doubts() {
		all = append(all, findings.Finding{ID: "certificate." + d.ID, Detail: d.Detail, Remedy: d.Remedy})
	}
	return append(all, r.found.All()...)
}

// turnListeners are the TURN server's listeners that are up.
func (p *parts) turnListeners() []adminapi.Listener {
	var out []adminapi.Listener
	for _, l := range p.turn.Listeners() {
		out = append(out, adminapi.Listener{Part: "turn", Transport: l.Transport, Address: l.Addr.String()})
	}
	return out
}

// otherListeners are the HTTP and Redis listeners that are up.
func (p *parts) otherListeners() []adminapi.Listener {
	var out []adminapi.Listener
	if p.broker != nil && p.broker.Addr() != nil {
		out = append(out, adminapi.Listener{Part: "broker", Transport: "http", Address: p.broker.Addr().String()})
	}
	if p.hooks != nil {
		out = append(out, adminapi.Listener{Part: "hooks", Transport: "http", Address: p.hooks.Addr().String()})
	}
	if p.guard != nil {
		out = append(out, adminapi.Listener{Part: "admin", Transport: adminScheme(p.adminTLS), Address: p.guard.Addr().String()})
	}
	if at, ok := p.certs.Answering(); ok {
		out = append(out, adminapi.Listener{Part: "certs", Transport: "http", Address: at.String()})
	}
	if p.redis != nil {
		out = append(out, adminapi.Listener{Part: "redis", Transport: "tcp", Address: p.redis.Addr().String()})
	}
	return out
}

// brokerEnv is a Broker's environment with the webhooks at their listener's own address, or over HTTPS where they are served
// there with a certificate that clients accept.
func (r *reporter) brokerEnv() brokerenv.Env {
	hold := r.now.Load()
	host := hold.public.Machine()
	at, _ := netip.ParseAddrPort(r.hooks.Addr().String())
	env := brokerenv.Env{Base: &url.URL{Scheme: "http", Host: brokerenv.Reachable(at, host)}, Token: hold.secrets.hooks}
	if secure := r.web(hold, "hooks"); secure != "" && r.certs.Verifiable() {
		env.Base, _ = url.Parse(secure) // ours
	}
	if r.redis != nil {
		env.Redis, env.Password = brokerenv.Reachable(r.redis.Addr().AddrPort(), host), hold.secrets.redis
	}
	return env
}

// drainProgress is for the admin API; nil unless the server drains.
func (r *reporter) drainProgress() *adminapi.Drain {
	if !r.life.draining() {
		return nil
	}
	p, _ := r.turn.Draining()
	return &adminapi.Drain{Allocations: p.Allocations, SecondsLeft: p.Left.Seconds()}
}

// otherOwner finds a data_dir that belongs to another user.
func otherOwner(dir *datadir.Dir) []findings.Finding {
	uid, other := dir.OtherOwner()
	if !other {
		return nil
	}
	return []findings.Finding{{
		ID: "data_dir.owner", Remedy: "chown -R it to the user that serves, and always serve as that one",
		Detail: fmt.Sprintf("data_dir %s belongs to the user with id %d, who cannot read what is made in it now", dir.Path(), uid),
	}}
}

// closedSecrets finds secrets that other users may know.
func closedSecrets(dir *datadir.Dir) (all []findings.Finding) {
	if files := dir.Closed(); len(files) > 0 {
		all = append(all, findings.Finding{
			ID: "data_dir.open", Detail: strings.Join(files, ", ") + " could be read by every user of this machine, and is closed to them now",
			Remedy: "if others use this machine, delete it and restart: a new one is made",
		})
	}
	return all
}
