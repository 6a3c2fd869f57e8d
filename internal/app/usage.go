package app

import (
	"context"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/history"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/usage"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
)

// openUsage opens the record of what Nodes use, and what is remembered of it for plots.
func (a *App) openUsage() (err error) {
	if a.history, err = history.New(history.Config{
		DataDir: a.dir.Path(), Totals: a.report.traffic, Logger: a.part("history"),
		Found: func(now []findings.Finding) { a.found.Replace("history.", now) },
	}); err != nil {
		return err
	}
	a.usage, err = usage.New(usage.Config{
		DataDir: a.dir.Path(), Settings: usageSettings(a.cfg()), Note: a.nodes.Observed, Elsewhere: a.usedElsewhere(), Logger: a.part("usage"),
		Found: func(now []findings.Finding) { a.found.Replace("usage.", now) },
	})
	return err
}

func usageSettings(cfg *config.Config) usage.Settings {
	l := cfg.Turn.Limits
	return usage.Settings{Bytes: uint64(l.BytesPerMonth), BytesPerNode: uint64(l.BytesPerMonthPerNode), Keep: cfg.Usage.Keep}
}

// ledger shows the record to the TURN server.
type ledger struct {
	*usage.Keeper
	history *history.Keeper
}

var _ control.Ledger = ledger{}

// billed is the id under which a Node's use is kept: one for all that doctor makes up, and one for all tests by a link.
func billed(node string) string {
	switch {
	case strings.HasPrefix(node, nodeid.DoctorPrefix):
		return nodeid.DoctorAgent
	case nodeid.Trial(node):
		return strings.TrimSuffix(nodeid.TrialPrefix, "-")
	}
	return node
}

// Opened implements [control.Ledger].
func (l ledger) Opened(node string) { l.Keeper.Opened(billed(node)) }

// Used implements [control.Ledger].
func (l ledger) Used(node string, u control.Used) {
	l.Keeper.Used(billed(node), u.Up, u.Down, u.For)
	l.history.Relayed(billed(node), u.Up, u.Down)
}

// Exhausted implements [control.Ledger].
func (l ledger) Exhausted(node string) (control.Exhaustion, string) {
	limit, detail := l.Keeper.Exhausted(billed(node))
	switch limit {
	case usage.ServerLimit:
		return control.ServerExhausted, detail
	case usage.NodeLimit:
		return control.NodeExhausted, detail
	case usage.NoLimit:
	}
	return "", ""
}

// accountEvery is after how many seconds what live allocations have used is counted, if it is not limited. Where it is,
// every second: so much is relayed beyond a limit.
const accountEvery = 10

// account has the TURN server count what live allocations have used.
func (a *App) account(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if n%accountEvery == 0 || a.usage.Limited() {
				a.turn.Account()
			}
		}
	}
}

// messages counts them on their way to the policy.
type messages struct {
	*policy.Policy
	usage *usage.Keeper
}

// Message implements [hooks.Policy].
func (m messages) Message(msg policy.Message) {
	if nodeid.Valid(msg.From) == nil {
		m.usage.Message(billed(nodeid.Canonical(msg.From)))
	}
	m.Policy.Message(msg)
}
