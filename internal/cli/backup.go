package cli

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/datadir"
	"github.com/crolang-p2p/crolang-aio/internal/plural"
	"github.com/crolang-p2p/crolang-aio/internal/version"
)

// backupCommands keep a copy of data_dir and bring it back, on the machine itself: they go by no listener.
func backupCommands(config cli.Flag) []*cli.Command {
	return []*cli.Command{
		{Name: "backup", Usage: "copy data_dir into a new file, while the server runs or not", ArgsUsage: "FILE", Flags: []cli.Flag{config}, Action: backup},
		{Name: "restore", Usage: "bring a backup back into an empty data_dir", ArgsUsage: "FILE", Flags: []cli.Flag{config}, Action: restore},
	}
}

// fileArg is the one argument of a command about a file, with the configuration.
func fileArg(c *cli.Context) (string, *config.Config, error) {
	if c.NArg() != 1 || c.Args().First() == "" {
		return "", nil, fmt.Errorf("%w: %s takes one argument, the name of a file", errUsage, named(c))
	}
	cfg, err := load(c)
	return c.Args().First(), cfg, err
}

func backup(c *cli.Context) error {
	file, cfg, err := fileArg(c)
	if err != nil {
		return err
	}
	n, err := datadir.Backup(cfg.DataDir, file, version.Get().Version)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s of %s kept in %s: it has the server's secrets, so keep it as safe\n", plural.Of(n, "file"), cfg.DataDir, file)
	return err
}

func restore(c *cli.Context) error {
	file, cfg, err := fileArg(c)
	if err != nil {
		return err
	}
	m, err := datadir.Restore(cfg.DataDir, file)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(c.App.Writer, "%s brought back to %s, as crolang-aio %s had it on %s\n", plural.Of(m.Files, "file"), cfg.DataDir, m.Program,
		m.Made.Local().Format("2006-01-02 15:04:05"))
	return err
}
