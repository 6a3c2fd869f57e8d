package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/duration"
	"github.com/crolang-p2p/crolang-aio/internal/nearest"
)

// usageError is the library's word on the options of a command, which arrange has already checked.
func usageError(c *cli.Context, err error, _ bool) error {
	return fmt.Errorf("%w: %w, see crolang-aio %s --help", errUsage, err, named(c))
}

// noCommand is what the program answers to a command that it does not have.
func noCommand(c *cli.Context) error {
	if c.NArg() == 0 {
		return cli.ShowAppHelp(c)
	}
	var names []string
	for _, known := range c.App.Commands {
		names = append(names, known.Name)
	}
	name := c.Args().First()
	if meant := nearest.Of(name, names); meant != "" {
		return fmt.Errorf("%w: there is no command %q; did you mean %s?", errUsage, name, meant)
	}
	return fmt.Errorf("%w: there is no command %q, see crolang-aio --help", errUsage, name)
}

// named is a command's name with those of the commands above it.
func named(c *cli.Context) string { return strings.TrimPrefix(c.Command.HelpName, c.App.Name+" ") }

// noArgs refuses arguments that a command would otherwise ignore.
func noArgs(f cli.ActionFunc) cli.ActionFunc {
	return func(c *cli.Context) error {
		arg := c.Args().First()
		switch {
		case c.NArg() == 0:
			return f(c)
		case strings.HasSuffix(arg, ".toml"):
			return fmt.Errorf("%w: %s takes no argument, got %q: a configuration is given as --config FILE", errUsage, named(c), arg)
		}
		return fmt.Errorf("%w: %s takes no argument, got %q", errUsage, named(c), arg)
	}
}

// nodeArg is the one argument of a command about a Node.
func nodeArg(c *cli.Context) (string, error) {
	if c.NArg() != 1 || c.Args().First() == "" {
		return "", fmt.Errorf("%w: %s takes one argument, the id of a Node", errUsage, named(c))
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

// configVariable names the configuration where no option does.
const configVariable = "CROLANG_AIO_CONFIG"

// configFile is the configuration that the command line names; empty: none. An empty option is a mistake, such as a
// variable of a script that is not set, but the empty variable of a container is none.
func configFile(c *cli.Context) (string, error) {
	file := c.String("config")
	value, set := os.LookupEnv(configVariable)
	if err := config.CheckVariable(value); err != nil && file == value {
		return "", fmt.Errorf("%s: %w", configVariable, err)
	}
	if file == "" && c.IsSet("config") && (!set || value != "") {
		return "", fmt.Errorf("%w: --config is empty: name a file, or leave it out for the defaults", errUsage)
	}
	return file, nil
}

// durationFlag is an option with a duration, written as in the configuration.
func durationFlag(name, usage, value, otherwise string) cli.Flag {
	return &cli.StringFlag{Name: name, Usage: usage, Value: value, DefaultText: otherwise}
}

// durationOf returns the value of an option made by durationFlag, and 0 if it was not given and has no default.
func durationOf(c *cli.Context, name string) (time.Duration, error) {
	text := c.String(name)
	if text == "" && !c.IsSet(name) {
		return 0, nil
	}
	d, err := duration.Parse(text)
	if err != nil {
		return 0, fmt.Errorf("%w: %s %w, not %q, see crolang-aio %s --help", errUsage, dashed(name), err, text, named(c))
	}
	return d, nil
}
