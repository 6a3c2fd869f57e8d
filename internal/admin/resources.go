package admin

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/duration"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// health says that the process answers, and nothing else.
func (a *Admin) health(_ *call, _ none) (map[string]string, error) {
	return map[string]string{"status": "ok"}, nil
}

// ready answers GET /readyz.
func (a *Admin) ready(w http.ResponseWriter, _ *http.Request, _ string) error {
	answer := adminapi.Readiness{NotReady: a.notReady(), Drain: a.cfg.Draining()}
	answer.Ready = len(answer.NotReady) == 0
	if a.cfg.Degraded != nil {
		answer.Degraded = a.cfg.Degraded()
	}
	status := http.StatusOK
	if !answer.Ready {
		status = http.StatusServiceUnavailable
	}
	writeJSON(w, status, answer)
	return nil
}

// drain answers POST /api/drain. If the server drains already, the answer says how far that is.
func (a *Admin) drain(_ *call, _ none) (adminapi.Drain, error) {
	if a.cfg.Drain == nil {
		return adminapi.Drain{}, problem(http.StatusNotFound, "this server cannot be drained from here")
	}
	a.cfg.Drain()
	d := a.cfg.Draining()
	if d == nil {
		return adminapi.Drain{}, nil
	}
	return *d, nil
}

func (a *Admin) notReady() []string {
	return append([]string{}, a.cfg.NotReady()...)
}

func (a *Admin) status(c *call, _ none) (adminapi.Status, error) {
	s := a.cfg.Status()
	s.ReadOnly, s.History, s.Fleet = c.readOnly, a.cfg.History != nil, a.cfg.Fleet != nil
	s.NotReady, s.Drain = a.notReady(), a.cfg.Draining()
	s.Draining = s.Drain != nil
	s.Now = a.cfg.Now().UTC()
	s.Warnings = append([]findings.Finding{}, s.Warnings...)
	for _, list := range []*[]string{&s.URLs, &s.BrokerEnv} {
		*list = append([]string{}, *list...)
	}
	s.Listeners = append([]adminapi.Listener{}, s.Listeners...)
	if s.Limits == nil {
		s.Limits = map[string]int64{}
	}
	return s, nil
}

func orEmpty(list []netip.Addr) []netip.Addr {
	if list == nil {
		return []netip.Addr{}
	}
	return list
}

// target is the id in the path, or in ?id=, in its canonical spelling.
func (c *call) target() string {
	if c.id != "" {
		return nodeid.Canonical(c.id)
	}
	return nodeid.Canonical(c.query.Get("id"))
}

// node answers GET /api/node, of all machines where there are more.
func (a *Admin) node(c *call, _ none) (adminapi.NodeRecord, error) {
	id := c.target()
	answer, known := a.recordOf(id)
	if a.cfg.Fleet != nil {
		known = a.wholeRecord(&answer) || known
	}
	if !known {
		return answer, problem(http.StatusNotFound, "nothing is known of this Node"+withoutThose(answer.Unanswered))
	}
	return answer, nil
}

// recordOf is what this machine knows of a Node; known is false if that is nothing.
func (a *Admin) recordOf(id string) (answer adminapi.NodeRecord, known bool) {
	n, events, known := a.cfg.Nodes.Lookup(id)
	answer = adminapi.NodeRecord{
		Node: id, Connected: n.Connected, Checked: n.Checked, Seen: n.Seen, CredentialsIssued: n.Issued,
		CredentialEnds: n.CredentialEnd, Addresses: orEmpty(n.Addresses), Allocations: []adminapi.Allocation{}, Events: events,
		Broker: a.link(id), Partners: a.partners(id), Connections: a.connectionsOf(id),
	}
	if a.cfg.Usage != nil {
		month, used := a.cfg.Usage.This(id)
		answer.Usage = &adminapi.UsageOfMonth{Month: month.String(), UsageRecord: usageOf(used)}
	}
	if ban, ok := a.cfg.Nodes.BanOf(id); ok {
		answer.Banned, answer.Ban = true, &ban
	}
	for _, al := range a.rated() {
		if al.Node == id {
			answer.Allocations = append(answer.Allocations, al)
		}
	}
	return answer, known || answer.Banned || len(answer.Allocations) > 0
}

// allocationOrders compare two allocations, by the values of ?sort=. Of those that are equal the newest comes first.
var allocationOrders = map[string]func(x, y adminapi.Allocation) int{
	"":        func(_, _ adminapi.Allocation) int { return 0 },
	"newest":  func(_, _ adminapi.Allocation) int { return 0 },
	"rate":    func(x, y adminapi.Allocation) int { return cmp.Compare(y.Rate, x.Rate) },
	"traffic": func(x, y adminapi.Allocation) int { return cmp.Compare(y.BytesIn+y.BytesOut, x.BytesIn+x.BytesOut) },
	"drops":   func(x, y adminapi.Allocation) int { return cmp.Compare(y.Drops, x.Drops) },
}

func (a *Admin) allocations(c *call, _ none) (adminapi.AllocationList, error) {
	part, err := c.part()
	if err != nil {
		return adminapi.AllocationList{}, err
	}
	list := a.rated()
	if c.query.Has("node") {
		list = slices.DeleteFunc(list, func(al adminapi.Allocation) bool { return al.Node != nodeid.Canonical(c.query.Get("node")) })
	}
	if q := c.query.Get("q"); q != "" {
		list = slices.DeleteFunc(list, func(al adminapi.Allocation) bool {
			return !strings.Contains(al.Node, q) && !strings.Contains(al.Client.String(), q) && !strings.Contains(al.Addresses(), q)
		})
	}
	first, ok := allocationOrders[c.query.Get("sort")]
	if !ok {
		return adminapi.AllocationList{}, problem(http.StatusBadRequest, "sort must be newest, rate, traffic or drops")
	}
	slices.SortFunc(list, func(x, y adminapi.Allocation) int {
		return cmp.Or(first(x, y), y.Created.Compare(x.Created), strings.Compare(x.ID, y.ID))
	})
	return adminapi.AllocationList{Allocations: cut(list, part), Total: len(list)}, nil
}

func (a *Admin) closeAllocation(c *call, _ none) (none, error) {
	c.entry.Detail = c.id
	for _, al := range a.cfg.Relays.Allocations() {
		if al.ID == c.id {
			c.entry.Node = al.Node
		}
	}
	if !a.cfg.Relays.CloseAllocation(c.id, "closed by the operator") {
		return none{}, problem(http.StatusNotFound, "no live allocation has this id")
	}
	return none{}, nil
}

func (a *Admin) bans(c *call, _ none) (adminapi.BanList, error) {
	part, err := c.part()
	if err != nil {
		return adminapi.BanList{}, err
	}
	list := a.cfg.Nodes.Bans()
	if q := c.query.Get("q"); q != "" {
		list = slices.DeleteFunc(list, func(b nodes.Ban) bool { return !strings.Contains(b.Node, q) })
	}
	shown := cut(list, part)
	answer := adminapi.BanList{Bans: make([]adminapi.Ban, len(shown)), Total: len(list)}
	for i, b := range shown {
		answer.Bans[i] = adminapi.Ban{Ban: b, Unshared: a.cfg.Fleet != nil && a.cfg.Fleet.Unshared(b)}
	}
	return answer, nil
}

func (a *Admin) ban(c *call, req adminapi.BanRequest) (adminapi.BanAnswer, error) {
	c.entry.Node, c.entry.Reason, c.entry.Detail = nodeid.Canonical(req.Node), req.Reason, "for good"
	if req.For != "" {
		c.entry.Detail = "for " + req.For
	}
	lasting, err := banTime(req.For)
	if err != nil {
		return adminapi.BanAnswer{}, err
	}
	return a.banNode(nodeid.Canonical(req.Node), req.Reason, lasting)
}

// maxBan keeps the end of a ban within what JSON can say.
const maxBan = 100 * 365 * duration.Day

// banTime reads how long a ban lasts; empty is 0, for good.
func banTime(s string) (time.Duration, error) {
	if s == "" {
		return 0, nil
	}
	d, err := duration.Parse(s)
	if err != nil || d <= 0 || d > maxBan {
		return 0, problem(http.StatusBadRequest,
			`"for" must be a time above 0 and at most 100 years, such as "1h30m" or "365d"; leave it out for good`)
	}
	return d, nil
}

func (a *Admin) unban(c *call, _ none) (none, error) {
	c.entry.Node = c.target()
	return none{}, a.unbanNode(c.entry.Node)
}

// test answers POST /api/test with an RTC configuration for the dashboard's test page.
func (a *Admin) test(_ *call, _ none) (json.RawMessage, error) {
	if a.cfg.RTC == nil {
		return nil, problem(http.StatusNotFound, "this server offers no test credentials")
	}
	return a.cfg.RTC(nodeid.Dashboard)
}
