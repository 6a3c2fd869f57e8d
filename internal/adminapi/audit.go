package adminapi

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/audit"
)

// UserAgent is how a [Client] calls itself.
const UserAgent = "crolang-aio"

// AuditPage answers GET /api/audit: who changed what on this server, the newest first. Query: since (a time of RFC 3339), node, what
// (changes, with commas between them), limit (at most 10 000; none: 200), before (the number of an entry: only older ones).
type AuditPage struct {
	Entries []audit.Entry `json:"entries"`
	More    bool          `json:"more"` // there are older ones: ask for those before the last
}

// Audit asks who changed what since a time (zero: ever): at most limit entries, the newest first. 0 asks for all.
func (c *Client) Audit(ctx context.Context, since time.Time, limit int) (all AuditPage, err error) {
	all.Entries = []audit.Entry{}
	q := url.Values{"limit": {"10000"}}
	if limit > 0 {
		q = query(limit)
	}
	if !since.IsZero() {
		q.Set("since", since.UTC().Format(time.RFC3339))
	}
	for {
		var page AuditPage
		if err = c.call(ctx, http.MethodGet, "/api/audit", q, nil, &page); err != nil {
			return all, err
		}
		all.Entries, all.More = append(all.Entries, page.Entries...), page.More
		if limit > 0 || !page.More || len(page.Entries) == 0 {
			return all, nil
		}
		q.Set("before", strconv.FormatUint(page.Entries[len(page.Entries)-1].N, 10))
	}
}
