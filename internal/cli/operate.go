package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/app"
	"github.com/crolang-p2p/crolang-aio/internal/datadir"
	"github.com/crolang-p2p/crolang-aio/internal/plural"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// listLimit is how many rows the listing commands show on a terminal; --json shows all.
const listLimit = 200

// adminCommands are those that ask a running server through its admin API.
func adminCommands(config, json cli.Flag) []*cli.Command {
	with := func(more ...cli.Flag) []cli.Flag { return append([]cli.Flag{config, json}, more...) }
	return append([]*cli.Command{
		{Name: "nodes", Usage: "list the known Nodes, with the traffic of their live allocations", Flags: with(), Action: noArgs(listNodes)},
		{
			Name: "allocations", Usage: "list the live allocations, or close one",
			Flags: with(&cli.StringFlag{Name: "sort", Usage: "order by `newest|traffic|drops`, most traffic or drops first", Value: "newest"},
				&cli.StringFlag{Name: "close", Usage: "close the allocation with this `ID`"}), Action: noArgs(listAllocations),
		},
		{
			Name: "why", Usage: "show what happened to a Node, and why", ArgsUsage: "NODE",
			Flags: with(&cli.StringFlag{Name: "with", Usage: "show how far its connection with the Node `OTHER` got"}), Action: why,
		},
		{
			Name: "events", Usage: "print what has happened, and with --follow what happens",
			Flags: with(durationFlag("since", "how far back, at most 24h, as a `DURATION`", "24h", ""), &cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "do not end: print what happens as it does", DisableDefaultText: true},
				&cli.StringFlag{Name: "node", Usage: "only of this `NODE`"}), Action: noArgs(events),
		},
		{
			Name: "test-link", Usage: "make a link with which a Node's person tests the connection in a browser, once", ArgsUsage: "NODE",
			Flags: with(&cli.StringFlag{Name: "url", Usage: "`URL` at which a proxy shows the dashboard's pages"}), Action: testLink,
		},
		{Name: "fleet", Usage: "list the machines that share a Redis with this one, and their load", Flags: with(), Action: noArgs(listFleet)},
		{Name: "bans", Usage: "list the bans", Flags: with(), Action: noArgs(listBans)},
		{
			Name: "ban", Usage: "ban a Node and end its relays; replaces the duration and reason of an earlier ban", ArgsUsage: "NODE",
			Flags: with(durationFlag("for", "`DURATION`, such as 1h or 7d", "", "until unban"),
				&cli.StringFlag{Name: "reason", Usage: "`TEXT` for the record"}), Action: ban,
		},
		{Name: "unban", Usage: "let a banned Node in again", ArgsUsage: "NODE", Flags: with(), Action: unban},
		{
			Name: "audit", Usage: "list who changed what on the server: bans, reloads, drains and the like",
			Flags: with(durationFlag("since", "how far back, as a `DURATION`, such as 7d", "", "as far as it is kept")), Action: noArgs(listAudit),
		},
		{
			Name: "drain", Usage: "take no new allocations, and exit when the live ones have ended or drain_timeout has passed",
			Flags: with(&cli.BoolFlag{Name: "wait", Usage: "return when the server has exited", DisableDefaultText: true}), Action: noArgs(drain),
		},
	}, usedCommands(with)...)
}

// ask calls the running server with half a minute's patience.
func ask(c *cli.Context, f func(ctx context.Context, client *adminapi.Client) error) error {
	client, err := adminClient(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(c.Context, 30*time.Second)
	defer cancel()
	return f(ctx, client)
}

func limit(c *cli.Context) int {
	if c.Bool("json") {
		return 0
	}
	return listLimit
}

func listNodes(c *cli.Context) error {
	return ask(c, func(ctx context.Context, client *adminapi.Client) error {
		l, err := client.Nodes(ctx, "", limit(c))
		if err != nil || c.Bool("json") {
			return printJSON(c, l, err)
		}
		return printNodes(c.App.Writer, time.Now(), l)
	})
}

func listAllocations(c *cli.Context) error {
	if sort := c.String("sort"); !slices.Contains([]string{"newest", "traffic", "drops"}, sort) {
		return fmt.Errorf("%w: --sort must be newest, traffic or drops, not %q", errUsage, sort)
	}
	return ask(c, func(ctx context.Context, client *adminapi.Client) error {
		if c.IsSet("close") {
			return closeAllocation(ctx, c, client)
		}
		l, err := client.Allocations(ctx, "", c.String("sort"), limit(c))
		if err != nil || c.Bool("json") {
			return printJSON(c, l, err)
		}
		return printAllocations(c.App.Writer, time.Now(), l)
	})
}

func closeAllocation(ctx context.Context, c *cli.Context, client *adminapi.Client) error {
	id := c.String("close")
	if id == "" {
		return fmt.Errorf("%w: --close needs the ID of an allocation", errUsage)
	}
	err := client.CloseAllocation(ctx, id)
	switch {
	case errors.Is(err, adminapi.ErrNotFound):
		return fmt.Errorf("%q: %w", id, err)
	case err != nil || c.Bool("json"):
		return printJSON(c, map[string]string{"closed": id}, err)
	}
	_, err = fmt.Fprintf(c.App.Writer, "closed allocation %s\n", terminal.Printable(id))
	return err
}

func listBans(c *cli.Context) error {
	return ask(c, func(ctx context.Context, client *adminapi.Client) error {
		l, err := client.Bans(ctx, limit(c))
		if err != nil || c.Bool("json") {
			return printJSON(c, l, err)
		}
		return printBans(c.App.Writer, time.Now(), l)
	})
}

func why(c *cli.Context) error {
	node, err := nodeArg(c)
	if err != nil {
		return err
	}
	return ask(c, func(ctx context.Context, client *adminapi.Client) error {
		if c.IsSet("with") {
			return whyWith(ctx, c, client, node, c.String("with"))
		}
		n, err := client.Node(ctx, node)
		if err = ofNode(node, err); err != nil || c.Bool("json") {
			return printJSON(c, n, err)
		}
		return printNode(c.App.Writer, time.Now(), n)
	})
}

func ban(c *cli.Context) error {
	node, err := nodeArg(c)
	if err != nil {
		return err
	}
	lasts, err := durationOf(c, "for")
	if err != nil {
		return err
	}
	if c.IsSet("for") && lasts <= 0 {
		return fmt.Errorf("%w: --for must be above 0, such as 1h or 7d; leave it out to ban until unban", errUsage)
	}
	return ask(c, func(ctx context.Context, client *adminapi.Client) error {
		a, err := client.Ban(ctx, adminapi.BanRequest{Node: node, Reason: c.String("reason"), For: c.String("for")})
		if err != nil || c.Bool("json") {
			return printJSON(c, a, err)
		}
		lasting := ""
		if lasts > 0 {
			lasting = " for " + terminal.Printable(c.String("for"))
		}
		if a.Replaced {
			lasting += ", in place of the earlier ban"
		}
		kept := ""
		if !a.Kept {
			kept = "; it is not on the disk, and a restart would lose it: make room in data_dir"
		}
		ended := ""
		if a.Cut {
			ended = ", and its connection to the Broker"
		}
		_, err = fmt.Fprintf(c.App.Writer, "banned %s%s; %s closed%s%s%s\n", terminal.Printable(a.Node), lasting,
			plural.Of(a.Closed, "live allocation"), ended, spreadText(a.Fleet), kept)
		return err
	})
}

func unban(c *cli.Context) error {
	node, err := nodeArg(c)
	if err != nil {
		return err
	}
	return ask(c, func(ctx context.Context, client *adminapi.Client) error {
		err := ofNode(node, client.Unban(ctx, node))
		if err != nil || c.Bool("json") {
			return printJSON(c, map[string]string{"node": node}, err)
		}
		_, err = fmt.Fprintf(c.App.Writer, "lifted the ban of %s\n", terminal.Printable(node))
		return err
	})
}

// ofNode names the Node in an answer that only says "this Node".
func ofNode(node string, err error) error {
	if errors.Is(err, adminapi.ErrNotFound) {
		return fmt.Errorf("%q: %w", node, err)
	}
	return err
}

func drain(c *cli.Context) error {
	client, err := adminClient(c)
	if err != nil {
		return err
	}
	before, err := client.Status(c.Context)
	if err != nil {
		return err
	}
	d, err := client.Drain(c.Context)
	if err != nil || c.Bool("json") {
		err = printJSON(c, d, err)
	} else {
		_, err = fmt.Fprintf(c.App.Writer, "draining: %s, for at most %.0f s\n", plural.Of(d.Allocations, "live allocation"), math.Ceil(d.SecondsLeft))
	}
	if err != nil || !c.Bool("wait") {
		return err
	}
	return awaitEnd(c.Context, client, before.Started, d)
}

// errNotEnded is what drain --wait gives up with.
var errNotEnded = errors.New("the server has not ended in its time: look at its log")

// awaitEnd waits until the server that was started then has ended, for as long as it says that it needs. Another may have
// taken its place.
func awaitEnd(ctx context.Context, client *adminapi.Client, started time.Time, d adminapi.Drain) error {
	within := func(d adminapi.Drain) time.Time {
		return time.Now().Add(time.Duration(min(max(d.SecondsLeft, 0), math.MaxInt32)*float64(time.Second)) + app.StopWithin)
	}
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for end := within(d); ; {
		step, cancel := context.WithTimeout(ctx, 5*time.Second)
		now, err := client.Status(step)
		silent := step.Err() != nil
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, adminapi.ErrUnreachable) && !silent, errors.Is(err, adminapi.ErrStranger), err == nil && !now.Started.Equal(started):
			return nil
		case errors.Is(err, adminapi.ErrUnauthorized):
			return err
		case err == nil && now.Drain != nil && now.Drain.SecondsLeft > 0:
			end = within(*now.Drain)
		case time.Now().After(end):
			return errNotEnded
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func printJSON(c *cli.Context, v any, err error) error {
	if err != nil {
		return err
	}
	return terminal.PrintJSON(c.App.Writer, v)
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
	file, err := configFile(c)
	if err != nil {
		return nil, err
	}
	return clientOf(file)
}

// clientOf is [adminClient] for the configuration in a file; empty: none.
func clientOf(file string) (*adminapi.Client, error) {
	cfg, err := app.Load(file)
	if err != nil {
		return nil, err
	}
	token, err := app.SecretsOf(cfg).AdminToken()
	if err != nil && !errors.Is(err, datadir.ErrMissing) { // where serve never ran, the client says so better
		return nil, err
	}
	_, client, err := app.AdminClient(cfg, token)
	return client, err
}
