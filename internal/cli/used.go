package cli

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// usedCommands are those about what is kept of Nodes for longer.
func usedCommands(with func(more ...cli.Flag) []cli.Flag) []*cli.Command {
	return []*cli.Command{
		{
			Name: "usage", Usage: "show what Nodes relayed in a month, or one Node in every month", ArgsUsage: "[NODE]",
			Flags: with(&cli.StringFlag{Name: "month", Usage: "show this `MONTH` of UTC, such as 2026-11", DefaultText: "the present one"},
				&cli.BoolFlag{Name: "csv", Usage: "print CSV", DisableDefaultText: true}), Action: used,
		},
		{
			Name: "forget", Usage: "delete what is kept of a Node: what it used, and what happened to it; a ban stays", ArgsUsage: "NODE",
			Flags: with(), Action: forget,
		},
	}
}

func used(c *cli.Context) error {
	if c.Bool("csv") && c.Bool("json") {
		return fmt.Errorf("%w: either --csv or --json", errUsage)
	}
	if c.NArg() > 0 {
		return usedByNode(c)
	}
	month := c.String("month")
	if _, err := time.Parse("2006-01", month); err != nil && c.IsSet("month") {
		return fmt.Errorf("%w: --month must be like 2026-11, not %q", errUsage, month)
	}
	most := limit(c)
	if c.Bool("csv") {
		most = 0
	}
	return ask(c, func(ctx context.Context, client *adminapi.Client) error {
		u, err := client.Usage(ctx, month, most)
		switch {
		case err != nil || c.Bool("json"):
			return printJSON(c, u, err)
		case c.Bool("csv"):
			return csvOf(c.App.Writer, u.Month, u.Nodes)
		}
		return printUsage(c.App.Writer, u)
	})
}

func usedByNode(c *cli.Context) error {
	node, err := nodeArg(c)
	if err != nil {
		return err
	}
	if c.IsSet("month") {
		return fmt.Errorf("%w: usage of one Node shows every month: leave out --month", errUsage)
	}
	return ask(c, func(ctx context.Context, client *adminapi.Client) error {
		u, err := client.UsageOf(ctx, node)
		err = ofNode(node, err)
		switch {
		case err != nil || c.Bool("json"):
			return printJSON(c, u, err)
		case c.Bool("csv"):
			return csvOfNode(c.App.Writer, u)
		}
		t := terminal.NewTable(c.App.Writer, append([]string{"MONTH"}, usedHeads...)...)
		for _, m := range u.Months {
			t.Line(append([]string{m.Month}, usedCells(m.UsageRecord)...)...)
		}
		return t.Flush()
	})
}

var usedHeads = []string{"SENT", "RECEIVED", "BOTH", "RELAYING FOR", "ALLOCATIONS", "MESSAGES"}

func usedCells(u adminapi.UsageRecord) []string {
	return []string{
		bytesText(u.In), bytesText(u.Out), bytesText(u.Bytes()), rough(time.Duration(u.Seconds * float64(time.Second))),
		strconv.FormatUint(u.Allocations, 10), strconv.FormatUint(u.Messages, 10),
	}
}

// printUsage writes a month: a table of Nodes that begins with their sum.
func printUsage(w io.Writer, u adminapi.UsageMonth) error {
	if len(u.Nodes) == 0 && u.Sum == (adminapi.UsageRecord{}) {
		_, err := fmt.Fprintf(w, "nothing was used in %s\n", terminal.Printable(u.Month))
		return err
	}
	t := terminal.NewTable(w, append([]string{u.Month}, usedHeads...)...)
	t.Line(append([]string{"all Nodes"}, usedCells(u.Sum)...)...)
	for _, n := range u.Nodes {
		t.Line(append([]string{n.Node}, usedCells(n.UsageRecord)...)...)
	}
	return end(w, t, len(u.Nodes), u.Total)
}

func csvOf(w io.Writer, month string, nodes []adminapi.UsageLine) error {
	out := csv.NewWriter(w)
	rows := [][]string{csvHeads}
	for _, n := range nodes {
		rows = append(rows, csvRow(month, n.Node, n.UsageRecord))
	}
	return out.WriteAll(rows)
}

func csvOfNode(w io.Writer, u adminapi.UsageOfNode) error {
	out := csv.NewWriter(w)
	rows := [][]string{csvHeads}
	for _, m := range u.Months {
		rows = append(rows, csvRow(m.Month, u.Node, m.UsageRecord))
	}
	return out.WriteAll(rows)
}

var csvHeads = []string{"month", "node", "wire_bytes_in", "wire_bytes_out", "seconds", "allocations", "messages"}

func csvRow(month, node string, u adminapi.UsageRecord) []string {
	return []string{
		month, inert(node), strconv.FormatUint(u.In, 10), strconv.FormatUint(u.Out, 10), strconv.FormatFloat(u.Seconds, 'f', 3, 64),
		strconv.FormatUint(u.Allocations, 10), strconv.FormatUint(u.Messages, 10),
	}
}

// inert puts an apostrophe before an id that a spreadsheet would take for a formula: strangers choose ids.
func inert(node string) string {
	if strings.HasPrefix(node, "'") || strings.ContainsAny(node[:min(1, len(node))], "=+-@\t\r") {
		return "'" + node
	}
	return node
}

func forget(c *cli.Context) error {
	node, err := nodeArg(c)
	if err != nil {
		return err
	}
	return ask(c, func(ctx context.Context, client *adminapi.Client) error {
		err := ofNode(node, client.Forget(ctx, node))
		if err != nil || c.Bool("json") {
			return printJSON(c, map[string]string{"forgotten": node}, err)
		}
		_, err = fmt.Fprintf(c.App.Writer, "deleted what was kept of %s\n", terminal.Printable(node))
		return err
	})
}
