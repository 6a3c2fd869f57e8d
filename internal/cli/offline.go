package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/app"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
	"github.com/crolang-p2p/crolang-aio/internal/version"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
)

// configCheck says that a configuration is good, and which; warnings go to standard error.
func configCheck(c *cli.Context) error {
	file, err := configFile(c)
	if err != nil {
		return err
	}
	cfg, err := app.Check(file)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintf(c.App.ErrWriter, "crolang-aio: warning: %s\n", w)
	}
	if file == "" {
		file = "the defaults (no --config FILE is given)"
	}
	_, err = fmt.Fprintf(c.App.Writer, "ok: no mistake in %s\n", file)
	return err
}

func configInit(c *cli.Context) error {
	_, err := fmt.Fprint(c.App.Writer, config.Init())
	return err
}

func issueCredential(c *cli.Context) error {
	node, err := nodeArg(c)
	if err != nil {
		return err
	}
	ttl, err := durationOf(c, "ttl")
	switch {
	case err != nil:
		return err
	case c.IsSet("ttl") && ttl <= 0:
		return fmt.Errorf("%w: --ttl must be above 0, such as 5m", errUsage)
	}
	cfg, err := load(c)
	if err != nil {
		return err
	}
	secret, err := app.SecretsOf(cfg).Credential()
	if err != nil {
		return fmt.Errorf("the credential secret: %w", err)
	}
	keys, err := credential.NewKeyring(secret, nil)
	if err != nil {
		return err
	}
	if ttl == 0 {
		ttl = cfg.Credentials.TTL
	}
	cred, err := keys.Issue(node, ttl, time.Now())
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return terminal.PrintJSON(c.App.Writer, map[string]any{
			"node": cred.Node, "username": cred.Username, "password": cred.Password, "expires": cred.Expires.UTC(),
		})
	}
	_, err = fmt.Fprintf(c.App.Writer, "username  %s\npassword  %s\nexpires   %s\n", cred.Username, cred.Password,
		cred.Expires.Format(time.RFC3339))
	return err
}

func brokerEnvCommand(c *cli.Context) error {
	cfg, err := load(c)
	if err != nil {
		return err
	}
	env, err := app.BrokerEnv(cfg)
	if err != nil {
		return err
	}
	if raw := c.String("url"); raw != "" {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
			return fmt.Errorf("%w: --url must be like http://HOST:PORT", errUsage)
		}
		env = env.At(u)
	}
	for _, line := range append(env.Hints(), env.Lines()...) {
		if _, err := fmt.Fprintln(c.App.Writer, line); err != nil {
			return err
		}
	}
	return nil
}

// newToken makes a token for hooks.authenticate.tokens: the token is for the Node, the line for the configuration.
func newToken(c *cli.Context) error {
	node, err := nodeArg(c)
	if err != nil {
		return err
	}
	token, line, err := policy.NewTokenLine(node)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return terminal.PrintJSON(c.App.Writer, map[string]string{"node": node, "token": token, "line": line})
	}
	_, err = fmt.Fprintf(c.App.Writer, "token for the Node, shown only now:\n  %s\nline for hooks.authenticate.tokens:\n  %q\n", token, line)
	return err
}

func printVersion(c *cli.Context) error {
	v := version.Get()
	if c.Bool("json") {
		return json.NewEncoder(c.App.Writer).Encode(map[string]string{"version": v.Version, "commit": v.Commit, "go": v.Go})
	}
	_, err := fmt.Fprintf(c.App.Writer, "crolang-aio %s\ncommit %s\n%s\n", v.Version, v.Commit, v.Go)
	return err
}
