package app

import (
	"context"
	"maps"

	"github.com/crolang-p2p/crolang-aio/embedded/broker"
	"github.com/crolang-p2p/crolang-aio/embedded/redis"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/losses"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// turnedAway are the connections that came to nothing, by cause.
func turnedAway(s turnsrv.StreamStats) map[string]uint64 {
	return map[string]uint64{
		"over_share": s.OverShare, "full": s.Full, "displaced": s.Displaced, "silent": s.Silent, "bad_handshake": s.BadHandshake,
		"unserved": s.Unserved, "stale_cookies": s.StaleCookies, "panicked": s.Panicked,
		"foreign_proxy": s.ForeignProxy, "malformed_proxy": s.MalformedProxy,
	}
}

// letGo are the Broker's connections that were turned away, or ended by it, by cause.
func letGo(s broker.Stats) map[string]uint64 {
	return map[string]uint64{
		"over_share": s.OverShare, "full": s.Full, "draining": s.Draining, "bad_request": s.BadRequests, "displaced": s.Displaced,
		"unread": s.Unread, "taken_over": s.TakenOver, "foreign_page": s.ForeignPages, "panicked": s.Panicked,
	}
}

// notServedByBroker is all that the Broker refused, ended or delayed, by cause.
func notServedByBroker(s broker.Stats) map[string]uint64 {
	all := map[string]uint64{
		"join_failed": s.Failed, "unauthorized": s.Unauthorized, "id_taken": s.Taken, "malformed": s.Malformed,
		"slowed_down": s.SlowedDown, "behind": s.Behind, "redis_failed": s.RedisFailures,
	}
	maps.Copy(all, letGo(s))
	return all
}

// dropped is what a relay did not pass on, both ways, by cause.
func dropped(s relay.Stats) map[string]uint64 {
	all := make(map[string]uint64)
	for why := range relay.Causes {
		all[why.String()] = s.Up.Drops[why] + s.Down.Drops[why]
	}
	return all
}

// undecided is what the policy could not ask, tell or check.
func undecided(s policy.Stats) []losses.Count {
	return []losses.Count{
		{Area: losses.Upstream, Cause: "failed", N: s.UpstreamFailures}, {Area: losses.Upstream, Cause: "busy", N: s.UpstreamBusy},
		{Area: losses.Messages, Cause: "dropped", N: s.MessagesDropped}, {Area: losses.Tokens, Cause: "unchecked", N: s.ChecksRefused},
	}
}

// forgotten is what had to be given up to keep memory bounded, or since nobody took it in time.
func forgotten(s nodes.Stats) map[string]uint64 {
	return map[string]uint64{"forgotten": s.Evicted, "events_lost": s.Lost}
}

// losses are the counters of all parts of what was refused, displaced or dropped.
func (r *reporter) losses() []losses.Count { return r.lossesOf(r.turnStats()) }

func (r *reporter) lossesOf(turn adminapi.TurnStats) (all []losses.Count) {
	add := func(area losses.Area, counts map[string]uint64) {
		for cause, n := range counts {
			all = append(all, losses.Count{Area: area, Cause: cause, N: n})
		}
	}
	for _, x := range turn.Refusals {
		all = append(all, losses.Count{Area: losses.Requests, Cause: x.Cause, N: x.Count})
	}
	add(losses.Connections, turn.TurnedAway)
	add(losses.Relays, turn.Cut)
	add(losses.Datagrams, turn.Drops)
	add(losses.Datagrams, map[string]uint64{"panicked": turn.Panics - turn.TurnedAway["panicked"]}) // the former has all
	all = append(all, undecided(r.policy.Stats())...)
	add(losses.Records, forgotten(r.nodes.Stats()))
	add(losses.Records, map[string]uint64{"audit_lost": r.audit.Lost()})
	add(losses.HTTP, r.meters.Refused())
	for listener, lost := range r.lostOverHTTP() {
		for cause, n := range lost {
			add(losses.HTTP, map[string]uint64{listener + " " + cause: n})
		}
	}
	if r.broker != nil {
		add(losses.Broker, notServedByBroker(r.broker.Stats()))
	}
	if r.fleet != nil {
		add(losses.Fleet, notBelieved(r.fleet.Counts(), r.vault.Counts()))
	}
	if r.redis != nil {
		add(losses.Redis, refusedByRedis(r.redis.Stats()))
	}
	return all
}

// refusedByRedis are the embedded Redis's refusals, by cause: of connections, and of commands.
func refusedByRedis(s redis.Stats) map[string]uint64 {
	all := make(map[string]uint64)
	for cause, n := range s.Refused {
		all[cause] += n
	}
	for cause, n := range s.RefusedCommands {
		all[cause] += n
	}
	return all
}

// lostOverHTTP is what the listeners of HTTP did not serve as they should have, by listener and cause.
func (p *parts) lostOverHTTP() map[string]map[string]uint64 {
	all := make(map[string]map[string]uint64)
	if p.hooks != nil {
		all["hooks"] = p.hooks.Lost()
	}
	if p.guard != nil {
		all["admin"] = p.guard.Lost()
	}
	if p.front != nil {
		all["https"] = p.front.Lost()
		all["https"]["404"] = p.strayed.Load()
	}
	return all
}

// figures are what is counted besides, for the dashboard.
func (p *parts) figures() []adminapi.Figure {
	streams, policy := p.turn.Streams(), p.policy.Stats()
	return []adminapi.Figure{
		{Name: "Client connections accepted (TCP, TLS, DTLS)", Value: streams.Accepted},
		{Name: "Connections that have not finished their handshake, now", Value: uint64(max(streams.HalfOpen, 0))},
		{Name: "Questions that your own webhooks answered", Value: policy.UpstreamAnswered},
		{Name: "Questions answered from the cache", Value: policy.UpstreamCached},
		{Name: "Notices of messages forwarded to your own webhook", Value: policy.MessagesForwarded},
		{Name: "Notices of messages that wait, now", Value: uint64(max(policy.MessagesQueued, 0))},
		{Name: "Nodes whose token's end is watched, now", Value: uint64(max(policy.TokensRemembered, 0))},
	}
}

// drops are those of live allocations.
func (p *parts) drops() (all []losses.NodeDrops) {
	for _, x := range p.turn.Allocations() {
		if x.Stats.Up.Dropped+x.Stats.Down.Dropped > 0 {
			all = append(all, losses.NodeDrops{Allocation: x.ID, Node: x.Node, ByCause: dropped(x.Stats)})
		}
	}
	return all
}

// watchLosses makes known what is refused, displaced and dropped, until ctx ends.
func (r *reporter) watchLosses(ctx context.Context) error {
	w, err := losses.New(losses.Config{
		Read:  func() []losses.Count { return r.lossesOf(r.turnStatsOf(r.lately.stats(r.turn))) },
		Found: func(now []findings.Finding) { r.found.Replace("losses.", now) }, Drops: r.drops, Note: r.nodes.Refused, Log: r.log,
	})
	if err != nil {
		return err
	}
	return w.Run(ctx)
}
