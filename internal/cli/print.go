package cli

import (
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// printNodes writes a table of Nodes. Times are shown in the zone of now, and how long ago they are by now.
func printNodes(w io.Writer, now time.Time, l adminapi.NodeList) error {
	if len(l.Nodes) == 0 {
		_, err := fmt.Fprintln(w, "no Nodes")
		return err
	}
	t := terminal.NewTable(w, "NODE", "STATE", "ALLOCATIONS", "SENT", "RECEIVED", "AT THE BROKER", "SEEN", "LAST EVENT")
	for _, n := range l.Nodes {
		last := "-"
		if n.LastEvent != nil {
			last = n.LastEvent.Detail
		}
		t.Line(n.Node, state(n.Connected, n.Banned), strconv.Itoa(n.Allocations), bytesText(n.BytesIn), bytesText(n.BytesOut), atBroker(n.Broker, now), ago(n.Seen, now), last)
	}
	return end(w, t, len(l.Nodes), l.Total)
}

func state(connected, banned bool) string {
	switch {
	case banned:
		return "banned"
	case connected:
		return "connected"
	}
	return "-"
}

// end flushes, and says when only a part was listed.
func end(w io.Writer, t terminal.Table, shown, total int) error {
	if err := t.Flush(); err != nil {
		return err
	}
	if shown < total {
		_, err := fmt.Fprintf(w, "%d of %d shown\n", shown, total)
		return err
	}
	return nil
}

// printAllocations writes a table of allocations.
func printAllocations(w io.Writer, now time.Time, l adminapi.AllocationList) error {
	if len(l.Allocations) == 0 {
		_, err := fmt.Fprintln(w, "no live allocations")
		return err
	}
	head := []string{"ID", "NODE", "OVER", "CLIENT", "RELAYED", "SENT", "RECEIVED", "DROPS", "PEERS", "CREATED", "EXPIRES"}
	machines := slices.ContainsFunc(l.Allocations, func(a adminapi.Allocation) bool { return a.Machine != "" })
	if machines {
		head = append(head, "AT")
	}
	t := terminal.NewTable(w, head...)
	for _, a := range l.Allocations {
		line := []string{
			a.ID, a.Node, a.Transport, a.Client.String(), a.Addresses(), bytesText(a.BytesIn), bytesText(a.BytesOut),
			strconv.FormatUint(a.Drops, 10), strconv.Itoa(a.Peers), ago(a.Created, now), ago(a.Expires, now),
		}
		if machines {
			line = append(line, a.Machine)
		}
		t.Line(line...)
	}
	return end(w, t, len(l.Allocations), l.Total)
}

// printBans writes a table of bans.
func printBans(w io.Writer, now time.Time, l adminapi.BanList) error {
	if len(l.Bans) == 0 {
		_, err := fmt.Fprintln(w, "no bans")
		return err
	}
	head := []string{"NODE", "SINCE", "UNTIL", "REASON"}
	unshared := slices.ContainsFunc(l.Bans, func(b adminapi.Ban) bool { return b.Unshared })
	if unshared {
		head = append(head, "SHARED")
	}
	t := terminal.NewTable(w, head...)
	for _, b := range l.Bans {
		until := "for good"
		if !b.Until.IsZero() {
			until = ago(b.Until, now)
		}
		line := []string{b.Node, ago(b.Since, now), until, b.Reason}
		if unshared {
			line = append(line, map[bool]string{false: "yes", true: "not yet"}[b.Unshared])
		}
		t.Line(line...)
	}
	return end(w, t, len(l.Bans), l.Total)
}

// printNode writes all that is known of a Node, ending with its why-record.
func printNode(w io.Writer, now time.Time, n adminapi.NodeRecord) error {
	t := terminal.NewTable(w)
	t.Line("Node", n.Node)
	if n.Ban != nil {
		text := "since " + ago(n.Ban.Since, now)
		if !n.Ban.Until.IsZero() {
			text += ", until " + ago(n.Ban.Until, now)
		}
		if n.Ban.Reason != "" {
			text += ": " + n.Ban.Reason
		}
		t.Line("banned", text)
	}
	switch {
	case n.Broker != nil:
		t.Line("connected", "yes"+atMachines(n.Broker.Machine)+", since "+ago(n.Broker.Since, now)+" from "+n.Broker.From.String()+" with "+library(n.Broker))
		t.Line("through the Broker", passed(n.Broker))
	case n.Connected && n.Checked.IsZero():
		t.Line("connected", "yes"+atMachines(n.ConnectedAt...)+": it is joining, or left less than 90 s ago")
	case n.Connected:
		t.Line("connected", "yes"+atMachines(n.ConnectedAt...)+", last checked "+ago(n.Checked, now))
	case n.Checked.IsZero():
		t.Line("connected", "no")
	default:
		t.Line("connected", "no, last named by a Broker "+ago(n.Checked, now))
	}
	if n.CredentialsIssued > 0 {
		t.Line("credentials", fmt.Sprintf("%d issued, the last ends %s", n.CredentialsIssued, ago(n.CredentialEnds, now)))
	}
	if len(n.Addresses) > 0 {
		t.Line("seen at", joinAddresses(n.Addresses))
	}
	if len(n.Partners) > 0 {
		t.Line("in touch with", strings.Join(n.Partners, ", ")+" (why NODE --with OTHER)")
	}
	for _, u := range n.Unanswered {
		t.Line("not in this", u.Machine+": "+u.Why)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(w)
	if err := printAllocations(w, now, adminapi.AllocationList{Allocations: n.Allocations, Total: len(n.Allocations) + n.LeftOut}); err != nil {
		return err
	}
	_, _ = fmt.Fprintln(w)
	return PrintEvents(w, now, n.Events)
}

func joinAddresses(list []netip.Addr) string {
	s := make([]string, len(list))
	for i, a := range list {
		s[i] = a.String()
	}
	return strings.Join(s, ", ")
}

// PrintEvents writes a why-record, oldest event first.
func PrintEvents(w io.Writer, now time.Time, events []nodes.Event) error {
	if len(events) == 0 {
		_, err := fmt.Fprintln(w, "no events")
		return err
	}
	head := []string{"TIME", "KIND", "WHAT HAPPENED"}
	machines := slices.ContainsFunc(events, func(e nodes.Event) bool { return e.Machine != "" })
	if machines {
		head = slices.Insert(head, 2, "AT")
	}
	t := terminal.NewTable(w, head...)
	for _, e := range events {
		what := e.Detail
		if e.Count > 1 {
			what += fmt.Sprintf(" (%d times)", e.Count)
		}
		line := []string{ago(e.Time, now), string(e.Kind), what}
		if machines {
			line = slices.Insert(line, 2, e.Machine)
		}
		t.Line(line...)
	}
	return t.Flush()
}

// atMachines says where in the fleet something is.
func atMachines(names ...string) string {
	if text := strings.Join(names, ", "); text != "" {
		return " at " + text
	}
	return ""
}

// Bytes writes a number of bytes with a unit, such as "1.5 MB" (powers of 1000).
func bytesText(n uint64) string {
	if n < 1000 {
		return strconv.FormatUint(n, 10) + " B"
	}
	f, units := float64(n), "kMGTPE"
	for f /= 1000; f >= 999.95 && len(units) > 1; f /= 1000 {
		units = units[1:]
	}
	return strconv.FormatFloat(f, 'f', 1, 64) + " " + units[:1] + "B"
}

// ago writes a time absolutely, in the zone of now, and relatively: "2026-03-01 12:00:00 (3m ago)", "… (in 2h)".
func ago(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	text, d := t.In(now.Location()).Format(time.DateTime), now.Sub(t)
	switch {
	case d >= time.Second:
		return text + " (" + rough(d) + " ago)"
	case d <= -time.Second:
		return text + " (in " + rough(-d) + ")"
	}
	return text + " (now)"
}

// rough writes a duration with its two largest units, or with one of which it has ten or more, to the nearest.
func rough(d time.Duration) string {
	const day = 24 * time.Hour
	for _, u := range []struct {
		big, small         time.Duration
		bigName, smallName string
	}{{day, time.Hour, "d", "h"}, {time.Hour, time.Minute, "h", "m"}, {time.Minute, time.Second, "m", "s"}} {
		near := d.Round(u.small)
		switch {
		case near < u.big:
			continue
		case near >= 10*u.big:
			return strconv.FormatInt(int64(d.Round(u.big)/u.big), 10) + u.bigName
		}
		text := strconv.FormatInt(int64(near/u.big), 10) + u.bigName
		if rest := near % u.big / u.small; rest > 0 {
			text += strconv.FormatInt(int64(rest), 10) + u.smallName
		}
		return text
	}
	return strconv.FormatInt(int64(d.Round(time.Second)/time.Second), 10) + "s"
}
