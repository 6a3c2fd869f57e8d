package admin

import (
	"cmp"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/usage"
)

// usageOf is a record as the API has it.
func usageOf(r usage.Record) adminapi.UsageRecord {
	return adminapi.UsageRecord{
		In: r.Up, Out: r.Down, Seconds: r.Time.Seconds(), Allocations: r.Allocations, Messages: r.Messages,
	}
}

var errNoUsage = problem(http.StatusNotFound, "this server does not keep what Nodes use")

// usage answers GET /api/usage.
func (a *Admin) usage(c *call, _ none) (adminapi.UsageMonth, error) {
	var answer adminapi.UsageMonth
	if a.cfg.Usage == nil {
		return answer, errNoUsage
	}
	part, err := c.part()
	if err != nil {
		return answer, err
	}
	month := usage.MonthOf(a.cfg.Now())
	if s := c.query.Get("month"); s != "" {
		if month, err = usage.ParseMonth(s); err != nil {
			return answer, err
		}
	}
	months, err := a.cfg.Usage.Months()
	if err != nil && month != usage.MonthOf(a.cfg.Now()) {
		return answer, err // this month is in memory
	}
	report, err := a.cfg.Usage.Report(month)
	if err != nil {
		return answer, err
	}
	answer = adminapi.UsageMonth{Month: month.String(), Months: []string{}, Sum: usageOf(report.Sum), Nodes: []adminapi.UsageLine{}}
	for _, m := range months {
		answer.Months = append(answer.Months, m.String())
	}
	lines := slices.DeleteFunc(report.Lines, func(l usage.Line) bool { return !strings.Contains(l.Node, c.query.Get("q")) })
	slices.SortFunc(lines, func(x, y usage.Line) int {
		return cmp.Or(cmp.Compare(y.Bytes(), x.Bytes()), strings.Compare(x.Node, y.Node))
	})
	answer.Total = len(lines)
	for _, l := range cut(lines, part) {
		answer.Nodes = append(answer.Nodes, adminapi.UsageLine{Node: l.Node, UsageRecord: usageOf(l.Record)})
	}
	return answer, nil
}

// usageOfNode answers GET /api/usage/node.
func (a *Admin) usageOfNode(c *call, _ none) (adminapi.UsageOfNode, error) {
	answer := adminapi.UsageOfNode{Node: c.target(), Months: []adminapi.UsageOfMonth{}}
	if a.cfg.Usage == nil {
		return answer, errNoUsage
	}
	list, err := a.cfg.Usage.Node(answer.Node)
	switch {
	case err != nil:
		return answer, err
	case len(list) == 0:
		return answer, usage.ErrUnknown
	}
	for _, m := range list {
		answer.Months = append(answer.Months, adminapi.UsageOfMonth{Month: m.Month.String(), UsageRecord: usageOf(m.Record)})
	}
	return answer, nil
}

// forget answers DELETE /api/node, and /api/nodes/{id}: it deletes all that is kept of a Node but for a ban.
func (a *Admin) forget(c *call, _ none) (none, error) {
	node := c.target()
	c.entry.Node = node
	found := a.cfg.Nodes.Forget(node)
	if a.cfg.Stories != nil {
		found = a.cfg.Stories.Forget(node) || found
	}
	if a.cfg.History != nil {
		found = a.cfg.History.Forget(node) || found
	}
	if a.cfg.Usage != nil {
		switch err := a.cfg.Usage.Delete(node); {
		case err == nil:
			found = true
		case !errors.Is(err, usage.ErrUnknown):
			return none{}, err
		}
	}
	if !found {
		return none{}, problem(http.StatusNotFound, "nothing is known of this Node")
	}
	return none{}, nil
}
