package app

import (
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/hooks"
	"github.com/crolang-p2p/crolang-aio/internal/fleet/ties"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
)

// openTies makes what machines know together of who may talk with whom, if there are others.
func (a *App) openTies() {
	if a.cfg().Fleet.RedisURL.IsSet() {
		a.ties = ties.New(nil)
	}
}

// tiesFor is for how long an authorisation counts; 0 where turn.peers.mode does not ask for any.
func (a *App) tiesFor() time.Duration {
	if cfg := a.cfg(); cfg.Turn.Peers.Mode != "open" {
		return cfg.Credentials.TTL
	}
	return 0
}

// turnTies are those that the TURN server asks, nil if this machine is alone.
func (t *together) turnTies() turnsrv.Ties {
	if t.ties == nil {
		return nil
	}
	return t.ties
}

// SeenAt implements [control.Directory].
func (d directory) SeenAt(node string, addr netip.Addr) {
	d.Registry.SeenAt(node, addr)
	if d.together.ties != nil {
		d.together.ties.SeenAt(node, addr)
	}
}

// AuthorizedSince implements [control.Directory].
func (d directory) AuthorizedSince(one, other string, since time.Time) bool {
	return d.Registry.AuthorizedSince(one, other, since) || d.together.ties != nil && d.together.ties.AuthorizedSince(one, other, since)
}

// SeenPartner implements [control.Directory].
func (d directory) SeenPartner(node string, addr netip.Addr, since time.Time) bool {
	return d.Registry.SeenPartner(node, addr, since) || d.together.ties != nil && d.together.ties.SeenPartner(node, addr, since)
}

// authorisations is the registry as the webhooks tell it: other machines hear who may talk with whom.
type authorisations struct {
	*nodes.Registry
	together *together
}

var _ hooks.Registry = authorisations{}

// Authorized implements [hooks.Registry].
func (r authorisations) Authorized(from, to string) {
	r.Registry.Authorized(from, to)
	if r.together.ties != nil {
		r.together.ties.Authorized(from, to)
	}
}
