package app

import (
	"context"
	"fmt"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/hooks"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/publicaddr"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
)

// Apply makes next hold, all of it: with an error, which joins all that is wrong, nothing has changed. Live allocations and
// connections stay, but for what the new settings forbid them. Keys that need a restart are the caller's to keep, see
// [config.Config].
func (a *App) Apply(ctx context.Context, next *config.Config) error {
	all, err := a.prepare(ctx, next)
	if err != nil {
		return err
	}
	all.Apply()
	return nil
}

// prepare has every part prepare itself for next.
func (a *App) prepare(ctx context.Context, next *config.Config) (change.Change, error) {
	var all change.Set
	public, addresses, errPublic := a.addresses.Prepare(ctx, addressSettings(next))
	if errPublic != nil {
		public = a.now.Load().public // so that what else is wrong is found too
	}
	kept, made, errSecrets := settle(next, a.dir, a.log.Logger)
	all.Add(made, errSecrets)
	if errSecrets == nil {
		all.Add(a.keys.Prepare(kept.credential, reveal(next.Credentials.PreviousSecrets)))
		all.Add(a.prepareFleet(next, kept))
	}
	all.Add(a.hooks.Prepare(hooks.Settings{Token: kept.hooks, Hosts: next.Hooks.Hosts, MaxBody: next.Hooks.MaxBody}))
	all.Add(a.guard.Prepare(guardSettings(next.Admin, kept.admin)))
	all.Add(a.decider.Prepare(rtcSettings(next.Hooks.RTC)))
	all.Add(a.policy.Prepare(a.policySettings(next)))
	all.Add(a.peers.Prepare(next.Turn.Peers.Deny, next.Turn.Peers.Allow))
	all.Add(a.prepareCerts(next, public))
	all.Add(a.turn.Prepare(turnSettings(next)))
	all.Add(a.usage.Prepare(usageSettings(next)))
	all.Add(a.prepareMove(public))
	all.Add(a.prepareBroker(next))
	all.Add(a.log.Prepare(next.Log.Level, next.Log.Format))
	all.Add(change.New(func() {
		a.hold(&holding{cfg: next, public: public, secrets: kept})
		a.turn.Recheck()
	}, nil), nil)
	all.Add(addresses, errPublic) // last: until it is applied, no address changes
	return all.Join()
}

// hold makes h hold, and what clients are told follow it.
func (a *App) hold(h *holding) {
	a.now.Store(h)
	a.publish()
}

// publish brings the URLs up to date. It is to be called after each change to what holds and to the certificate.
func (a *App) publish() {
	if a.turn == nil || a.certs == nil {
		return // openTURN publishes when both are there
	}
	a.told.publish(func() (stun, turn []string) {
		hold := a.now.Load()
		var up []publicaddr.Listener
		for _, l := range a.turn.Listeners() {
			up = append(up, publicaddr.Listener{
				Transport: l.Transport, Addr: l.Addr, Outside: hold.cfg.Turn.PublicPorts[l.Addr.Port()],
			})
		}
		mode := hold.cfg.Hooks.RTC.AdvertiseTLS
		return hold.public.ICEURLs(up, mode == "always" || mode == "auto" && a.certs.Verifiable())
	})
	var found []findings.Finding
	if len(a.told.load().turn) == 0 {
		found = []findings.Finding{{ID: "turn.untold", Detail: errUntold.Error(), Remedy: "change turn.transports, or the certificate"}}
	}
	a.found.Replace("turn.untold", found)
	found = nil
	if why := a.turn.DiscoveryOff(); why != "" {
		found = []findings.Finding{{
			ID: "turn.nat_discovery", Detail: "turn.nat_discovery is off: " + why,
			Remedy: "write each of the two as the public address, a slash, and the machine's own",
		}}
	}
	a.found.Replace("turn.nat_discovery", found)
}

// policySettings are [PolicySettings] with what the policies need of the process.
func (a *App) policySettings(cfg *config.Config) policy.Config {
	c := PolicySettings(cfg.Hooks)
	c.Logger, c.Dated, c.Dropped = a.part("hooks"), a.clock.Upstream, a.nodes.MessageDropped
	return c
}

// prepareBroker checks other settings of the Broker, if it is up.
func (a *App) prepareBroker(next *config.Config) (change.Change, error) {
	if a.broker == nil {
		return change.Change{}, nil
	}
	if key, err := next.CheckBroker(); err != nil { // of what a reload keeps and what it changes
		return change.Change{}, fmt.Errorf("%s: %w", key, err)
	}
	return a.broker.Prepare(brokerSettings(next))
}

// prepareCerts gets the certificate of other settings ready.
func (a *App) prepareCerts(next *config.Config, p publicaddr.Public) (change.Change, error) {
	c := certSettings(next, p)
	made, err := a.certs.Prepare(c)
	return made, certError(c, err)
}

// prepareMove gets ready to tell clients the addresses p. Live allocations keep theirs; the caller rechecks what they may
// reach.
func (a *App) prepareMove(p publicaddr.Public) (change.Change, error) {
	var both change.Set
	both.Add(a.turn.PrepareMove(turnsrv.Family(p.IPv4), turnsrv.Family(p.IPv6)))
	both.Add(change.New(func() {
		a.guard.SetMachine(machineHosts(p))
		a.hooks.SetMachine(machineHosts(p))
	}, nil), nil)
	return both.Join()
}
