package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/certs"
	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/datadir"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
)

// load reads the configuration, checked by the parts that know more of their settings than their shape.
func load(c *cli.Context) (*config.Config, error) {
	file, err := configFile(c)
	if err != nil {
		return nil, err
	}
	return config.Load(file, config.WithCheck(checkPolicy))
}

// checkPolicy brings the mistakes that the policies find to their lines in the file.
func checkPolicy(cfg *config.Config) []*config.Error {
	var out []*config.Error
	for _, err := range each(policy.Check(policySettings(cfg.Hooks, nil))) {
		var key *policy.KeyError
		if errors.As(err, &key) {
			out = append(out, &config.Error{Key: key.Key, Err: key.Err})
		} else {
			out = append(out, &config.Error{Err: err})
		}
	}
	return out
}

// each takes joined errors apart. policy.Check joins its own, were there only one.
func each(err error) []error {
	var all interface{ Unwrap() []error }
	if errors.As(err, &all) {
		return all.Unwrap()
	}
	return nil
}

// serve runs everything until SIGINT, SIGTERM or a drain command; a second signal ends it at once.
func serve(c *cli.Context) error {
	// Otherwise the end of what reads the log ends this too.
	signal.Ignore(syscall.SIGPIPE)
	// From here on SIGHUP ends nothing, neither while the parts are built nor when the reloader has ended.
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	r := reloader{file: c.String("config"), hup: hup, load: func() (*config.Config, error) { return load(c) }}
	r.held = r.stamp()
	cfg, err := r.load()
	if err != nil {
		return err
	}
	log := newLogging(c.App.ErrWriter, cfg.Log.Level, cfg.Log.Format)
	for _, w := range cfg.Warnings() {
		log.Warn(w)
	}
	a, err := newApp(cfg, log)
	if err != nil {
		return err
	}
	a.announce(log.to, c.String("config"))
	ctx, stop := endOnSignal(c.Context, log.Logger)
	defer stop()
	r.app = a
	if err = a.Run(ctx, r.Run); err == nil {
		log.Info("ended")
	}
	return err
}

// endOnSignal returns a context that SIGINT or SIGTERM ends; a second one ends the process. It does not leave that to
// the signal's default, which is to ignore SIGINT for what a script has started in the background. stop waits for all
// that was started.
func endOnSignal(parent context.Context, log *slog.Logger) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	var waiting sync.WaitGroup
	waiting.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case s := <-signals:
				if n > 0 {
					log.Warn("ended by a second signal", "signal", s.String())
					os.Exit(1)
				}
				log.Info("ending; a second signal ends at once", "signal", s.String())
				cancel()
			}
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		waiting.Wait()
		cancel()
	}
}

// configCheck says nothing but "ok" of a good configuration; warnings go to standard error. A certificate that serve would
// refuse is among them: the configuration may be meant for another machine, or its key be closed to whoever checks.
func configCheck(c *cli.Context) error {
	cfg, err := load(c)
	if err != nil {
		return err
	}
	for _, w := range cfg.Warnings() {
		fmt.Fprintf(c.App.ErrWriter, "crolang-aio: warning: %s\n", w)
	}
	if files := (certs.Config{CertFile: cfg.Certs.CertFile, KeyFile: cfg.Certs.KeyFile}); files.CertFile != "" {
		if _, err := certs.New(files); err != nil {
			fmt.Fprintf(c.App.ErrWriter, "crolang-aio: warning: serve would not start: %v\n", certError(files, err))
		}
	}
	_, err = fmt.Fprintln(c.App.Writer, "ok")
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
	cfg, err := load(c)
	if err != nil {
		return err
	}
	secret, err := credentialSecret(cfg).kept(cfg)
	if err != nil {
		return fmt.Errorf("the credential secret: %w", err)
	}
	keys, err := credential.NewKeyring(secret, nil)
	if err != nil {
		return err
	}
	ttl := cfg.Credentials.TTL
	if c.IsSet("ttl") {
		if ttl = spanOf(c, "ttl").Duration; ttl <= 0 {
			return fmt.Errorf("%w: --ttl must be above 0, such as 5m", errUsage)
		}
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
	env, err := storedBrokerEnv(cfg)
	if err != nil {
		return err
	}
	if raw := c.String("url"); raw != "" {
		u, err := url.Parse(raw)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || u.User != nil || u.RawQuery != "" {
			return fmt.Errorf("%w: --url must be like http://HOST:PORT", errUsage)
		}
		env.base = u
		env.moveRedis(u.Hostname())
	}
	for _, line := range append(env.hints(), env.lines()...) {
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

func health(c *cli.Context) error {
	client, err := adminClient(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, 5*time.Second)
	defer cancel()
	return client.Ready(ctx)
}

// adminClient is a client of the running server that the configuration describes.
func adminClient(c *cli.Context) (*adminapi.Client, error) {
	cfg, err := load(c)
	if err != nil {
		return nil, err
	}
	token, err := adminToken(cfg).kept(cfg)
	if err != nil && !errors.Is(err, datadir.ErrMissing) { // where serve never ran, the client says so better
		return nil, err
	}
	base, err := adminapi.BaseURL("admin.listen", cfg.Admin.Listen)
	if err != nil {
		return nil, err
	}
	return adminapi.NewClient(base, token)
}

func printVersion(c *cli.Context) error {
	v, commit, goVersion := build()
	if c.Bool("json") {
		return json.NewEncoder(c.App.Writer).Encode(map[string]string{"version": v, "commit": commit, "go": goVersion})
	}
	_, err := fmt.Fprintf(c.App.Writer, "crolang-aio %s\ncommit %s\n%s\n", v, commit, goVersion)
	return err
}
