package main

import (
	"path/filepath"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/datadir"
	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// secrets are those that hold: the configuration's, else those kept in the data_dir. Empty: none is asked for. They are
// never logged.
type secrets struct{ credential, hooks, admin, redis string }

// secret is where one of them comes from.
type secret struct {
	set    config.Secret // by the configuration
	file   string        // of the data_dir, where it is not set
	needed bool          // otherwise none is made and none is asked for
}

func credentialSecret(cfg *config.Config) secret {
	return secret{cfg.Credentials.Secret, datadir.CredentialSecret, true}
}

func hooksToken(cfg *config.Config) secret {
	return secret{cfg.Hooks.Token, datadir.HooksToken, !cfg.Hooks.AllowNoToken && listen.Exposed(cfg.Hooks.Listen)}
}

func adminToken(cfg *config.Config) secret {
	return secret{cfg.Admin.Token, datadir.AdminToken, !cfg.Admin.AllowNoToken && listen.Exposed(cfg.Admin.Listen)}
}

func redisPassword(cfg *config.Config) secret {
	return secret{cfg.Redis.Password, datadir.RedisPassword, cfg.Redis.Enabled && listen.Exposed(cfg.Redis.Listen)}
}

// kept is the secret as a command finds it beside the server: nothing is made.
func (s secret) kept(cfg *config.Config) (string, error) {
	if s.set.IsSet() || !s.needed {
		return s.set.Reveal(), nil
	}
	return datadir.Read(cfg.DataDir, s.file)
}

// settle finds the secrets that hold with cfg, and makes those that are needed and nowhere yet.
func (a *app) settle(cfg *config.Config) (s secrets, err error) {
	get := func(from secret) string {
		if from.set.IsSet() || !from.needed || err != nil {
			return from.set.Reveal()
		}
		var text string
		var made bool
		if text, made, err = a.dir.Secret(from.file); made {
			a.log.Info("made a secret", "file", filepath.Join(a.dir.Path(), from.file))
		}
		return text
	}
	s = secrets{
		credential: get(credentialSecret(cfg)), hooks: get(hooksToken(cfg)),
		admin: get(adminToken(cfg)), redis: get(redisPassword(cfg)),
	}
	return s, err
}

func reveal(all []config.Secret) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = s.Reveal()
	}
	return out
}
