package app

import (
	"github.com/crolang-p2p/crolang-aio/certs/acme"
	"github.com/crolang-p2p/crolang-aio/internal/fleet/vault"
)

// openVault opens what the machines of a fleet keep in common in fleet.redis_url. It comes before the certificates, which are
// among that, and asks Redis nothing.
func (a *App) openVault() (err error) {
	hold := a.now.Load()
	at := hold.cfg.Fleet.RedisURL
	if !at.IsSet() {
		return nil
	}
	if a.fleetRedis, err = openRedis(at); err != nil {
		return err
	}
	a.vault, err = vault.New(a.fleetRedis, fleetSettings(hold.cfg, hold.secrets).Secrets, 0)
	return err
}

// sharedCerts is what certificates of a CA are shared through; nil if this machine is alone.
func (t *together) sharedCerts() acme.Shared {
	if t.vault == nil {
		return nil
	}
	return t.vault
}
