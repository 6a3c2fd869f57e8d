package admin

import (
	"net/http"
	"slices"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// maxMarks bounds the marks of a plot: more cannot be told apart.
const maxMarks = 200

// history answers GET /api/history.
func (a *Admin) history(c *call, _ none) (adminapi.History, error) {
	if a.cfg.History == nil {
		return adminapi.History{}, problem(http.StatusNotFound, "this server does not remember what it relayed")
	}
	step := c.query.Get("step")
	if step != "" && step != "minute" && step != "hour" {
		return adminapi.History{}, problem(http.StatusBadRequest, "step must be minute or hour")
	}
	s := a.cfg.History.Series(step == "hour")
	since := s.Until.Add(-time.Duration(len(s.In)) * s.Step)
	if node := nodeid.Canonical(c.query.Get("node")); node != "" {
		s = a.cfg.History.Of(node, step == "hour")
		marks := slices.DeleteFunc(a.marks(since), func(e nodes.Event) bool { return e.Node != "" && e.Node != node })
		return adminapi.History{Step: int(s.Step / time.Second), Until: s.Until, In: s.In, Out: s.Out, Marks: marks}, nil
	}
	return adminapi.History{Step: int(s.Step / time.Second), Until: s.Until, In: s.In, Out: s.Out, Marks: a.marks(since)}, nil
}

// marked are the kinds of events that are marks, beside starts.
var marked = []nodes.Kind{nodes.KindBanned, nodes.KindUnbanned, nodes.KindReloaded, nodes.KindAddress}

// marks are what may explain a plot since then, the oldest first: as far as it is known, since events are lost at a restart.
func (a *Admin) marks(since time.Time) []nodes.Event {
	list := []nodes.Event{}
	for _, t := range a.cfg.History.Starts() {
		if !t.Before(since) {
			list = append(list, nodes.Event{Time: t, Kind: nodes.KindStarted, Detail: "the server was started"})
		}
	}
	said := make(map[string]bool) // bans of which there is an event
	for _, e := range a.cfg.Nodes.Recent(since, maxMarks, func(k nodes.Kind, _ bool) bool { return slices.Contains(marked, k) }) {
		said[e.Node] = said[e.Node] || e.Kind == nodes.KindBanned
		list = append(list, e)
	}
	for _, b := range a.cfg.Nodes.Bans() { // the newest first
		if b.Since.Before(since) || len(list) >= 2*maxMarks {
			break
		}
		if !said[b.Node] {
			detail := "was banned"
			if b.Reason != "" {
				detail += ": " + b.Reason
			}
			list = append(list, nodes.Event{Time: b.Since, Node: b.Node, Kind: nodes.KindBanned, Failed: true, Detail: detail})
		}
	}
	slices.SortStableFunc(list, func(x, y nodes.Event) int { return x.Time.Compare(y.Time) })
	return list[max(0, len(list)-maxMarks):]
}
