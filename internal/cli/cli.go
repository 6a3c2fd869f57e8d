// Package cli has the commands of crolang-aio and what they print.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// The exit codes.
const (
	exitFailed = 1
	exitUsage  = 2
)

// errUsage marks mistakes in the command line itself.
var errUsage = errors.New("wrong usage")

// Main runs the command that args name, the program's own name first, and returns the exit code: 0 done, 1 failed, 2 wrong
// usage. Data goes to stdout, logs and errors to stderr.
func Main(args []string, stdout, stderr io.Writer) int {
	return code(stderr, run(context.Background(), args, stdout, stderr))
}

// code prints an error, a line each if it joins several, and returns the exit code for it.
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

// run is Main but for the exit code.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	app := &cli.App{
		Name:            "crolang-aio",
		Usage:           summary,
		HideVersion:     true,
		HideHelpCommand: true,
		Writer:          stdout,
		ErrWriter:       stderr,
		ExitErrHandler:  func(*cli.Context, error) {},
		UsageText:       "crolang-aio COMMAND [options] [NODE]\ncrolang-aio COMMAND --help",
		OnUsageError:    usageError,
		Action:          noCommand,
		Commands:        Commands(),
	}
	for _, c := range app.Commands {
		prepare(c)
	}
	if len(args) > 1 && args[1] == completeName {
		complete(ctx, stdout, app.Commands, args[2:])
		return nil
	}
	arranged, err := arrange(app.Commands, args)
	if err != nil {
		return err
	}
	return app.RunContext(ctx, arranged)
}

// prepare gives a command and those below it what all have in common.
func prepare(c *cli.Command) {
	c.OnUsageError = usageError
	c.HideHelpCommand = true
	for _, sub := range c.Subcommands {
		prepare(sub)
	}
}

// Commands are the commands of the program, for it and for what holds the documentation to them.
func Commands() []*cli.Command {
	config := &cli.StringFlag{Name: "config", Aliases: []string{"c"}, Usage: "configuration `FILE` (TOML); the defaults apply without one", EnvVars: []string{configVariable}}
	json := &cli.BoolFlag{Name: "json", Usage: "print JSON", DisableDefaultText: true}
	return slices.Concat([]*cli.Command{
		{
			Name: "serve", Usage: "run everything, in the foreground", Flags: []cli.Flag{config}, Action: noArgs(serve),
		},
		{
			Name: "config", Usage: "check, write or explain a configuration", Action: needSubcommand,
			Subcommands: []*cli.Command{
				{Name: "check", Usage: "report every mistake in a configuration", Flags: []cli.Flag{config}, Action: noArgs(configCheck)},
				{Name: "init", Usage: "print a commented configuration with every default", Action: noArgs(configInit)},
				{Name: "get", Usage: "print the value that holds for a key", ArgsUsage: "KEY", Flags: []cli.Flag{config, json}, Action: configGet},
				{Name: "explain", Usage: "print what a key does, its value, and where that comes from", ArgsUsage: "KEY", Flags: []cli.Flag{config}, Action: configExplain},
			},
		},
		{
			Name: "credential", Usage: "print a TURN credential for a Node", ArgsUsage: "NODE",
			Flags: []cli.Flag{config, json, durationFlag("ttl", "`DURATION` for which it is valid, such as 5m or 1d", "", "credentials.ttl")}, Action: issueCredential,
		},
		{
			Name: "broker-env", Usage: "print the environment of a Broker container (docker run --env-file)",
			Flags: []cli.Flag{config, &cli.StringFlag{Name: "url", Usage: "base `URL` at which Brokers reach the webhooks"}}, Action: noArgs(brokerEnvCommand),
		},
		{
			Name: "token", Usage: "make a token for a Node", Action: needSubcommand, Subcommands: []*cli.Command{
				{Name: "new", Usage: "make a token and its line for the configuration", ArgsUsage: "NODE", Flags: []cli.Flag{json}, Action: newToken},
			},
		},
		{Name: "health", Usage: "exit with 0 if the running server is ready", Flags: []cli.Flag{config}, Action: noArgs(health)},
		doctorCommand(config, json),
		{Name: "version", Usage: "print version, commit and Go version", Flags: []cli.Flag{json}, Action: noArgs(printVersion)},
	}, adminCommands(config, json), backupCommands(config), shellCommands())
}
