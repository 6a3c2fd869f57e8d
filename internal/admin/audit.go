package admin

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/audit"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

// changing is [endpoint] for what changes something: the audit log has each call, with what came of it, before it is answered.
func changing[Req, Resp any](what audit.What, status int, f func(a *Admin, c *call, req Req) (Resp, error)) handler {
	return func(a *Admin, w http.ResponseWriter, r *http.Request, id string) error {
		noted := false
		note := func(c *call, refused string) {
			if noted = true; a.cfg.Audit == nil {
				return
			}
			e := c.entry
			e.What, e.By, e.Via, e.From, e.Refused = what, byOf(r), viaOf(r), fromOf(r), refused
			a.cfg.Audit.Note(e)
		}
		c := &call{id: id}
		err := answer(a, w, r, c, status, func(a *Admin, c *call, req Req) (Resp, error) {
			resp, err := f(a, c, req)
			if err != nil {
				note(c, err.Error())
			} else {
				note(c, "")
			}
			return resp, err
		})
		if !noted { // its words are not repeated: who knows what came in place of a body
			note(c, "the body is not what is expected")
		}
		return err
	}
}

// byOf is the key of the token that a request came with.
func byOf(r *http.Request) string {
	if webguard.WithToken(r) {
		return "admin.token"
	}
	return "no token"
}

// viaOf is what a caller says of itself: browsers send an Origin with what changes something, and this program's commands their name.
func viaOf(r *http.Request) string {
	switch {
	case r.Header.Get("Origin") != "":
		return "dashboard"
	case r.UserAgent() == adminapi.UserAgent:
		return "command"
	}
	return "api"
}

const (
	auditPage = 200
	maxAudit  = 10_000
)

// audited answers GET /api/audit.
func (a *Admin) audited(c *call, _ none) (adminapi.AuditPage, error) {
	page := adminapi.AuditPage{Entries: []audit.Entry{}}
	if a.cfg.Audit == nil {
		return page, nil
	}
	part, err := c.part()
	if err != nil {
		return page, err
	}
	q := audit.Query{Node: nodeid.Canonical(c.query.Get("node")), Limit: part.n}
	switch {
	case q.Limit > maxAudit:
		return page, problem(http.StatusBadRequest, "limit must be at most 10000: ask for what is before the last one")
	case q.Limit == 0:
		q.Limit = auditPage
	}
	if s := c.query.Get("since"); s != "" {
		if q.Since, err = time.Parse(time.RFC3339, s); err != nil {
			return page, problem(http.StatusBadRequest, "since must be a time like 2026-11-26T20:00:00Z")
		}
	}
	if s := c.query.Get("before"); s != "" {
		if q.Before, err = strconv.ParseUint(s, 10, 64); err != nil {
			return page, problem(http.StatusBadRequest, "before must be the number of an entry")
		}
	}
	if s := c.query.Get("what"); s != "" {
		for what := range strings.SplitSeq(s, ",") {
			if !slices.Contains(audit.Known(), audit.What(what)) {
				return page, problem(http.StatusBadRequest, "what must be changes as entries name them, such as ban,unban")
			}
			q.What = append(q.What, audit.What(what))
		}
	}
	found, err := a.cfg.Audit.Page(q)
	return adminapi.AuditPage{Entries: found.Entries, More: found.More}, err
}
