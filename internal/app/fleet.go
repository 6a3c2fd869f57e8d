package app

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/admin"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/fleet"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
	"github.com/crolang-p2p/crolang-aio/internal/version"
)

// together is this process's part in the fleet.
type together struct {
	fleet      *fleet.Fleet          // nil: this machine is alone
	fleetRedis redis.UniversalClient // its own client, so that nothing waits behind what Brokers ask
}

// openFleet joins the machines that share fleet.redis_url.
func (a *App) openFleet() (err error) {
	hold := a.now.Load()
	at := hold.cfg.Fleet.RedisURL
	if !at.IsSet() {
		return nil
	}
	if a.fleetRedis, err = redisurl.Open(at.Reveal()); err != nil {
		return errors.New("fleet.redis_url: " + err.Error())
	}
	a.fleet, err = fleet.New(fleet.Config{
		Redis: a.fleetRedis, Name: fleetName(hold.cfg), Secrets: credentialSecrets(hold.cfg, hold.secrets),
		Dir: a.dir.Path(), Bans: a.nodes, Self: (&portrait{report: a.report}).now,
		Found: func(now []findings.Finding) { a.found.Replace("fleet.", now) }, Logger: a.part("fleet"),
	})
	return err
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

// credentialSecrets are those that are accepted, that for new credentials first.
func credentialSecrets(cfg *config.Config, s secrets) []string {
	return append([]string{s.credential}, reveal(cfg.Credentials.PreviousSecrets)...)
}

// prepareFleet gets ready for other secrets.
func (a *App) prepareFleet(next *config.Config, s secrets) (change.Change, error) {
	if a.fleet == nil {
		return change.Change{}, nil
	}
	return a.fleet.Prepare(credentialSecrets(next, s))
}

// closeFleet closes its client.
func (p *parts) closeFleet() error {
	if p.fleetRedis == nil {
		return nil
	}
	return p.fleetRedis.Close()
}

// portrait is what this machine says of itself to the others. It is made anew once a second at most.
type portrait struct {
	report *reporter

	mu   sync.Mutex
	at   time.Time
	last fleet.Self
}

func (p *portrait) now() fleet.Self {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.at) >= time.Second {
		p.last, p.at = p.report.self(), now
	}
	return p.last
}

func (r *reporter) self() fleet.Self {
	hold, urls := r.now.Load(), r.told.load()
	return fleet.Self{
		Version: version.Get().Version, STUN: urls.stun, TURN: urls.turn,
		Allocations: r.turn.Live(), Limit: hold.cfg.Turn.Limits.Allocations, Nodes: r.nodes.Stats().Connected,
	}
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
