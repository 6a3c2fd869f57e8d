package main

import (
	"context"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
)

// reloadPoll is how often the configuration file is looked at. SIGHUP asks for it at once.
const reloadPoll = 2 * time.Second

// reloader applies a changed configuration to the running app: all of it or nothing. What cannot change while running is
// named and left as it was.
type reloader struct {
	app  *app
	file string // empty: there is none to watch
	load func() (*config.Config, error)
}

// Run watches until ctx ends.
func (r *reloader) Run(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	tick := time.NewTicker(reloadPoll)
	defer tick.Stop()
	seen := r.stamp()
	for {
		asked := false
		select {
		case <-ctx.Done():
			return nil
		case <-hup:
			asked = true
		case <-tick.C:
		}
		if now := r.stamp(); asked || now != seen {
			seen = now
			r.reload()
		}
	}
}

// fileStamp tells one state of a file from another.
type fileStamp struct {
	size int64
	time time.Time
}

func (r *reloader) stamp() fileStamp {
	if r.file == "" {
		return fileStamp{}
	}
	st, err := os.Stat(r.file)
	if err != nil {
		return fileStamp{size: -1}
	}
	return fileStamp{st.Size(), st.ModTime()}
}

// reload reads the configuration and applies it, or says all that is wrong with it and changes nothing.
func (r *reloader) reload() {
	a, log := r.app, r.app.part("config")
	next, err := r.load()
	if err != nil {
		log.Error("the changed configuration is refused, the old one holds", "mistakes", strings.Split(err.Error(), "\n"))
		return
	}
	secret := a.secrets.credential
	if next.Credentials.Secret.IsSet() {
		secret = next.Credentials.Secret.Reveal()
	}
	// What can fail comes first, so that nothing is applied by half.
	if err := a.policy.Replace(policySettings(next.Hooks, a.part("hooks"))); err != nil {
		log.Error("the changed configuration is refused, the old one holds", "mistakes", strings.Split(err.Error(), "\n"))
		return
	}
	if err := a.keys.Replace(secret, reveal(next.Credentials.PreviousSecrets)); err != nil {
		log.Error("the secret cannot be changed", "err", err)
	}
	if err := a.certs.Reload(); err != nil {
		log.Error("the certificate stays as it was", "err", err)
	}
	a.turn.Apply(turnSettings(next))
	a.level.Set(next.Log.Level)
	stays := unchangeable(a.cfg(), next)
	a.config.Store(keep(a.cfg(), next))
	if len(stays) > 0 {
		log.Warn("some changes need a restart", "keys", stays)
	}
	log.Info("the changed configuration holds")
}

// fixed are the parts of a configuration that a running process cannot change, by their keys.
func fixed(c *config.Config) map[string]any {
	return map[string]any{
		"data_dir": c.DataDir, "drain_timeout": c.DrainTimeout, "log.format": c.Log.Format, "public": c.Public,
		"turn.realm": c.Turn.Realm, "turn.listen": c.Turn.Listen, "turn.listen_tls": c.Turn.ListenTLS,
		"turn.transports": c.Turn.Transports, "turn.relay_ports": c.Turn.RelayPorts, "turn.software": c.Turn.Software,
		"turn.limits.bits_per_second":            c.Turn.Limits.BitsPerSecond,
		"turn.limits.connections_per_ip":         c.Turn.Limits.ConnectionsPerIP,
		"turn.limits.unauthenticated_per_second": c.Turn.Limits.UnauthenticatedPerSecond,
		"turn.peers.deny":                        c.Turn.Peers.Deny, "turn.peers.allow": c.Turn.Peers.Allow,
		"hooks.listen": c.Hooks.Listen, "hooks.token": c.Hooks.Token.Reveal(), "hooks.allow_no_token": c.Hooks.AllowNoToken,
		"hooks.max_body": c.Hooks.MaxBody, "hooks.rtc": revealed(c.Hooks.RTC),
		"certs":         c.Certs,
		"redis.enabled": c.Redis.Enabled, "redis.listen": c.Redis.Listen, "redis.password": c.Redis.Password.Reveal(),
		"admin.listen": c.Admin.Listen, "admin.token": c.Admin.Token.Reveal(), "admin.allow_no_token": c.Admin.AllowNoToken,
	}
}

// revealed is an RTC configuration that compares by its secrets' texts.
func revealed(r config.RTC) any {
	type server struct {
		config.ICEServer
		password string
	}
	var servers []server
	for _, s := range r.ExtraICEServers {
		servers = append(servers, server{config.ICEServer{URLs: s.URLs, Username: s.Username}, s.Password.Reveal()})
	}
	r.ExtraICEServers = nil
	return []any{r, servers}
}

// unchangeable names the keys that differ and stay as they were.
func unchangeable(old, next *config.Config) []string {
	var keys []string
	was := fixed(old)
	for key, v := range fixed(next) {
		if !reflect.DeepEqual(v, was[key]) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

// keep is next with what cannot change taken from old, so that what is shown is what holds.
func keep(old, next *config.Config) *config.Config {
	c := *next
	c.DataDir, c.DrainTimeout, c.Log.Format, c.Public = old.DataDir, old.DrainTimeout, old.Log.Format, old.Public
	limits, peers := next.Turn.Limits, next.Turn.Peers
	c.Turn = old.Turn
	c.Turn.Limits.Allocations, c.Turn.Limits.AllocationsPerNode = limits.Allocations, limits.AllocationsPerNode
	c.Turn.Limits.AllocationLifetime, c.Turn.Peers.Mode = limits.AllocationLifetime, peers.Mode
	c.Hooks.Listen, c.Hooks.Token, c.Hooks.AllowNoToken = old.Hooks.Listen, old.Hooks.Token, old.Hooks.AllowNoToken
	c.Hooks.MaxBody, c.Hooks.RTC = old.Hooks.MaxBody, old.Hooks.RTC
	c.Certs, c.Redis, c.Admin = old.Certs, old.Redis, old.Admin
	return &c
}
