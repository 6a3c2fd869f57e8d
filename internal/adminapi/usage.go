package adminapi

import (
	"context"
	"net/http"
	"net/url"
)

// UsageRecord is what was used in a month of UTC.
type UsageRecord struct {
	In          uint64  `json:"wire_bytes_in"` // relayed from clients to their peers, with headers of IP and UDP
	Out         uint64  `json:"wire_bytes_out"`
	Seconds     float64 `json:"seconds"`     // that allocations spent relaying, all of them added up
	Allocations uint64  `json:"allocations"` // opened
	Messages    uint64  `json:"messages"`    // sent to other Nodes through a Broker
}

// Bytes are those of both directions, which count for limits.
func (u UsageRecord) Bytes() uint64 { return u.In + u.Out }

// UsageLine is what one Node used.
type UsageLine struct {
	Node string `json:"node"`
	UsageRecord
}

// UsageMonth answers GET /api/usage. Query: month ("2026-11"; none: the present one), q (part of an id), limit, offset. The
// Node that relayed most comes first. The sum may be more than that of all Nodes: it has what deleted ones used too.
type UsageMonth struct {
	Month  string      `json:"month"`
	Months []string    `json:"months"` // of which there is a record, the last first
	Sum    UsageRecord `json:"sum"`
	Nodes  []UsageLine `json:"nodes"`
	Total  int         `json:"total"` // that matched, of which limit are listed
}

// UsageOfMonth is what a Node used in one month.
type UsageOfMonth struct {
	Month string `json:"month"`
	UsageRecord
}

// UsageOfNode answers GET /api/usage/node?id=NODE: every month of which there is a record, the last first.
type UsageOfNode struct {
	Node   string         `json:"node"`
	Months []UsageOfMonth `json:"months"`
}

// Usage asks what Nodes used in a month, the present one if month is empty: at most limit of them (0: all), those first that
// used most.
func (c *Client) Usage(ctx context.Context, month string, limit int) (u UsageMonth, err error) {
	q := query(limit)
	if month != "" {
		q.Set("month", month)
	}
	return u, c.call(ctx, http.MethodGet, "/api/usage", q, nil, &u)
}

// UsageOf asks what a Node used; [ErrNotFound] if there is no record.
func (c *Client) UsageOf(ctx context.Context, node string) (u UsageOfNode, err error) {
	return u, c.call(ctx, http.MethodGet, "/api/usage/node", url.Values{"id": {node}}, nil, &u)
}

// Forget deletes what is kept of a Node but for a ban: what it used, and its why-record. [ErrNotFound] if that is nothing.
func (c *Client) Forget(ctx context.Context, node string) error {
	return c.call(ctx, http.MethodDelete, "/api/node", url.Values{"id": {node}}, nil, nil)
}
