// Package app is the running process: it builds every part from one configuration, runs them, ends them in order, and
// applies a changed configuration. Beside package cli it is the only one that knows the configuration.
package app

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/certs"
	"github.com/crolang-p2p/crolang-aio/certs/acme"
	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/embedded/broker"
	"github.com/crolang-p2p/crolang-aio/embedded/redis"
	"github.com/crolang-p2p/crolang-aio/hooks"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/admin"
	"github.com/crolang-p2p/crolang-aio/internal/audit"
	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/clock"
	"github.com/crolang-p2p/crolang-aio/internal/datadir"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/history"
	"github.com/crolang-p2p/crolang-aio/internal/logging"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/publicaddr"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
	"github.com/crolang-p2p/crolang-aio/internal/systemd"
	"github.com/crolang-p2p/crolang-aio/internal/usage"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
)

// parts are what the process is made of, in the order in which they are built.
type parts struct {
	dir       *datadir.Dir
	addresses *publicaddr.Watcher
	keys      *credential.Keyring
	certs     *certs.Keeper
	nodes     *nodes.Registry
	audit     *audit.Log
	usage     *usage.Keeper
	history   *history.Keeper
	peers     *peers.Policy
	turn      *turnsrv.Server
	redis     *redis.Server // nil: off
	policy    *policy.Policy
	decider   *hooks.Decider
	doors
	rendezvous
	together
}

// doors are what answers HTTP, but for the Broker.
type doors struct {
	hooks    *hooks.Server
	admin    *admin.Admin
	guard    *webguard.Guard // the admin listener
	adminTLS bool            // whether it speaks TLS
	inlet    *webguard.Inlet // where the TURN server leaves clients that speak HTTP
	front    *webguard.Guard // what serves them
	strayed  *atomic.Uint64  // their requests for what is not served
}

// rendezvous is the Broker in this process, and what goes with it.
type rendezvous struct {
	stories *stories.Keeper
	present present
	leavers *leavers
	shared  goredis.UniversalClient // what Brokers share; nil: nothing
	broker  *broker.Broker          // nil: off, or its port is taken
}

// holding is what holds at a moment. It never changes: a reload, or another address of this machine, replaces it.
type holding struct {
	cfg     *config.Config
	public  publicaddr.Public
	secrets secrets
}

// App is the running process. Make it with [New], then [App.Run] or [App.Close] it.
type App struct {
	parts
	now        atomic.Pointer[holding]
	told       told
	log        *logging.Logger
	found      *findings.Set
	clock      *clock.Clock
	report     *reporter
	life       *life
	supervisor *supervisor
}

// Pace is how often the process looks at what changes around it. The zero value is what serve uses.
type Pace struct {
	Look, Ask time.Duration // see [publicaddr.WatcherConfig]
}

// New builds every part and binds every listener. The caller runs the App, or closes it.
func New(cfg *config.Config, log *logging.Logger, pace Pace) (_ *App, err error) {
	a := &App{log: log, life: newLife()}
	a.found = findings.NewSet(a.part("setup"))
	a.clock = clock.New(a.found)
	a.report = &reporter{parts: &a.parts, now: &a.now, told: &a.told, found: a.found, log: a.part("losses"), life: a.life, started: time.Now()}
	a.stories, a.strayed = stories.New(), new(atomic.Uint64)
	a.leavers = &leavers{
		some:  make(chan struct{}, 1),
		after: func() time.Duration { return a.cfg().Broker.RelaysEndAfter },
		here: func(node string) bool {
			_, here := links{&a.parts}.at(node)
			return here
		},
		closeOf: func(node, cause string) int { return a.turn.CloseNode(node, cause) },
	}
	a.supervisor = &supervisor{parts: &a.parts, life: a.life, log: a.log.Logger}
	a.now.Store(&holding{cfg: cfg})
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	if err := a.supervisor.open(); err != nil {
		return nil, err
	}
	if err := a.openData(pace); err != nil {
		return nil, err
	}
	for _, build := range []func() error{
		a.openAudit, a.openVault, a.openCerts, a.openNodes, a.openUsage, a.openTURN, a.openRedis, a.openFleet, a.openHooks, a.openAdmin, a.openBroker, a.openFront,
		a.supervisor.closeUnused,
	} {
		if err := build(); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// openData takes the data_dir, finds the addresses and settles which secrets hold.
func (a *App) openData(pace Pace) (err error) {
	hold := *a.now.Load()
	if a.dir, err = datadir.Open(hold.cfg.DataDir); err != nil {
		return err
	}
	a.clock.Behind(a.dir.LastUse())
	a.found.Replace("data_dir.owner", otherOwner(a.dir))
	a.addresses, err = publicaddr.NewWatcher(context.Background(), publicaddr.WatcherConfig{
		Settings: addressSettings(hold.cfg), Look: pace.Look, Ask: pace.Ask,
	})
	if err != nil {
		return err
	}
	hold.public = a.addresses.Current()
	var made change.Change
	if hold.secrets, made, err = settle(hold.cfg, a.dir, a.log.Logger); err != nil {
		return err
	}
	made.Apply()
	a.found.Replace("data_dir.open", closedSecrets(a.dir))
	a.now.Store(&hold)
	a.keys, err = credential.NewKeyring(hold.secrets.credential, reveal(hold.cfg.Credentials.PreviousSecrets))
	return err
}

func (a *App) openCerts() (err error) {
	c := certSettings(a.cfg(), a.now.Load().public)
	c.Dir, c.Logger, c.OnChange = a.dir.Path(), a.part("certs"), func(certs.Info) { a.publish() }
	c.Around = acme.Surroundings{
		Ports:     func() []uint16 { return tlsPorts(a.cfg().Turn) },
		Addresses: func() []netip.Addr { return a.now.Load().public.Advertised() },
		Dated:     a.clock.CA,
		Shared:    a.sharedCerts(),
	}
	a.certs, err = certs.New(c)
	return certError(c, err)
}

func (a *App) openNodes() (err error) {
	a.nodes, err = nodes.New(nodes.Config{
		DataDir: a.dir.Path(), Logger: a.part("nodes"), Found: func(now []findings.Finding) { a.found.Replace("bans.", now) },
	})
	return err
}

func (a *App) openTURN() (err error) {
	t, p := a.cfg().Turn, a.now.Load().public
	if a.peers, err = peers.New(peers.Config{
		Deny: t.Peers.Deny, Allow: t.Peers.Allow, Public: p.Advertised(), Changed: func() { a.turn.Recheck() }, Logger: a.part("turn"),
	}); err != nil {
		return err
	}
	a.inlet = webguard.NewInlet()
	a.openTies()
	a.turn, err = turnsrv.New(turnsrv.Config{
		Listen: t.Listen, ListenTLS: t.ListenTLS, Passed: a.supervisor.passedTURN(t), Transports: t.Transports, Realm: t.Realm,
		IPv4: turnsrv.Family(p.IPv4), IPv6: turnsrv.Family(p.IPv6), PortMin: t.RelayPorts.Min, PortMax: t.RelayPorts.Max, Offload: turnsrv.Offload(t.Offload),
		Settings: turnSettings(a.cfg()), Keys: a.keys, Peers: a.peers, Nodes: directory{a.nodes, &a.together}, Ledger: ledger{a.usage, a.history}, Elsewhere: a.liveElsewhere(), Ties: a.turnTies(), Certificate: a.certs.GetCertificate,
		HTTP: a.inlet.Offer, Protected: remembered(a.protected), Logger: a.part("turn"),
	})
	if err != nil {
		return err
	}
	a.nodes.Attach(relays{a.turn})
	a.publish()
	return nil
}

func (a *App) openRedis() (err error) {
	r := a.cfg().Redis
	if !r.Enabled {
		return nil
	}
	l, err := a.supervisor.passed(systemd.NameRedis, "redis.listen", r.Listen, r.Password.IsSet())
	if err != nil {
		return err
	}
	a.redis, err = redis.New(redis.Config{Listen: r.Listen, Listener: l, Password: a.now.Load().secrets.redis, Logger: a.part("redis")})
	return err
}

func (a *App) openHooks() (err error) {
	h := a.cfg().Hooks
	l, err := a.supervisor.passed(systemd.NameHooks, "hooks.listen", h.Listen, h.Token.IsSet() || h.AllowNoToken)
	if err != nil {
		return err
	}
	if a.policy, err = policy.New(a.policySettings(a.cfg())); err != nil {
		return err
	}
	if err = a.report.newMetrics(); err != nil {
		return err
	}
	if a.decider, err = hooks.NewDecider(hooks.DeciderConfig{
		RTC: rtcSettings(h.RTC), ICE: a.issuer(), Registry: authorisations{a.nodes, &a.together},
		Policy: messages{a.policy, a.usage}, Own: func(node string) bool { return a.keys.MadeByDoctor(node, time.Now()) },
		Observe: a.report.meters.ObserveHook, Logger: a.part("hooks"),
	}); err != nil {
		return err
	}
	set := hooks.Config{
		Decider: a.decider, Listen: h.Listen, Token: a.now.Load().secrets.hooks, Hosts: h.Hosts, MaxBody: h.MaxBody,
		Machine: machineHosts(a.now.Load().public),
		Refused: func(status int) { a.report.meters.CountRefused("hooks", status) }, Logger: a.part("hooks"),
	}
	if l != nil {
		set.Listener, set.Linger = l, linger
	}
	a.hooks, err = hooks.New(set)
	return err
}

// openBroker builds the Broker, last of all listeners: where nobody has asked for it, what is configured has the port.
func (a *App) openBroker() (err error) {
	if !a.cfg().Broker.Enabled {
		return nil
	}
	ln, err := listenBroker(a.cfg(), a.supervisor, a.found)
	if err != nil || ln == nil && !a.cfg().HTTPS.Serves("broker") {
		return err
	}
	if a.shared, err = a.openShared(a.now.Load()); err == nil {
		a.broker, err = broker.New(broker.Config{
			Listener: ln, Decider: decider{a.decider, &a.now}, Settings: brokerSettings(a.cfg()), Redis: a.shared, Peers: a.fellowBrokers(),
			HandlerOnLoopback: a.cfg().LoopbackTLS(), Observer: &watcher{parts: &a.parts, meters: a.report.meters}, Logger: a.part("broker"),
		})
	}
	if err != nil {
		if ln != nil {
			ln.Close()
		}
		return err
	}
	a.nodes.AttachBroker(links{&a.parts})
	return nil
}

func (a *App) openAdmin() (err error) {
	if a.admin, err = admin.New(admin.Config{
		Nodes: a.nodes, Relays: relays{a.turn}, Broker: links{&a.parts}, Stories: a.stories, Usage: a.usage, History: a.history, Audit: a.audit, Status: a.report.status,
		NotReady: a.life.notReady, Degraded: a.report.degraded, Turn: a.report.turnStats, Losses: a.report.losses,
		Figures: a.report.figures, Metrics: a.report.meters, RTC: a.decider.TestConfiguration, Drain: a.Drain,
		TestPage: a.report.testPage, Gone: func() { a.report.meters.CountRefused("admin", http.StatusGone) },
		Draining: a.report.drainProgress, Fleet: a.shownFleet(), Logger: a.part("admin"),
	}); err != nil {
		return err
	}
	set := a.cfg().Admin
	l, err := a.supervisor.passed(systemd.NameAdmin, "admin.listen", set.Listen, set.Token.IsSet() || set.AllowNoToken)
	if err != nil {
		return err
	}
	guard := webguard.Config{
		Key: "admin.listen", Listen: set.Listen, Handler: a.admin, Settings: guardSettings(set, a.now.Load().secrets.admin),
		Exempt: admin.Exempt, CheckHost: webguard.OwnHosts, Machine: machineHosts(a.now.Load().public),
		Refused: func(_ *http.Request, status int) { a.report.meters.CountRefused("admin", status) },
		Logger:  a.part("admin"),
	}
	if l != nil {
		guard.Listener = l
	}
	if a.adminTLS = set.TLS; set.TLS {
		guard.Certificate = a.certs.GetCertificate
	}
	a.guard, err = webguard.New(guard)
	return err
}

// Announce says, in a few lines that a person can use, what listens where, what clients will be told, and what a Broker
// needs. On a terminal it is plain text; elsewhere a few records of the log have the same. file is the configuration file.
func (a *App) Announce(file string) { a.report.announce(a.log, a.log.Writer(), file) }

// cfg is the configuration that holds now.
func (a *App) cfg() *config.Config { return a.now.Load().cfg }

func (a *App) part(name string) *slog.Logger { return a.log.With("component", name) }

// Close releases what New has opened, for an App that is not run.
func (a *App) Close() error {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	var errs []error
	if a.broker != nil {
		errs = append(errs, a.broker.Close())
	}
	errs = append(errs, a.closeShared(), a.closeFleet())
	if a.hooks != nil {
		errs = append(errs, a.hooks.Close())
	}
	if a.redis != nil {
		errs = append(errs, a.redis.Run(ended)) // closes what it had bound
	}
	if a.turn != nil {
		errs = append(errs, a.turn.Close())
	}
	if a.usage != nil {
		a.usage.Close()
	}
	if a.audit != nil {
		errs = append(errs, a.audit.Close())
	}
	if a.dir != nil {
		errs = append(errs, a.dir.Close())
	}
	return errors.Join(errs...)
}

// remembered calls f once a second at most. Relays ask it for single datagrams.
func remembered(f func() []netip.AddrPort) func() []netip.AddrPort {
	type answer struct {
		addrs []netip.AddrPort
		at    time.Time
	}
	var last atomic.Pointer[answer]
	return func() []netip.AddrPort {
		now := time.Now()
		if a := last.Load(); a != nil && now.Sub(a.at) < time.Second {
			return a.addrs
		}
		a := &answer{f(), now}
		last.Store(a)
		return a.addrs
	}
}

// protected are the listeners beside the TURN server's, which no relay may reach.
func (a *App) protected() []netip.AddrPort {
	var all []netip.AddrPort
	for _, listen := range a.otherListeners() {
		if ap, err := netip.ParseAddrPort(listen.Address); err == nil {
			all = append(all, ap)
		}
	}
	return all
}
