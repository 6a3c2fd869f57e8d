package app

import (
	"context"
	"os"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/embedded/broker"
	"github.com/crolang-p2p/crolang-aio/internal/admin"
	"github.com/crolang-p2p/crolang-aio/internal/admin/metrics"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/fleet"
	"github.com/crolang-p2p/crolang-aio/internal/fleet/ties"
	"github.com/crolang-p2p/crolang-aio/internal/fleet/vault"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/usage"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
)

// together is this process's part in the fleet.
type together struct {
	fleet      *fleet.Fleet          // nil: this machine is alone
	ties       *ties.Book            // nil: likewise; it is there before the fleet
	fleetRedis redis.UniversalClient // its own client, so that nothing waits behind what Brokers ask
	vault      *vault.Vault          // nil: likewise
}

// openFleet joins the machines that share fleet.redis_url.
func (a *App) openFleet() (err error) {
	hold := a.now.Load()
	at := hold.cfg.Fleet.RedisURL
	if !at.IsSet() {
		return nil
	}
	a.fleet, err = fleet.New(fleet.Config{
		Redis: a.fleetRedis, Name: fleetName(hold.cfg), Region: hold.cfg.Fleet.Region, Settings: fleetSettings(hold.cfg, hold.secrets),
		Dir: a.dir.Path(), Bans: a.nodes, Connected: a.nodes.ConnectedNodes, Answers: a.answers(), Self: newPortrait(a.report).now,
		Counted: counted{&a.parts}, Relaying: a.relaying, Ties: a.ties, TiesFor: a.tiesFor,
		Write: func(stun, turn []string) any { return newURLs(stun, turn) },
		Found: func(now []findings.Finding) { a.found.Replace("fleet.", now) }, Logger: a.part("fleet"),
	})
	return err
}

// relaying tells the peer policy where other machines have their relays.
func (a *App) relaying(all []fleet.Relaying) {
	var places []peers.Place
	for _, m := range all {
		places = append(places, peers.Place{Addrs: m.Addrs, PortMin: m.Min, PortMax: m.Max})
	}
	a.peers.SetFleet(places)
}

// counted shows the fleet what limits over all machines count.
type counted struct{ parts *parts }

var _ fleet.Counted = counted{}

// Live implements [fleet.Counted].
func (c counted) Live() map[string]int { return c.parts.turn.Changed() }

// Used implements [fleet.Counted].
func (c counted) Used(machines int, all bool) fleet.Used {
	s := c.parts.usage.Share(machines, all)
	return fleet.Used{Ledger: s.Ledger, Month: int32(s.Month), Bytes: s.Bytes, Nodes: s.Nodes}
}

// liveElsewhere is what counts the allocations of a Node at other machines; nil if this machine is alone.
func (a *App) liveElsewhere() func(node string) int {
	if !a.cfg().Fleet.RedisURL.IsSet() {
		return nil
	}
	return func(node string) int {
		if a.fleet == nil { // not yet
			return 0
		}
		return a.fleet.LiveElsewhere(node)
	}
}

// usedElsewhere is what counts the bytes that other machines relayed for a Node; nil if this machine is alone.
func (a *App) usedElsewhere() func(m usage.Month, node string) uint64 {
	if !a.cfg().Fleet.RedisURL.IsSet() {
		return nil
	}
	return func(m usage.Month, node string) uint64 {
		if a.fleet == nil { // not yet
			return 0
		}
		return a.fleet.UsedElsewhere(int32(m), node)
	}
}

// answers has the admin API answer the questions of other machines. It is there when the fleet runs.
func (a *App) answers() map[string]fleet.Answerer {
	all := map[string]fleet.Answerer{}
	for _, kind := range admin.Questions() {
		all[kind] = func(question []byte) ([]byte, error) { return a.admin.Answer(kind, question) }
	}
	return all
}

// fleetName is what this machine is called.
func fleetName(cfg *config.Config) string {
	if cfg.Fleet.Name != "" {
		return cfg.Fleet.Name
	}
	host, err := os.Hostname()
	if err != nil || fleet.CheckName(host) != nil {
		return "unnamed"
	}
	return host
}

func fleetSettings(cfg *config.Config, s secrets) fleet.Settings {
	set := fleet.Settings{Secrets: append([]string{s.credential}, reveal(cfg.Credentials.PreviousSecrets)...)}
	for _, r := range cfg.Fleet.Regions {
		set.Regions = append(set.Regions, fleet.Region{Prefix: prefix(r.Prefix), Name: r.Region})
	}
	return set
}

// issuer issues credentials, and names the machines that they are for.
func (a *App) issuer() *issuer {
	return &issuer{keys: a.keys, now: &a.now, told: &a.told, usage: a.usage, nodes: a.nodes, fleet: a.fleet}
}

// prepareFleet gets ready for other settings.
func (a *App) prepareFleet(next *config.Config, s secrets) (change.Change, error) {
	if a.fleet == nil {
		return change.Change{}, nil
	}
	var both change.Set
	set := fleetSettings(next, s)
	both.Add(a.fleet.Prepare(set))
	both.Add(a.vault.Prepare(set.Secrets))
	return both.Join()
}

// closeFleet closes its client.
func (p *parts) closeFleet() error {
	if p.fleetRedis == nil {
		return nil
	}
	return p.fleetRedis.Close()
}

// directory is what the TURN server asks about Nodes: a Node may be connected to a Broker of another machine.
type directory struct {
	*nodes.Registry
	together *together
}

// Connected implements [control.Directory].
func (d directory) Connected(node string) bool {
	return d.Registry.Connected(node) || d.together.fleet != nil && d.together.fleet.Connected(node)
}

// fellows tells the Broker which Brokers of other machines are gone.
type fellows struct{ *fleet.Fleet }

// Self implements [broker.Peers].
func (p fellows) Self() string { return p.Boot() }

// fellowBrokers is nil if this machine is alone.
func (a *App) fellowBrokers() broker.Peers {
	if a.fleet == nil {
		return nil
	}
	return fellows{a.fleet}
}

// machines shows the fleet to the admin API.
type machines struct{ *fleet.Fleet }

var _ admin.Fleet = machines{}

// Ban implements [admin.Fleet].
func (m machines) Ban(node, reason string, lasting time.Duration) (nodes.Banned, adminapi.Spread, error) {
	did, s, err := m.Fleet.Ban(context.Background(), node, reason, lasting)
	return did, adminapi.Spread{Machines: s.Machines, Closed: s.Closed, Silent: s.Silent, Shared: s.Shared}, err
}

// Unban implements [admin.Fleet].
func (m machines) Unban(node string) error {
	_, err := m.Fleet.Unban(context.Background(), node)
	return err
}

// Ask implements [admin.Fleet].
func (m machines) Ask(kind string, question []byte) []admin.Told {
	var all []admin.Told
	for _, r := range m.Fleet.Ask(context.Background(), kind, question) {
		all = append(all, admin.Told{Machine: r.Machine, Answer: r.Answer, Missing: r.Missing, Skew: r.Skew})
	}
	return all
}

// shownFleet is the fleet as the admin API shows it, nil if this machine is alone.
func (a *App) shownFleet() admin.Fleet {
	if a.fleet == nil {
		return nil
	}
	return machines{a.fleet}
}

// State implements [admin.Fleet].
func (m machines) State() adminapi.Fleet {
	h := m.Health()
	f := adminapi.Fleet{Redis: h.Fault, Bans: h.Bans, Unshared: h.Unshared, Machines: []adminapi.Machine{}}
	for _, x := range m.Machines() {
		if x.Here {
			f.Name = x.Name
		}
		f.Machines = append(f.Machines, adminapi.Machine{
			Name: x.Name, Region: x.Region, Process: x.Boot, Here: x.Here, State: string(x.State), Version: x.Version,
			HeardSeconds: x.Heard.Seconds(), SkewSeconds: x.Skew.Seconds(), Takes: x.Takes, Differs: append([]string{}, x.Differs...),
			URLs: append(append([]string{}, x.STUN...), x.TURN...), Allocations: x.Allocations, Limit: x.Limit, Ports: x.Ports,
			FreePorts: x.FreePorts, BitsPerSecond: x.Bits, CPU: x.CPU, Nodes: x.Nodes, Bans: x.Bans,
		})
	}
	return f
}

// fleetStats brings the fleet's counters to the metrics; false if this machine is alone.
func (r *reporter) fleetStats() (metrics.FleetStats, bool) {
	if r.fleet == nil {
		return metrics.FleetStats{}, false
	}
	c, h := r.fleet.Counts(), r.fleet.Health()
	st := metrics.FleetStats{
		RedisOK: h.Fault == "", Machines: map[string]int{}, Unshared: h.Unshared, Sent: c.Sent, Received: c.Received, Compared: c.Compared,
		Refused: notBelieved(c, r.vault.Counts()), Exchanges: c.Beats, Failure: c.Failures, Answered: c.Answered, Unanswered: c.Unanswered, Latency: h.Latency,
	}
	for _, m := range r.fleet.Machines() {
		st.Machines[string(m.State)]++
		switch m.State {
		case fleet.Up, fleet.Draining, fleet.Full, fleet.Apart, fleet.Strange:
			st.Skew = max(st.Skew, m.Skew.Abs())
			if len(m.Differs) > 0 {
				st.Differing++
			}
		case fleet.Silent, fleet.Left:
		}
	}
	return st, true
}

// notBelieved are the entries in the fleet's Redis, and the questions of other machines, that count for nothing, by cause.
func notBelieved(c fleet.Counts, v vault.Counts) map[string]uint64 {
	return map[string]uint64{
		"strange": c.Strangers + v.Strangers, "forged": c.Forged + v.Forged, "malformed": c.Malformed, "rubbish": c.Rubbish, "stale": c.Stale, "busy": c.Busy,
	}
}
