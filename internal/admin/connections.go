package admin

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/stories"
)

const (
	defaultBack    = time.Hour // of what is asked for without ?minutes=
	maxBack        = 24 * time.Hour
	maxFailures    = 20 // connections that are named
	maxConnections = 20 // of one Node
	maxRecent      = 500
)

// back reads ?minutes=, how far a list reaches back.
func (c *call) back() (time.Duration, error) {
	s := c.query.Get("minutes")
	if s == "" {
		return defaultBack, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > int(maxBack/time.Minute) {
		return 0, problem(http.StatusBadRequest, fmt.Sprintf("minutes must be a number from 1 to %d", maxBack/time.Minute))
	}
	return time.Duration(n) * time.Minute, nil
}

// recent answers GET /api/events/recent.
func (a *Admin) recent(c *call, _ none) (adminapi.Recent, error) {
	back, err := c.back()
	if err != nil {
		return adminapi.Recent{}, err
	}
	part, err := c.part()
	if err != nil {
		return adminapi.Recent{}, err
	}
	if part.n == 0 || part.n > maxRecent {
		part.n = maxRecent
	}
	since := a.cfg.Now().Add(-back).UTC()
	var wanted func(nodes.Kind, bool) bool
	if c.query.Get("failed") != "" {
		wanted = func(_ nodes.Kind, failed bool) bool { return failed }
	}
	var events []nodes.Event
	if node := nodeid.Canonical(c.query.Get("node")); node != "" {
		events = a.recentOf(node, since, part.n, wanted)
	} else {
		events = a.cfg.Nodes.Recent(since, part.n, wanted)
	}
	return adminapi.Recent{Since: since, Events: events}, nil
}

// recentOf are the events of one Node, the newest first.
func (a *Admin) recentOf(node string, since time.Time, limit int, wanted func(nodes.Kind, bool) bool) []nodes.Event {
	_, all, _ := a.cfg.Nodes.Lookup(node)
	list := slices.DeleteFunc(all, func(e nodes.Event) bool { return e.Time.Before(since) || wanted != nil && !wanted(e.Kind, e.Failed) })
	slices.Reverse(list)
	list = list[:min(limit, len(list))]
	for i := range list {
		list[i].Node = node
	}
	return list
}

// connections answers GET /api/connections.
func (a *Admin) connections(c *call, _ none) (adminapi.Connections, error) {
	back, err := c.back()
	if err != nil {
		return adminapi.Connections{}, err
	}
	now := a.cfg.Now().UTC()
	out := adminapi.Connections{Since: now.Add(-back), Reasons: []adminapi.RelayReason{}, Failures: []adminapi.Connection{}}
	if a.cfg.Stories == nil || a.cfg.Broker == nil {
		return out, nil
	}
	out.Known = true
	reasons := map[string]*adminapi.RelayReason{}
	for _, x := range a.cfg.Stories.Connections(out.Since, nodeid.Canonical(c.query.Get("node"))) {
		line := describe(&x, now)
		out.Add(line)
		if line.Outcome == adminapi.ConnectionFailed && len(out.Failures) < maxFailures {
			out.Failures = append(out.Failures, line)
		}
		if line.Path != adminapi.PathRelayed {
			continue
		}
		r := reasons[line.Reason]
		if r == nil {
			r = &adminapi.RelayReason{Reason: line.Reason, Words: relayReasons[line.Reason], Example: [2]string{x.Asker, x.Asked}}
			reasons[line.Reason] = r
		}
		r.Count++
	}
	for _, r := range reasons {
		out.Reasons = append(out.Reasons, *r)
	}
	slices.SortFunc(out.Reasons, func(x, y adminapi.RelayReason) int { return y.Count - x.Count })
	return out, nil
}

// connectionsOf are the last attempts that a Node had a part in.
func (a *Admin) connectionsOf(node string) []adminapi.Connection {
	list := []adminapi.Connection{}
	if a.cfg.Stories == nil {
		return list
	}
	now := a.cfg.Now().UTC()
	for _, x := range a.cfg.Stories.Connections(now.Add(-maxBack), node) {
		if len(list) == maxConnections {
			break
		}
		list = append(list, describe(&x, now))
	}
	return list
}

// describe puts an attempt into words.
func describe(c *stories.Connection, now time.Time) adminapi.Connection {
	line := adminapi.Connection{Asker: c.Asker, Asked: c.Asked, At: c.At.UTC(), Outcome: adminapi.ConnectionFailed}
	asked := strconv.Quote(c.Asked)
	switch {
	case c.Answer != stories.OK:
		line.Words = unanswered(c)
	case c.Reply == stories.Refusal:
		line.Words = asked + " refused"
	case c.Reply == stories.NotAllowed:
		line.Words = asked + " takes no connections"
	case !c.Accepted() && now.Sub(c.At) < noAnswerTime:
		line.Outcome, line.Words = adminapi.ConnectionOpen, asked+" has not answered yet"
	case !c.Accepted():
		line.Words = asked + " was asked, and did not answer"
	case !c.Again.IsZero() && c.Path != stories.Relayed:
		line.Words = "accepted, and asked for again within a minute: the two found no path"
	default:
		line.Outcome = adminapi.ConnectionMade
		line.Path, line.Words = adminapi.PathOpen, "accepted"
		switch c.Path {
		case stories.Relayed:
			line.Path, line.Reason = adminapi.PathRelayed, reasonOf(c)
			line.Words = "accepted, and goes over the relay: " + relayReasons[line.Reason]
		case stories.Direct:
			line.Path, line.Words = adminapi.PathDirect, "accepted, and nothing went over the relay: the two are connected directly, or gave up"
		case stories.Unclear:
			line.Path, line.Words = adminapi.PathUnclear, "accepted, and over before it could be told which way it went"
		}
	}
	return line
}

// unanswered says why the Broker did not pass an attempt on.
func unanswered(c *stories.Connection) string {
	switch c.Answer {
	case "UNAUTHORIZED":
		if c.Cause != "" {
			return "not authorized: " + c.Cause
		}
		return "not authorized: see the why-record of " + strconv.Quote(c.Asker)
	case "NOT_CONNECTED":
		return strconv.Quote(c.Asked) + " was not connected when it was asked"
	case "DISABLED":
		return "broker.p2p is false"
	}
	return "the Broker could not take the request: " + c.Answer
}

// relayReasons are the reasons for which a connection needs the relay, as the candidates tell them, in words.
var relayReasons = map[string]string{
	"relay_only": "a Node offered nothing but its relay: its library is told to (iceTransportPolicy), or it found no address of its own",
	"no_outside": "a Node did not learn its outside address (no srflx candidate): mostly UDP to the STUN port does not get through where it is",
	"nat":        "both know their outside addresses and did not reach each other: NATs or firewalls that let nobody in, which is what the relay is for",
	"unseen":     "why is not known: no candidates of one of the two passed the Broker",
}

// reasonOf tells why a connection went over the relay.
func reasonOf(c *stories.Connection) string {
	both := [2]stories.Kinds{c.FromAsker, c.FromAsked}
	for _, kinds := range both {
		if kinds == stories.Relay {
			return "relay_only"
		}
	}
	for _, kinds := range both {
		if kinds == 0 || kinds == stories.Other {
			return "unseen"
		}
	}
	for _, kinds := range both {
		if kinds&stories.Srflx == 0 {
			return "no_outside"
		}
	}
	return "nat"
}
