// Command crolang-aio is a STUN/TURN server, the webhooks of CrolangP2P Brokers, their certificates and, for
// development, their Redis, in one process.
//
// This file has the commands. app.go builds the parts and runs them; only this package knows the configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"
)

// version and commit are set by the build (-ldflags "-X main.version=…").
var (
	version = "dev"
	commit  = ""
)

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// errUsage marks mistakes in the command line itself.
var errUsage = errors.New("wrong usage")

func main() {
	os.Exit(code(os.Stderr, run(context.Background(), os.Args, os.Stdout, os.Stderr)))
}

// code prints an error, one line each, and says how the process ends.
func code(stderr io.Writer, err error) int {
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "crolang-aio: %v\n", err)
		return exitUsage
	}
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(stderr, "crolang-aio: %s\n", strings.TrimRight(line, "\n"))
	}
	return exitFailed
}

// run is the whole program but for the exit code. Data goes to stdout, logs and errors to stderr.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	app := &cli.App{
		Name:            "crolang-aio",
		Usage:           "TURN server, Broker webhooks, certificates and a development Redis in one process",
		HideVersion:     true,
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       stderr,
		ExitErrHandler:  func(*cli.Context, error) {},
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return fmt.Errorf("%w: %s; options of a command stand behind it, see crolang-aio --help", errUsage, plain(err))
		},
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return fmt.Errorf("%w: there is no command %q, see crolang-aio --help", errUsage, c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		Commands: commands(),
	}
	for _, c := range app.Commands {
		prepare(c)
	}
	return app.RunContext(ctx, reorder(app.Commands, familiar(args)))
}

// prepare gives a command and those below it what all have in common.
func prepare(c *cli.Command) {
	c.OnUsageError = usageError
	c.HideHelpCommand = true
	for _, sub := range c.Subcommands {
		prepare(sub)
	}
}

// oneDash finds the names of options in the library's messages, which have one dash.
var oneDash = regexp.MustCompile(`(defined: |argument: |for flag |for )-([a-z])`)

func usageError(_ *cli.Context, err error, _ bool) error {
	return fmt.Errorf("%w: %s, see crolang-aio --help", errUsage, plain(err))
}

// plain is the library's message about an option in this program's words.
func plain(err error) string {
	text := oneDash.ReplaceAllString(err.Error(), "$1--$2")
	if before, ok := strings.CutSuffix(text, ": parse error"); ok { // the only values that are parsed are times
		text = before + ": a time is written like 90s, 5m or 1h30m"
	}
	return text
}

func commands() []*cli.Command {
	config := &cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "configuration `FILE` (TOML)", EnvVars: []string{"CROLANG_AIO_CONFIG"}}
	json := &cli.BoolFlag{Name: "json", Usage: "print JSON"}
	return append([]*cli.Command{
		{
			Name: "serve", Usage: "run everything, in the foreground", Flags: []cli.Flag{config}, Action: noArgs(serve),
		},
		{
			Name: "config", Usage: "check or write a configuration", Action: needSubcommand,
			Subcommands: []*cli.Command{
				{Name: "check", Usage: "name every mistake of a configuration", Flags: []cli.Flag{config}, Action: noArgs(configCheck)},
				{Name: "init", Usage: "print a commented configuration with every default", Action: noArgs(configInit)},
			},
		},
		{
			Name: "credential", Usage: "print a TURN credential for a Node", ArgsUsage: "NODE",
			Flags: []cli.Flag{config, json, &cli.DurationFlag{Name: "ttl", Usage: "lifetime (default: credentials.ttl)"}}, Action: issueCredential,
		},
		{
			Name: "broker-env", Usage: "print the environment of a Broker container (docker run --env-file)",
			Flags: []cli.Flag{config, &cli.StringFlag{Name: "url", Usage: "base `URL` under which Brokers reach the webhooks"}}, Action: noArgs(brokerEnvCommand),
		},
		{
			Name: "token", Usage: "make a token for a Node", Action: needSubcommand, Subcommands: []*cli.Command{
				{Name: "new", Usage: "make a token and its line of the configuration", ArgsUsage: "NODE", Flags: []cli.Flag{json}, Action: newToken},
			},
		},
		{Name: "health", Usage: "exit with 0 where the running server is ready", Flags: []cli.Flag{config}, Action: noArgs(health)},
		doctorCommand(config, json),
		{Name: "version", Usage: "print version, commit and Go version", Flags: []cli.Flag{json}, Action: noArgs(printVersion)},
	}, adminCommands(config, json)...)
}

// noArgs refuses arguments that a command would otherwise ignore.
func noArgs(f cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		if c.NArg() > 0 {
			return fmt.Errorf("%w: %s takes no argument, got %q", errUsage, c.Command.Name, c.Args().First())
		}
		return f(c)
	}
}

// nodeArg is the one argument of a command about a Node.
func nodeArg(c *cli.Context) (string, error) {
	if c.NArg() != 1 || c.Args().First() == "" {
		return "", fmt.Errorf("%w: %s takes one argument, the id of a Node", errUsage, c.Command.Name)
	}
	return c.Args().First(), nil
}

func needSubcommand(c *cli.Context) error {
	var names []string
	for _, s := range c.Command.Subcommands {
		names = append(names, s.Name)
	}
	return fmt.Errorf("%w: %s needs one of: %s", errUsage, c.Command.Name, strings.Join(names, ", "))
}

// build describes this binary.
func build() (v, c, goVersion string) {
	v, c = version, commit
	if info, ok := debug.ReadBuildInfo(); ok {
		if v == "dev" && info.Main.Version != "" && info.Main.Version != "(devel)" {
			v = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && c == "" {
				c = s.Value
			}
		}
	}
	if c == "" {
		c = "unknown"
	}
	return v, c, runtime.Version()
}
