package app

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/hooks"
	"github.com/crolang-p2p/crolang-aio/internal/fleet"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/usage"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
)

// urls are what clients are told. They never change.
type urls struct {
	stun, turn         []string
	stunJSON, turnJSON *hooks.URLs // the same, as an answer has them
}

func newURLs(stun, turn []string) *urls {
	return &urls{stun, turn, hooks.NewURLs(stun...), hooks.NewURLs(turn...)}
}

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
	return nowhere
}

// publish makes the URLs anew with made.
func (t *told) publish(made func() (stun, turn []string)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	stun, turn := made()
	t.now.Store(newURLs(stun, turn))
}

// issuer issues credentials for the URLs that clients are told.
type issuer struct {
	keys  *credential.Keyring
	now   *atomic.Pointer[holding]
	told  *told
	fleet *fleet.Fleet // nil: this machine is alone

	usage *usage.Keeper
	nodes *nodes.Registry
}

// ICE implements [hooks.ICEProvider]. A Node that may relay no more this month is given STUN alone: it can join its Broker,
// and be reached directly.
func (i *issuer) ICE(node string, source netip.Addr) (hooks.ICE, error) {
	u := i.told.load()
	if limit, detail := i.usage.Exhausted(billed(node)); limit != usage.NoLimit {
		i.nodes.ConfigurationRefused(node, "no TURN server in the RTC configuration: "+detail)
		return hooks.ICE{STUN: [2]*hooks.URLs{u.stunJSON}}, nil
	}
	ttl := i.now.Load().cfg.Credentials.TTL
	if nodeid.Trial(node) {
		ttl = min(ttl, nodeid.TrialTTL)
	}
	c, err := i.keys.Issue(node, ttl, time.Now())
	if err != nil {
		return hooks.ICE{}, err
	}
	first, second := i.pick(u, source)
	return hooks.ICE{
		STUN: [2]*hooks.URLs{first.stunJSON, second.stunJSON}, TURN: [2]*hooks.URLs{first.turnJSON, second.turnJSON},
		Username: c.Username, Password: c.Password, Expires: c.Expires,
	}, nil
}

// nowhere are no URLs.
var nowhere = &urls{}

// pick chooses among the machines of the fleet for a Node at that address, where this machine's URLs are own.
func (i *issuer) pick(own *urls, source netip.Addr) (first, second *urls) {
	if i.fleet == nil {
		return own, nowhere
	}
	one, other := i.fleet.Pick(source)
	first, _ = one.(*urls)
	second, _ = other.(*urls)
	switch {
	case first == nil:
		return own, nowhere
	case second == nil:
		return first, nowhere
	}
	return first, second
}
