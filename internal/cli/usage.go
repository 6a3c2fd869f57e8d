package cli

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/duration"
	"github.com/crolang-p2p/crolang-aio/internal/nearest"
)

// The library's messages about options.
var (
	noSuchOption = regexp.MustCompile(`^flag provided but not defined: -+(.*)$`)
	noValue      = regexp.MustCompile(`^flag needs an argument: -+(.*)$`)
	badValue     = regexp.MustCompile(`(?s)^invalid value ".*" for flag -+([a-z-]+): (.*)$`)
	badBool      = regexp.MustCompile(`(?s)^invalid boolean value (".*") for -+([a-z-]+): `)
)

// usageError is the library's message about an option of a command in this program's words.
func usageError(c *cli.Context, err error, _ bool) error {
	var names []string
	for _, f := range c.Command.Flags {
		names = append(names, f.Names()...)
	}
	if m := noSuchOption.FindStringSubmatch(err.Error()); m != nil && len(m[1]) > 1 {
		if meant := nearest.Of(m[1], names); meant != "" {
			return fmt.Errorf("%w: there is no option %s; did you mean %s?", errUsage, dashed(m[1]), dashed(meant))
		}
	}
	return fmt.Errorf("%w: %s, see crolang-aio %s --help", errUsage, plain(err), named(c))
}

func plain(err error) string {
	text := err.Error()
	switch {
	case noSuchOption.MatchString(text):
		text = "there is no option " + dashed(noSuchOption.FindStringSubmatch(text)[1])
	case noValue.MatchString(text):
		text = dashed(noValue.FindStringSubmatch(text)[1]) + " needs a value"
	case badBool.MatchString(text):
		m := badBool.FindStringSubmatch(text)
		text = fmt.Sprintf("%s takes no value, got %s", dashed(m[2]), m[1])
	case badValue.MatchString(text):
		m := badValue.FindStringSubmatch(text)
		text = dashed(m[1]) + " " + m[2]
	}
	return text
}

func dashed(option string) string {
	if len(option) == 1 {
		return "-" + option
	}
	return "--" + option
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

// span is a time on the command line, written as in the configuration.
type span struct {
	time.Duration
	text string // as it was written
}

// Set is for the library, and called for each time that the option is given.
func (s *span) Set(text string) error {
	d, err := duration.Parse(text)
	if err != nil {
		return fmt.Errorf("%w, not %q", err, text)
	}
	s.Duration, s.text = d, text
	return nil
}

func (s *span) String() string { return s.text }

// spanOf is the option's value; 0 where it is not given.
func spanOf(c *cli.Context, name string) span {
	if s, ok := c.Generic(name).(*span); ok {
		return *s
	}
	return span{}
}
