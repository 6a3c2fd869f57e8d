package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/audit"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// listAudit prints who changed what, the newest first.
func listAudit(c *cli.Context) error {
	back, err := durationOf(c, "since")
	if err != nil {
		return err
	}
	if c.IsSet("since") && back <= 0 {
		return fmt.Errorf("%w: --since must be above 0, such as 1h or 7d; leave it out for all that is kept", errUsage)
	}
	var since time.Time
	if back > 0 {
		since = time.Now().Add(-back)
	}
	return ask(c, func(ctx context.Context, client *adminapi.Client) error {
		page, err := client.Audit(ctx, since, limit(c))
		if err != nil || c.Bool("json") {
			return printJSON(c, page, err)
		}
		return printAudit(c.App.Writer, page)
	})
}

func printAudit(w io.Writer, page adminapi.AuditPage) error {
	if len(page.Entries) == 0 {
		_, err := fmt.Fprintln(w, "nothing was changed")
		return err
	}
	t := terminal.NewTable(w, "TIME (UTC)", "WHAT", "NODE", "BY", "FROM", "RESULT")
	for _, e := range page.Entries {
		t.Line(e.Time.UTC().Format(time.DateTime), string(e.What), orDash(e.Node), changedBy(e), orDash(e.From), cameOf(e))
	}
	if err := t.Flush(); err != nil || !page.More {
		return err
	}
	_, err := fmt.Fprintf(w, "these are the newest %d: --json has all, --since fewer\n", len(page.Entries))
	return err
}

// changedBy is who it was, and through what.
func changedBy(e audit.Entry) string {
	if e.Via == "" {
		return e.By
	}
	return e.By + ", " + e.Via
}

// cameOf is what came of a change.
func cameOf(e audit.Entry) string {
	result := "done"
	if e.Refused != "" {
		result = "refused: " + e.Refused
	}
	var more []string
	for _, text := range []string{e.Detail, e.Reason} {
		if text != "" {
			more = append(more, text)
		}
	}
	if len(more) > 0 {
		result += " (" + strings.Join(more, ": ") + ")"
	}
	return result
}
