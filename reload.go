package main

import (
	"context"
	"errors"
	"os"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/hooks"
	"github.com/crolang-p2p/crolang-aio/internal/publicaddr"
)

// reloadPoll is how often the configuration file is looked at. SIGHUP asks for it at once. A change that is seen is applied
// when the file has stayed as it is until the next look: an editor may not be done with it.
const reloadPoll = time.Second

var (
	errEmptied = errors.New("the configuration file is empty, and was not: with it every setting would fall back to its default; restart if that is meant")
	errPipe    = errors.New("the configuration cannot be read again, since it is no regular file: give --config one, or restart")
)

// reloader applies a changed configuration to the running app: all of it or nothing. What cannot change while running is
// named and left as it was.
type reloader struct {
	app  *app
	file string           // empty: there is none to watch
	hup  <-chan os.Signal // asks for a reload at once; nil: nobody does
	load func() (*config.Config, error)
	held fileStamp // of the file whose settings hold, taken before it was read
}

// Run watches until ctx ends.
func (r *reloader) Run(ctx context.Context) error {
	tick := time.NewTicker(reloadPoll)
	defer tick.Stop()
	seen, last := r.held, r.held
	for {
		asked := false
		select {
		case <-ctx.Done():
			return nil
		case <-r.hup:
			asked = true
		case <-tick.C:
		}
		now := r.stamp()
		settled := now == last
		last = now
		if asked || settled && now != seen {
			seen = now
			r.reload()
		}
	}
}

// fileStamp tells one state of a file from another.
type fileStamp struct {
	size    int64
	time    time.Time
	special bool // a pipe, say, which is read once
}

func (r *reloader) stamp() fileStamp {
	if r.file == "" {
		return fileStamp{}
	}
	st, err := os.Stat(r.file)
	if err != nil {
		return fileStamp{size: -1}
	}
	if !st.Mode().IsRegular() && !st.IsDir() {
		return fileStamp{special: true}
	}
	return fileStamp{st.Size(), st.ModTime(), false}
}

// read loads the configuration anew.
func (r *reloader) read() (*config.Config, error) {
	switch now := r.stamp(); {
	case now.special:
		return nil, errPipe
	case now.size == 0 && r.held.size > 0:
		return nil, errEmptied
	default:
		next, err := r.load()
		if err == nil {
			r.held = now
		}
		return next, err
	}
}

// reload reads the configuration and applies it, or says all that is wrong with it and changes nothing.
func (r *reloader) reload() {
	a, log := r.app, r.app.part("config")
	defer a.reloading()()
	next, err := r.read()
	old := a.cfg()
	var stays []string
	if err == nil {
		next, stays = keep(old, next)
		err = a.apply(next)
	}
	if err != nil {
		log.Error("the changed configuration is refused, the old one holds", "mistakes", strings.Split(err.Error(), "\n"))
		return
	}
	if len(stays) > 0 {
		log.Warn("some changes need a restart", "keys", stays)
	}
	for _, w := range next.Warnings() {
		if !slices.Contains(old.Warnings(), w) {
			log.Warn(w)
		}
	}
	if changed := config.Changed(old, next); len(changed) > 0 {
		log.Info("the changed configuration holds", "keys", changed)
	} else {
		log.Info("the changed configuration holds: it changes nothing that is in use")
	}
}

// apply makes next hold, all of it: with an error nothing has changed. Live allocations and connections stay, but for what
// the new settings forbid them.
func (a *app) apply(next *config.Config) error {
	var answers []publicaddr.Answer
	if !slices.Equal(next.Public.STUN, a.cfg().Public.STUN) {
		answers = publicaddr.Ask(context.Background(), next.Public.STUN)
	}
	a.changing.Lock()
	defer a.changing.Unlock()
	seen := a.addresses.learn(next.Public.STUN, answers)
	p, errPublic := findPublic(next, a.known(seen.mapped))
	hold, errSecrets := a.settle(next)
	answer, errHooks := a.hooks.Prepare(hooks.Settings{Token: hold.hooks, MaxBody: next.Hooks.MaxBody, RTC: rtcSettings(next.Hooks.RTC)})
	replacePeers, errPeers := a.peers.Prepare(next.Turn.Peers.Deny, next.Turn.Peers.Allow)
	if err := errors.Join(errPublic, errSecrets, errHooks, errPeers); err != nil {
		return err
	}
	present, err := a.prepareCerts(next, &p)
	if err != nil {
		return err
	}
	if err := a.policy.Replace(a.policySettings(next)); err != nil {
		return err
	}
	// From here on nothing fails: there is a secret, and the addresses are of their families.
	err = errors.Join(a.keys.Replace(hold.credential, reveal(next.Credentials.PreviousSecrets)), a.move(&p, replacePeers))
	a.addresses.seen = seen
	a.secrets.Store(&hold)
	a.config.Store(next)
	answer()
	a.guard.SetToken(hold.admin)
	a.turn.Apply(turnSettings(next))
	a.turn.SetDrainTimeout(next.DrainTimeout)
	present()
	a.log.set(next.Log.Level, next.Log.Format)
	a.addresses.again()
	return err
}

// prepareCerts gets the certificate of other settings ready. Where they are as before, only its files are read again,
// and what is wrong with those is no mistake of the configuration.
func (a *app) prepareCerts(next *config.Config, p *public) (present func(), err error) {
	c := certSettings(next, p)
	if reflect.DeepEqual(c, certSettings(a.cfg(), a.public.Load())) {
		return func() {
			if err := a.certs.Reload(); err != nil {
				a.part("certs").Error("the certificate stays as it was", "err", err)
			}
		}, nil
	}
	present, err = a.certs.Prepare(c)
	return present, certError(c, err)
}

// move makes p what clients are told from now on, with other lists of peers from replacePeers, which may be nil. Live
// allocations keep their addresses; what they may no longer reach ends. Held: changing.
func (a *app) move(p *public, replacePeers func()) error {
	advertised, err := a.turn.Move(p.ipv4, p.ipv6)
	if err != nil {
		return err
	}
	a.public.Store(p)
	a.addresses.told = advertised
	a.peers.SetPublic(advertised)
	if replacePeers != nil {
		replacePeers()
	}
	a.turn.Recheck()
	a.guard.SetHosts(a.adminHosts())
	return nil
}

// fixed are the parts of a configuration that a running process cannot change: their keys, and where they are.
var fixed = []struct {
	key string
	at  func(*config.Config) any // a pointer
}{
	{"admin.listen", func(c *config.Config) any { return &c.Admin.Listen }},
	{"data_dir", func(c *config.Config) any { return &c.DataDir }},
	{"hooks.listen", func(c *config.Config) any { return &c.Hooks.Listen }},
	{"redis.enabled", func(c *config.Config) any { return &c.Redis.Enabled }},
	{"redis.listen", func(c *config.Config) any { return &c.Redis.Listen }},
	{"redis.password", func(c *config.Config) any { return &c.Redis.Password }},
	{"turn.listen", func(c *config.Config) any { return &c.Turn.Listen }},
	{"turn.listen_tls", func(c *config.Config) any { return &c.Turn.ListenTLS }},
	{"turn.realm", func(c *config.Config) any { return &c.Turn.Realm }},
	{"turn.relay_ports", func(c *config.Config) any { return &c.Turn.RelayPorts }},
	{"turn.transports", func(c *config.Config) any { return &c.Turn.Transports }},
}

// keep is next with what cannot change taken from old, so that what is shown is what holds, and the keys that differ.
func keep(old, next *config.Config) (c *config.Config, stays []string) {
	copied := *next
	for _, f := range fixed {
		was, is := reflect.ValueOf(f.at(old)).Elem(), reflect.ValueOf(f.at(&copied)).Elem()
		if !reflect.DeepEqual(was.Interface(), is.Interface()) {
			stays = append(stays, f.key)
			is.Set(was)
		}
	}
	return &copied, stays
}
