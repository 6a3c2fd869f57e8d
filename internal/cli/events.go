package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// events prints the last event of each Node, the oldest first, and then, if asked, what happens, as a line each.
func events(c *cli.Context) error {
	client, err := adminClient(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	asked, cancel := context.WithTimeout(ctx, 30*time.Second)
	l, err := client.Nodes(asked, "", 0)
	cancel()
	if err != nil {
		return err
	}
	if err := each(lastEvents(l, c.String("node")), func(e nodes.Event) error { return printEvent(c, e) }); err != nil || !c.Bool("follow") {
		return err
	}
	return client.Follow(ctx, c.String("node"), func(e nodes.Event) error { return printEvent(c, e) })
}

func each(all []nodes.Event, f func(nodes.Event) error) error {
	for _, e := range all {
		if err := f(e); err != nil {
			return err
		}
	}
	return nil
}

// lastEvents are those of a list of Nodes, or of one of them, the oldest first.
func lastEvents(l adminapi.NodeList, only string) (all []nodes.Event) {
	for _, n := range l.Nodes {
		if n.LastEvent == nil || only != "" && n.Node != only {
			continue
		}
		e := *n.LastEvent
		e.Node = n.Node
		all = append(all, e)
	}
	slices.SortStableFunc(all, func(a, b nodes.Event) int { return a.Time.Compare(b.Time) })
	return all
}

// printEvent writes one as a line: with --json as an object.
func printEvent(c *cli.Context, e nodes.Event) error {
	if c.Bool("json") {
		var b, line bytes.Buffer
		if err := terminal.PrintJSON(&b, e); err != nil {
			return err
		}
		if err := json.Compact(&line, b.Bytes()); err != nil {
			return err
		}
		_, err := fmt.Fprintln(c.App.Writer, line.String())
		return err
	}
	failed := " "
	if e.Failed {
		failed = "!"
	}
	_, err := fmt.Fprintln(c.App.Writer, e.Time.Local().Format(time.DateTime), failed,
		terminal.Printable(strings.Join([]string{e.Node, string(e.Kind), e.Detail}, "  ")))
	return err
}
