package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/certs"
	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/embedded/redis"
	"github.com/crolang-p2p/crolang-aio/hooks"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/admin"
	"github.com/crolang-p2p/crolang-aio/internal/admin/metrics"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/datadir"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/systemd"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
)

// app is the running process: every part, built in the order in which they need each other.
type app struct {
	config  atomic.Pointer[config.Config] // what holds; a reload swaps it, and the next two
	public  atomic.Pointer[public]
	secrets atomic.Pointer[secrets]
	// changing is held by whoever changes these or the settings of a part: a reload, and the watch of the addresses.
	changing  sync.Mutex
	addresses addresses
	findings  *findings.Set
	clock     clock
	skewed    atomic.Bool // see upstreamDate

	log     *logging
	started time.Time

	dir    *datadir.Dir
	keys   *credential.Keyring
	certs  *certs.Keeper
	nodes  *nodes.Registry
	peers  *peers.Policy
	turn   *turnsrv.Server
	redis  *redis.Server // nil: off
	policy *policy.Policy
	hooks  *hooks.Server
	admin  *admin.Admin
	guard  *webguard.Guard // the admin listener
	meters *metrics.Metrics

	broker  brokerSeen
	running atomic.Bool
	super   supervision
	served  atomic.Bool // the TURN server has ended
	end     sync.Once
	ending  chan struct{} // closed by drain
}

// newApp builds every part and binds every listener. The caller runs it, or closes it.
func newApp(cfg *config.Config, log *logging) (_ *app, err error) {
	a := &app{log: log, ending: make(chan struct{}), started: time.Now(), addresses: addresses{look: lookEvery, ask: askEvery}}
	a.findings = findings.NewSet(a.part("setup"))
	a.clock.read = a.readClock
	a.clock.last = a.readClock()
	a.config.Store(cfg)
	defer func() {
		if err != nil {
			err = errors.Join(err, a.close())
		}
	}()
	for _, build := range []func() error{
		a.openSupervision, a.openData, a.openCerts, a.openNodes, a.openTURN, a.openRedis, a.openHooks, a.openAdmin, a.closePassed,
	} {
		if err := build(); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// openData takes the data_dir and settles which secrets hold.
func (a *app) openData() error {
	var err error
	if a.dir, err = datadir.Open(a.cfg().DataDir); err != nil {
		return err
	}
	a.checkStart()
	if err := a.openPublic(); err != nil {
		return err
	}
	hold, err := a.settle(a.cfg())
	if err != nil {
		return err
	}
	a.secrets.Store(&hold)
	a.keys, err = credential.NewKeyring(hold.credential, reveal(a.cfg().Credentials.PreviousSecrets))
	return err
}

func (a *app) openCerts() (err error) {
	c := certSettings(a.cfg(), a.public.Load())
	c.Dir, c.Logger = a.dir.Path(), a.part("certs")
	a.certs, err = certs.New(c)
	return certError(c, err)
}

func (a *app) openNodes() (err error) {
	a.nodes, err = nodes.New(nodes.Config{DataDir: a.dir.Path(), Logger: a.part("nodes")})
	return err
}

func (a *app) openTURN() (err error) {
	t, p := a.cfg().Turn, a.public.Load()
	if a.peers, err = peers.New(peers.Config{Deny: t.Peers.Deny, Allow: t.Peers.Allow, Public: p.advertised(), Logger: a.part("turn")}); err != nil {
		return err
	}
	a.turn, err = turnsrv.New(turnsrv.Config{
		Listen: t.Listen, ListenTLS: t.ListenTLS, Passed: a.passedTURN(), Transports: t.Transports, Realm: t.Realm,
		IPv4: p.ipv4, IPv6: p.ipv6, PortMin: t.RelayPorts.Min, PortMax: t.RelayPorts.Max,
		Settings: turnSettings(a.cfg()), Keys: a.keys, Peers: a.peers, Nodes: a.nodes, Certificate: a.certs.GetCertificate, Protected: a.protected,
		DrainTimeout: a.cfg().DrainTimeout, Logger: a.part("turn"),
	})
	if err == nil {
		a.nodes.Attach(relays{a.turn})
	}
	return err
}

func (a *app) openRedis() (err error) {
	if !a.cfg().Redis.Enabled {
		return nil
	}
	l, err := a.passed(systemd.NameRedis, "redis.listen", a.cfg().Redis.Listen, a.cfg().Redis.Password.IsSet())
	if err != nil {
		return err
	}
	a.redis, err = redis.New(redis.Config{Listen: a.cfg().Redis.Listen, Listener: l, Password: a.secrets.Load().redis, Logger: a.part("redis")})
	return err
}

func (a *app) openHooks() (err error) {
	h := a.cfg().Hooks
	if a.meters, err = a.newMetrics(); err != nil {
		return err
	}
	l, err := a.passed(systemd.NameHooks, "hooks.listen", h.Listen, h.Token.IsSet() || h.AllowNoToken)
	if err != nil {
		return err
	}
	if a.policy, err = policy.New(a.policySettings(a.cfg())); err != nil {
		return err
	}
	set := hooks.Config{
		Listen: h.Listen, Token: a.secrets.Load().hooks, MaxBody: h.MaxBody, RTC: rtcSettings(h.RTC),
		ICE: ice{a}, Registry: registry{a.nodes}, Policy: a.policy, Observe: a.observeHook,
		Refused: func(status int) { a.meters.CountRefused("hooks", status) }, Logger: a.part("hooks"),
	}
	if l != nil {
		set.Listener, set.Linger = l, linger
	}
	a.hooks, err = hooks.New(set)
	return err
}

func (a *app) openAdmin() (err error) {
	if a.admin, err = admin.New(admin.Config{
		Nodes: a.nodes, Relays: relays{a.turn}, Status: a.status, NotReady: a.notReady, Turn: a.turnStats, Metrics: a.meters,
		RTC: a.hooks.RTCConfiguration, Drain: a.drain, Draining: a.drainProgress, Logger: a.part("admin"),
	}); err != nil {
		return err
	}
	l, err := a.passed(systemd.NameAdmin, "admin.listen", a.cfg().Admin.Listen, a.cfg().Admin.Token.IsSet() || a.cfg().Admin.AllowNoToken)
	if err != nil {
		return err
	}
	set := webguard.Config{
		Key: "admin.listen", Listen: a.cfg().Admin.Listen, Handler: a.admin, Token: a.secrets.Load().admin, Exempt: admin.Exempt,
		CheckHost: true, Hosts: a.adminHosts(), Refused: func(_ *http.Request, status int) { a.meters.CountRefused("admin", status) },
		Logger: a.part("admin"),
	}
	if l != nil {
		set.Listener = l
	}
	a.guard, err = webguard.New(set)
	return err
}

// host is the name or address under which this machine is reached.
func (a *app) host() string {
	return a.public.Load().name(netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
}

// cfg is the configuration that holds now.
func (a *app) cfg() *config.Config { return a.config.Load() }

func (a *app) part(name string) *slog.Logger { return a.log.With("component", name) }

// close releases what newApp had opened when it failed.
func (a *app) close() error {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	var errs []error
	if a.hooks != nil {
		errs = append(errs, a.hooks.Close())
	}
	if a.redis != nil {
		errs = append(errs, a.redis.Run(ended)) // closes what it had bound
	}
	if a.turn != nil {
		errs = append(errs, a.turn.Close())
	}
	if a.dir != nil {
		errs = append(errs, a.dir.Close())
	}
	return errors.Join(errs...)
}

// protected are the listeners beside the TURN server's, which no relay may reach.
func (a *app) protected() []netip.AddrPort {
	var all []netip.AddrPort
	for _, listen := range a.otherListeners() {
		if ap, err := netip.ParseAddrPort(listen.Address); err == nil {
			all = append(all, ap)
		}
	}
	return all
}

// otherListeners are the HTTP and Redis listeners that are up.
func (a *app) otherListeners() []adminapi.Listener {
	var out []adminapi.Listener
	if a.hooks != nil {
		out = append(out, adminapi.Listener{Part: "hooks", Transport: "http", Address: a.hooks.Addr().String()})
	}
	if a.guard != nil {
		out = append(out, adminapi.Listener{Part: "admin", Transport: "http", Address: a.guard.Addr().String()})
	}
	if a.redis != nil {
		out = append(out, adminapi.Listener{Part: "redis", Transport: "tcp", Address: a.redis.Addr().String()})
	}
	return out
}

// urls are what clients are told.
func (a *app) urls() (stun, turn []string) {
	mode := a.cfg().Hooks.RTC.AdvertiseTLS
	return iceURLs(*a.public.Load(), a.turn.Listeners(), mode == "always" || mode == "auto" && a.certs.Verifiable())
}

// brokerEnv is the Broker's environment with the webhooks at their listener's own address.
func (a *app) brokerEnv() brokerEnv {
	host := a.host()
	at, _ := netip.ParseAddrPort(a.hooks.Addr().String())
	env := brokerEnv{base: &url.URL{Scheme: "http", Host: reachable(at, host)}, token: a.secrets.Load().hooks}
	if a.redis != nil {
		env.redis, env.password = reachable(a.redis.Addr().AddrPort(), host), a.secrets.Load().redis
	}
	return env
}
