package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/signal"
	"slices"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/internal/duration"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// events prints what has happened, the oldest first, and then, if asked, what happens, as a line each.
func events(c *cli.Context) error {
	since, err := durationOf(c, "since")
	if err != nil {
		return err
	}
	if since <= 0 || since > duration.Day {
		return fmt.Errorf("%w: --since must be above 0 and at most 24h: why-records reach no further back", errUsage)
	}
	client, err := adminClient(c)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	recent, err := client.Recent(ctx, c.String("node"), since)
	if err != nil {
		return err
	}
	slices.Reverse(recent.Events)
	p := eventPrinter{c: c, node: minNode}
	for _, e := range recent.Events {
		p.fit(e)
	}
	for _, e := range recent.Events {
		if err := p.print(e); err != nil {
			return err
		}
	}
	if !c.Bool("follow") {
		if len(recent.Events) == 0 && !c.Bool("json") {
			_, err = fmt.Fprintf(c.App.Writer, "nothing has happened in the last %s\n", duration.Format(since))
		}
		return err
	}
	return client.Follow(ctx, c.String("node"), p.print)
}

// Columns of a list of events, in characters. A longer name of a Node moves what follows it.
const (
	minNode, maxNode = 12, 32
	kindWidth        = len("allocation-ended")
)

// eventPrinter writes events as lines with columns, or as JSON.
type eventPrinter struct {
	c    *cli.Context
	node int // width of the column
}

// subject is whom an event is about.
func subject(e nodes.Event) string {
	if e.Node == "" {
		return "(the server)"
	}
	return terminal.Printable(e.Node)
}

// fit widens the column for the Node of an event.
func (p *eventPrinter) fit(e nodes.Event) {
	p.node = max(p.node, min(maxNode, utf8.RuneCountInString(subject(e))))
}

func (p *eventPrinter) print(e nodes.Event) error {
	if p.c.Bool("json") {
		var b, line bytes.Buffer
		if err := terminal.PrintJSON(&b, e); err != nil {
			return err
		}
		if err := json.Compact(&line, b.Bytes()); err != nil {
			return err
		}
		_, err := fmt.Fprintln(p.c.App.Writer, line.String())
		return err
	}
	p.fit(e)
	failed := " "
	if e.Failed {
		failed = "!"
	}
	what := terminal.Printable(e.Detail)
	if e.Count > 1 {
		what += fmt.Sprintf(" (%d times)", e.Count)
	}
	_, err := fmt.Fprintf(p.c.App.Writer, "%s %s %-*s  %-*s  %s\n", e.Time.Local().Format(time.DateTime), failed, p.node, subject(e), kindWidth, string(e.Kind), what)
	return err
}
