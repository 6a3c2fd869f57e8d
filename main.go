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
		UsageText:       "crolang-aio COMMAND [options] [NODE]\ncrolang-aio COMMAND --help",
		OnUsageError: func(_ *cli.Context, err error, _ bool) error {
			return fmt.Errorf("%w: %s; options of a command stand behind it, see crolang-aio --help", errUsage, plain(err))
		},
		Action:   noCommand,
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

func commands() []*cli.Command {
	config := &cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "configuration `FILE` (TOML); without one the defaults hold", EnvVars: []string{configVariable}}
	json := &cli.BoolFlag{Name: "json", Usage: "print JSON", DisableDefaultText: true}
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
			Flags: []cli.Flag{config, json, &cli.GenericFlag{Name: "ttl", Usage: "`DURATION` that it lasts, such as 5m or 1d", Value: &span{}, DefaultText: "credentials.ttl"}}, Action: issueCredential,
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
