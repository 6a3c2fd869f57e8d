package app

import (
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/fleet"
	"github.com/crolang-p2p/crolang-aio/internal/version"
)

// portrait is what this machine says of itself to the others. It is made anew once a second at most, and is cheap in between.
type portrait struct {
	report *reporter

	mu    sync.Mutex
	last  fleet.Self
	at    time.Time
	bytes uint64        // relayed until then, both ways
	cpu   time.Duration // used until then
}

func newPortrait(r *reporter) *portrait { return &portrait{report: r} }

func (p *portrait) now() fleet.Self {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	since := now.Sub(p.at)
	if since < time.Second {
		p.last.Draining = p.report.life.draining() // what cannot wait
		urls := p.report.told.load()
		p.last.STUN, p.last.TURN, p.last.Allocations = urls.stun, urls.turn, p.report.turn.Live()
		return p.last
	}
	r, hold := p.report, p.report.now.Load()
	turn, urls := r.turnStats(), r.told.load()
	var bytes uint64
	for _, t := range turn.Transports {
		bytes += t.In.Bytes + t.Out.Bytes
	}
	cpu := cpuTime()
	next := fleet.Self{
		Version: version.Get().Version, STUN: urls.stun, TURN: urls.turn,
		Allocations: r.turn.Live(), Limit: hold.cfg.Turn.Limits.Allocations, Ports: turn.Ports, FreePorts: turn.Ports - turn.PortsUsed,
		Nodes: r.nodes.Stats().Connected, Draining: r.life.draining(), Same: sameEverywhere(hold.cfg),
		Relays: r.turn.RelayAddrs(), RelayMin: hold.cfg.Turn.RelayPorts.Min, RelayMax: hold.cfg.Turn.RelayPorts.Max,
	}
	if !p.at.IsZero() {
		next.Bits = uint64(8 * float64(bytes-min(bytes, p.bytes)) / since.Seconds())
		next.CPU = min(1, (cpu-p.cpu).Seconds()/since.Seconds()/float64(runtime.NumCPU()))
	}
	p.last, p.at, p.bytes, p.cpu = next, now, bytes, cpu
	return next
}

// sameEverywhere is what all machines of a fleet should have the same, by the name of its key or table.
func sameEverywhere(cfg *config.Config) map[string]string {
	text := cfg.Text
	return map[string]string{
		"turn.realm":         cfg.Turn.Realm,
		"turn.peers":         text("turn.peers."),
		"turn.limits":        text("turn.limits."),
		"credentials":        cfg.Credentials.TTL.String() + " " + strconv.FormatBool(cfg.Credentials.WhileConnected) + " " + cfg.Credentials.MaxSession.String() + " " + strconv.FormatBool(cfg.Credentials.StrictExpiry),
		"hooks.authenticate": text("hooks.authenticate."),
		"hooks.authorize":    text("hooks.authorize."),
		"hooks.messages":     text("hooks.messages."),
	}
}
