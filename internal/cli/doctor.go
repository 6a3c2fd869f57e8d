package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/certs"
	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/app"
	"github.com/crolang-p2p/crolang-aio/internal/doctor"
	"github.com/crolang-p2p/crolang-aio/internal/logging"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// DoctorPassword is the variable that has the password of `doctor --url`. It is read here and not by the library, which could
// show it in a help text.
const DoctorPassword = "CROLANG_AIO_DOCTOR_PASSWORD"

const doctorHelp = `Without --url it checks the running server that the configuration describes: it asks for credentials through the
server's own webhook and tries every URL that clients are given. With --url it tries any STUN or TURN server.

Everybody on this machine can read a password on the command line, in the list of processes. Pass it with
--password-file or in ` + DoctorPassword + ` instead.

Exit code: 0 if nothing failed (warnings are not failures), 1 if something did, 2 for wrong usage.`

func doctorCommand(config, json cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "doctor", Usage: "find out what does not work, why, and what to do about it", Description: doctorHelp,
		Flags: []cli.Flag{
			config, json,
			&cli.StringSliceFlag{Name: "url", Usage: "try this `URL` of any STUN or TURN server, such as turn:turn.example.org:3478?transport=tcp; can be repeated"},
			&cli.StringFlag{Name: "username", Usage: "`NAME` for turn: and turns: URLs"},
			&cli.StringFlag{Name: "password", Usage: "its `PASSWORD`, visible in the list of processes: see above"},
			&cli.StringFlag{Name: "password-file", Usage: "`FILE` with the password on its first line"},
			&cli.StringFlag{Name: "node", Usage: "without --url: use the credential of this `NODE`, to see what keeps it out"},
			durationFlag("timeout", "longest `DURATION` of the whole check", "1m", ""),
		},
		Action: noArgs(runDoctor),
	}
}

func runDoctor(c *cli.Context) error {
	timeout, err := durationOf(c, "timeout")
	if err != nil {
		return err
	}
	if timeout <= 0 {
		return fmt.Errorf("%w: --timeout must be above 0", errUsage)
	}
	var cfg doctor.Config
	if cfg.Targets, err = doctorTargets(c); err != nil {
		return err
	}
	if len(cfg.Targets) == 0 {
		if cfg.Local, err = doctorLocal(c); err != nil {
			return err
		}
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	var sum doctor.Summary
	found := []doctor.Finding{}
	var broken error
	coloured := logging.Coloured(c.App.Writer)
	doctor.Run(ctx, cfg, func(f doctor.Finding) {
		sum.Add(f)
		if c.Bool("json") {
			found = append(found, f)
		} else {
			broken = errors.Join(broken, doctor.Print(c.App.Writer, f, coloured))
		}
	})
	if c.Bool("json") {
		broken = terminal.PrintJSON(c.App.Writer, found)
	} else if broken == nil {
		_, broken = fmt.Fprintln(c.App.Writer, sum)
	}
	switch {
	case broken != nil:
		return broken
	case sum.Failures > 0:
		return fmt.Errorf("doctor: %d of %d checks failed", sum.Failures, sum.Passed+sum.Warnings+sum.Failures)
	}
	return nil
}

// doctorTargets are the URLs of the command line, with their credential. None: the local server is meant.
func doctorTargets(c *cli.Context) ([]doctor.Target, error) {
	urls := c.StringSlice("url")
	if len(urls) > 0 && c.IsSet("node") {
		return nil, fmt.Errorf("%w: --node is for the local server, not for --url", errUsage)
	}
	if len(urls) == 0 {
		for _, name := range []string{"username", "password", "password-file"} {
			if c.IsSet(name) {
				return nil, fmt.Errorf("%w: --%s is for --url", errUsage, name)
			}
		}
		return nil, nil
	}
	password, err := doctorPasswordOf(c)
	if err != nil {
		return nil, err
	}
	var out []doctor.Target
	for _, u := range urls {
		turn, err := doctor.CheckURL(u)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%w: --url: %w", errUsage, err)
		case turn && (c.String("username") == "" || password == ""):
			return nil, fmt.Errorf("%w: a turn: URL needs --username, and a password by --password-file or %s", errUsage, DoctorPassword)
		}
		out = append(out, doctor.Target{URL: u, Username: c.String("username"), Password: password})
	}
	return out, nil
}

// doctorPasswordOf takes the flag, the file or the variable, in this order.
func doctorPasswordOf(c *cli.Context) (string, error) {
	file := c.String("password-file")
	switch {
	case c.IsSet("password") && file != "":
		return "", fmt.Errorf("%w: --password and --password-file exclude each other", errUsage)
	case c.IsSet("password"):
		return c.String("password"), nil
	case file == "":
		password := os.Getenv(DoctorPassword)
		if err := config.CheckVariable(password); err != nil {
			return "", fmt.Errorf("%s: %w", DoctorPassword, err)
		}
		return password, nil
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("--password-file: %w", err)
	}
	line, _, _ := strings.Cut(string(b), "\n")
	if line = strings.TrimRight(line, "\r"); line == "" {
		return "", fmt.Errorf("--password-file: %s has no password in its first line", file)
	}
	return line, nil
}

// doctorLocal describes the server of the configuration. A secret that cannot be read is a finding, not an end.
func doctorLocal(c *cli.Context) (*doctor.Local, error) {
	cfg, err := load(c)
	if err != nil {
		return nil, err
	}
	if node := c.String("node"); node != "" {
		if err := nodeid.Valid(node); err != nil {
			return nil, fmt.Errorf("%w: --node: %w", errUsage, err)
		}
	}
	l := &doctor.Local{
		Realm: cfg.Turn.Realm, Listen: slices.Concat(cfg.Turn.Listen, cfg.Turn.ListenTLS), DataDir: cfg.DataDir, Node: c.String("node"),
		PortMin: cfg.Turn.RelayPorts.Min, PortMax: cfg.Turn.RelayPorts.Max, CertFile: cfg.Certs.CertFile, KeyFile: cfg.Certs.KeyFile,
		Upstreams: upstreams(cfg.Hooks), STUN: cfg.Public.STUN,
	}
	if l.CertFile == "" {
		l.CertFile = filepath.Join(cfg.DataDir, certs.SelfSignedFile)
	}
	secrets := app.SecretsOf(cfg)
	kept := func(text string, err error) string {
		if err != nil {
			l.Problems = append(l.Problems, doctor.Finding{
				Check: "secret", Status: doctor.Fail, Detail: err.Error(), Remedy: "run doctor as the user that the server runs as, with its configuration",
			})
		}
		return text
	}
	if l.AdminURL, l.Admin, err = app.AdminClient(cfg, kept(secrets.AdminToken())); err != nil {
		return nil, err
	}
	if l.HooksURL, err = adminapi.BaseURL("hooks.listen", cfg.Hooks.Listen); err != nil {
		return nil, err
	}
	l.HooksToken, l.Secret = kept(secrets.HooksToken()), kept(secrets.Credential())
	if cfg.Redis.Enabled {
		u, err := adminapi.BaseURL("redis.listen", cfg.Redis.Listen)
		if err != nil {
			return nil, err
		}
		l.Redis = strings.TrimPrefix(u, "http://")
		l.RedisPassword = kept(secrets.RedisPassword())
	}
	l.FleetRedis = cfg.Fleet.RedisURL.Reveal()
	return l, nil
}

// upstreams are the URLs that the server calls in the modes that hold.
func upstreams(h config.Hooks) (out []doctor.Upstream) {
	add := func(used bool, key, url string) {
		if used && url != "" {
			out = append(out, doctor.Upstream{Key: key, URL: url})
		}
	}
	u := h.Upstream
	add(h.Authenticate.Mode == "upstream", "hooks.upstream.authenticate_url", u.AuthenticateURL)
	add(h.Authorize.Mode == "upstream", "hooks.upstream.authorize_url", u.AuthorizeURL)
	add(true, "hooks.upstream.validity_url", u.ValidityURL)
	add(h.Messages.Mode == "upstream", "hooks.upstream.messages_url", u.MessagesURL)
	add(h.Authenticate.Mode == "jwt", "hooks.authenticate.jwt.jwks_url", h.Authenticate.JWT.JWKSURL)
	return out
}
