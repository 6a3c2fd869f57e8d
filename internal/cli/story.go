package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/plural"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// whyWith tells how far a connection of two Nodes has come.
func whyWith(ctx context.Context, c *cli.Context, client *adminapi.Client, node, with string) error {
	s, err := client.Story(ctx, node, with)
	if err != nil || c.Bool("json") {
		return printJSON(c, s, err)
	}
	return printStory(c.App.Writer, time.Now(), s)
}

// marks are how steps stand, for a terminal without colours too.
var marks = map[adminapi.StepState]string{adminapi.StepDone: "yes", adminapi.StepMissing: "-", adminapi.StepFailed: "NO"}

func printStory(w io.Writer, now time.Time, s adminapi.Story) error {
	t := terminal.NewTable(w, "STEP", "CAME", "WHAT")
	for _, step := range s.Steps {
		t.Line(step.Name, marks[step.State], step.Detail)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	end := "\n" + s.Conclusion + "\n"
	if s.Messages > 0 {
		end += fmt.Sprintf("%d messages through the Broker, %s\n", s.Messages, bytesText(s.MessageBytes))
	}
	if !s.Last.IsZero() {
		end += "last exchange: " + ago(s.Last, now) + "\n"
	}
	for _, u := range s.Unanswered {
		end += "not in this: " + terminal.Printable(u.Machine+": "+u.Why) + "\n"
	}
	_, err := io.WriteString(w, end)
	return err
}

// atBroker is a Node's connection to the Broker in the server's process, in a few words.
func atBroker(l *adminapi.BrokerLink, now time.Time) string {
	if l == nil {
		return "-"
	}
	return "from " + l.From.String() + ", " + library(l) + ", " + rough(max(0, now.Sub(l.Since)))
}

func library(l *adminapi.BrokerLink) string {
	if name := strings.TrimSpace(l.Runtime + " " + l.Version); name != "" {
		return name
	}
	return "unknown library"
}

// passed is what a Node has sent through that Broker.
func passed(l *adminapi.BrokerLink) string {
	text := fmt.Sprintf("%s, %s, %s, %s, %s; %s sent, %s received",
		plural.Of(int(l.Attempts), "attempt"), plural.Of(int(l.Acceptances), "acceptance"), plural.Of(int(l.Refusals), "refusal"),
		plural.Of(int(l.Candidates), "candidate"), plural.Of(int(l.Messages), "message"), bytesText(l.SentBytes), bytesText(l.GotBytes))
	if l.RoundTrip > 0 {
		text += fmt.Sprintf("; %.1f ms there and back", l.RoundTrip)
	}
	return text
}
