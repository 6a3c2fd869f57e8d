package cli

import (
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/app"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// keyArg is the one argument of a command about a key of the configuration, with the configuration and what sets its keys.
func keyArg(c *cli.Context) (k config.Key, cfg *config.Config, sources map[string]string, err error) {
	if c.NArg() != 1 {
		return k, nil, nil, fmt.Errorf("%w: %s takes one argument, the name of a key such as turn.listen", errUsage, named(c))
	}
	if k, err = config.Find(c.Args().First()); err != nil {
		return k, nil, nil, fmt.Errorf("%w: %w", errUsage, err)
	}
	file, err := configFile(c)
	if err != nil {
		return k, nil, nil, err
	}
	sources = map[string]string{}
	cfg, err = app.Load(file, config.WithSources(sources))
	return k, cfg, sources, err
}

// configGet prints the value that holds for a key: a secret as set or not.
func configGet(c *cli.Context) error {
	k, cfg, _, err := keyArg(c)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return terminal.PrintJSON(c.App.Writer, k.Value(cfg))
	}
	text, err := k.Text(cfg)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.App.Writer, terminal.Printable(text))
	return err
}

// configExplain prints all that there is to say about a key.
func configExplain(c *cli.Context) error {
	k, cfg, sources, err := keyArg(c)
	if err != nil {
		return err
	}
	text, err := k.Text(cfg)
	if err != nil {
		return err
	}
	source := sources[k.Name]
	if source == "" {
		source = "the default"
	}
	t := terminal.NewTable(c.App.Writer)
	t.Line("key", k.Name)
	t.Line("type", k.Type)
	t.Line("default", k.Default)
	if k.Example != "" {
		t.Line("example", k.Example)
	}
	t.Line("value", strconv.Quote(text), "from "+source)
	t.Line("variable", k.Env)
	if k.EnvFile != "" {
		t.Line("", k.EnvFile, "names a file with it")
	}
	if k.Restart {
		t.Line("changes", "at a restart")
	} else {
		t.Line("changes", "at a reload")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "\n%s\n", k.Doc)
	return err
}
