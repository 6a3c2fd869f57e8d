package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// testLink prints a link for one test; what it finds is in `why`.
func testLink(c *cli.Context) error {
	node, err := nodeArg(c)
	if err != nil {
		return err
	}
	return ask(c, func(ctx context.Context, client *adminapi.Client) error {
		l, err := client.TestLink(ctx, node, c.String("url"))
		if err != nil || c.Bool("json") {
			return printJSON(c, l, err)
		}
		_, err = fmt.Fprintf(c.App.Writer, "%s\nfor one test until %s; the result will be in: crolang-aio why %s\n", terminal.Printable(l.URL),
			l.Expires.Local().Format(time.TimeOnly), terminal.Printable(l.Node))
		return err
	})
}
