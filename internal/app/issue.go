package app

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/hooks"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/publicaddr"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
)

// urls are what clients are told. They never change.
type urls struct{ stun, turn []string }

// all returns them in the order in which clients should try them. The slice is the caller's.
func (u *urls) all() []string { return append(append([]string{}, u.stun...), u.turn...) }

// told has the URLs that clients are told now. They are made when something that they depend on has changed, not at every
// call. All methods may be called from any goroutine.
type told struct {
	mu  sync.Mutex // of those who publish
	now atomic.Pointer[urls]
}

func (t *told) load() *urls {
	if u := t.now.Load(); u != nil {
		return u
	}
	return &urls{}
}

// publish makes the URLs anew with made.
func (t *told) publish(made func() (stun, turn []string)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	stun, turn := made()
	t.now.Store(&urls{stun, turn})
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
			up = append(up, publicaddr.Listener(l))
		}
		mode := hold.cfg.Hooks.RTC.AdvertiseTLS
		return hold.public.ICEURLs(up, mode == "always" || mode == "auto" && a.certs.Verifiable())
	})
	var found []findings.Finding
	if len(a.told.load().turn) == 0 {
		found = []findings.Finding{{ID: "turn.untold", Detail: errUntold.Error(), Remedy: "change turn.transports, or the certificate"}}
	}
	a.found.Replace("turn.untold", found)
}

// issuer issues credentials for the URLs that clients are told.
type issuer struct {
	keys *credential.Keyring
	now  *atomic.Pointer[holding]
	told *told
}

// ICE implements [hooks.ICEProvider].
func (i *issuer) ICE(node string) (hooks.ICE, error) {
	c, err := i.keys.Issue(node, i.now.Load().cfg.Credentials.TTL, time.Now())
	if err != nil {
		return hooks.ICE{}, err
	}
	u := i.told.load()
	return hooks.ICE{STUN: u.stun, TURN: u.turn, Username: c.Username, Password: c.Password, Expires: c.Expires}, nil
}
