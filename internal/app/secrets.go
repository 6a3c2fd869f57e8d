package app

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"

	"github.com/crolang-p2p/crolang-aio/certs"
	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/brokerenv"
	"github.com/crolang-p2p/crolang-aio/internal/change"
	"github.com/crolang-p2p/crolang-aio/internal/datadir"
	"github.com/crolang-p2p/crolang-aio/internal/listen"
	"github.com/crolang-p2p/crolang-aio/internal/publicaddr"
)

// secrets are those that hold: the configuration's, else those kept in the data_dir. Empty: none is asked for. They are
// never logged.
type secrets struct{ credential, hooks, admin, redis string }

// secret is where one of them comes from.
type secret struct {
	set    config.Secret // in the configuration
	file   string        // in the data_dir, if it is not set
	needed bool          // otherwise none is made, and none is asked for
}

func credentialSecret(cfg *config.Config) secret {
	return secret{cfg.Credentials.Secret, datadir.CredentialSecret, true}
}

func hooksToken(cfg *config.Config) secret {
	return secret{cfg.Hooks.Token, datadir.HooksToken, !cfg.Hooks.AllowNoToken && (listen.Exposed(cfg.Hooks.Listen) || cfg.HTTPS.Serves("hooks"))}
}

func adminToken(cfg *config.Config) secret {
	return secret{cfg.Admin.Token, datadir.AdminToken, !cfg.Admin.AllowNoToken && (listen.Exposed(cfg.Admin.Listen) || cfg.HTTPS.Serves("admin"))}
}

func redisPassword(cfg *config.Config) secret {
	return secret{cfg.Redis.Password, datadir.RedisPassword, cfg.Redis.Enabled && listen.Exposed(cfg.Redis.Listen)}
}

// kept returns the secret as a command beside the server finds it. Nothing is made.
func (s secret) kept(cfg *config.Config) (string, error) {
	if s.set.IsSet() || !s.needed {
		return s.set.Reveal(), nil
	}
	return datadir.Read(cfg.DataDir, s.file)
}

// settle finds the secrets that hold with cfg, and makes those that are needed and nowhere yet. To drop the change takes
// those back.
func settle(cfg *config.Config, dir *datadir.Dir, log *slog.Logger) (secrets, change.Change, error) {
	var errs []error
	var made []string
	get := func(from secret) string {
		if from.set.IsSet() || !from.needed {
			return from.set.Reveal()
		}
		text, isNew, err := dir.Secret(from.file)
		if isNew {
			made = append(made, from.file)
		}
		errs = append(errs, err)
		return text
	}
	s := secrets{
		credential: get(credentialSecret(cfg)), hooks: get(hooksToken(cfg)),
		admin: get(adminToken(cfg)), redis: get(redisPassword(cfg)),
	}
	settled := change.New(func() {
		for _, file := range made {
			log.Info("made a secret", "file", filepath.Join(dir.Path(), file))
		}
	}, func() {
		for _, file := range made {
			dir.Forget(file)
		}
	})
	if err := errors.Join(errs...); err != nil {
		settled.Drop()
		return secrets{}, change.Change{}, err
	}
	return s, settled, nil
}

// Secrets are the tokens and passwords that a running server has, as another process of the same user finds them: in the
// configuration, else in the data_dir. Each is empty if none is asked for. An error says that serve has not made it yet,
// or that this user may not read it.
type Secrets struct{ cfg *config.Config }

// SecretsOf returns those of a configuration. Nothing is read or made before one is asked for.
func SecretsOf(cfg *config.Config) Secrets { return Secrets{cfg} }

// Credential is what TURN credentials are issued with.
func (s Secrets) Credential() (string, error) { return credentialSecret(s.cfg).kept(s.cfg) }

// HooksToken is the token of the webhooks.
func (s Secrets) HooksToken() (string, error) { return hooksToken(s.cfg).kept(s.cfg) }

// AdminToken is the token of the admin listener.
func (s Secrets) AdminToken() (string, error) { return adminToken(s.cfg).kept(s.cfg) }

// RedisPassword is the password of the embedded Redis.
func (s Secrets) RedisPassword() (string, error) { return redisPassword(s.cfg).kept(s.cfg) }

// BrokerEnv returns a Broker's environment from the configuration and what serve has kept, without a running server.
func BrokerEnv(cfg *config.Config) (brokerenv.Env, error) {
	p, err := publicaddr.Find(addressSettings(cfg), publicaddr.Known{})
	if err != nil {
		return brokerenv.Env{}, err
	}
	base, err := brokerenv.URL(cfg.Hooks.Listen, p.Machine())
	if err != nil {
		return brokerenv.Env{}, err
	}
	if secure := webhooksURL(cfg, p); secure != "" {
		if base, err = url.Parse(secure); err != nil {
			return brokerenv.Env{}, err
		}
	}
	env := brokerenv.Env{Base: base}
	if env.Token, err = SecretsOf(cfg).HooksToken(); err != nil {
		return env, fmt.Errorf("the webhooks' token: %w", err)
	}
	if !cfg.Redis.Enabled {
		return env, nil
	}
	u, err := brokerenv.URL(cfg.Redis.Listen, p.Machine())
	if err != nil {
		return env, err
	}
	env.Redis = u.Host
	if env.Password, err = SecretsOf(cfg).RedisPassword(); err != nil {
		return env, fmt.Errorf("the password of the Redis: %w", err)
	}
	return env, nil
}

// webhooksURL is where Brokers reach the webhooks over HTTPS; empty if they are not served there, or with a certificate that
// clients refuse.
func webhooksURL(cfg *config.Config, p publicaddr.Public) string {
	if !cfg.HTTPS.Serves("hooks") || !verifiable(cfg, p) {
		return ""
	}
	var all []publicaddr.Listener
	for _, text := range cfg.Turn.ListenTLS {
		if at, err := listen.Parse(text); err == nil {
			all = append(all, publicaddr.Listener{Transport: "tls", Addr: at.AddrPort(), Outside: cfg.Turn.PublicPorts[at.Port()]})
		}
	}
	return webURL(cfg, p, all, "hooks")
}

// verifiable reports whether the configured certificate is one that clients accept.
func verifiable(cfg *config.Config, p publicaddr.Public) bool {
	if cfg.Certs.CertFile == "" {
		return cfg.Certs.ACME.Enabled // it will be, or serve says why not
	}
	k, err := certs.New(certs.Config{CertFile: cfg.Certs.CertFile, KeyFile: cfg.Certs.KeyFile, PublicHost: p.Machine()})
	return err == nil && k.Verifiable()
}

func reveal(all []config.Secret) []string {
	out := make([]string, len(all))
	for i, s := range all {
		out[i] = s.Reveal()
	}
	return out
}
