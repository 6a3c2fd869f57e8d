package cli

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/plural"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// listFleet prints the machines of the fleet as the running server knows them.
func listFleet(c *cli.Context) error {
	return ask(c, func(ctx context.Context, client *adminapi.Client) error {
		f, err := client.Fleet(ctx)
		if err != nil || c.Bool("json") {
			return printJSON(c, f, err)
		}
		return printFleet(c.App.Writer, f)
	})
}

// printFleet writes a table of machines; that which was asked has a star.
func printFleet(w io.Writer, f adminapi.Fleet) error {
	t := terminal.NewTable(w, "MACHINE", "REGION", "STATE", "HEARD", "ALLOCATIONS", "FREE PORTS", "MBIT/S", "CPU", "NODES", "BANS", "VERSION", "DIFFERS")
	for _, m := range f.Machines {
		name, heard := m.Name, m.Heard().Round(100*time.Millisecond).String()+" ago"
		if m.Here {
			name, heard = name+" *", "-"
		}
		allocations := strconv.Itoa(m.Allocations)
		if m.Limit > 0 {
			allocations += " of " + strconv.Itoa(m.Limit)
		}
		t.Line(name, orDash(m.Region), m.State, heard, allocations, strconv.Itoa(m.FreePorts), fmt.Sprintf("%.1f", float64(m.BitsPerSecond)/1e6),
			fmt.Sprintf("%.0f %%", 100*m.CPU), strconv.Itoa(m.Nodes), strconv.Itoa(m.Bans), m.Version, orDash(strings.Join(m.Differs, ", ")))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if f.Redis != "" {
		if _, err := fmt.Fprintf(w, "Redis cannot be used: %s\n", terminal.Printable(f.Redis)); err != nil {
			return err
		}
	}
	if f.Unshared > 0 {
		_, err := fmt.Fprintf(w, "not shared yet: %s or liftings of bans\n", plural.Of(f.Unshared, "ban"))
		return err
	}
	return nil
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// spreadText says how far a ban has come in the fleet.
func spreadText(s *adminapi.Spread) string {
	if s == nil {
		return ""
	}
	text := "; in force on " + plural.Of(s.Machines, "machine")
	if len(s.Silent) > 0 {
		text += ", no answer yet from " + terminal.Printable(strings.Join(s.Silent, ", "))
	}
	if !s.Shared {
		text += ", not shared yet: Redis does not take it"
	}
	return text
}
