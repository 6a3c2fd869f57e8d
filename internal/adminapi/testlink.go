package adminapi

import (
	"context"
	"net/http"
	"time"
)

// TestLinkRequest is the body of POST /api/test-links.
type TestLinkRequest struct {
	Node string `json:"node"`           // in whose why-record the result is to be
	Base string `json:"base,omitempty"` // URL at which people reach the server's pages; empty: as the server knows
}

// TestLink answers it: a link for one test, which a person opens in a browser. It is a secret until it is used.
type TestLink struct {
	Node    string    `json:"node"`
	URL     string    `json:"url"`
	Expires time.Time `json:"expires"`
}

// TestStart is the body of POST /try/start, by which a link is used up.
type TestStart struct {
	Token string `json:"token"`
}

// TestBegun answers it.
type TestBegun struct {
	Run        string       `json:"run"` // a secret, with which the result is brought
	Servers    []TestServer `json:"servers"`
	SelfSigned bool         `json:"self_signed"`
}

// TestServer is a URL to try.
type TestServer struct {
	URL        string `json:"url"`
	Username   string `json:"username,omitempty"`
	Credential string `json:"credential,omitempty"`
}

// TestResult is the body of POST /try/result: a finding for each server, in their order.
type TestResult struct {
	Run     string        `json:"run"`
	Results []TestFinding `json:"results"`
}

// TestFinding is what a browser found of one URL.
type TestFinding struct {
	Fault          string  `json:"fault"`            // empty: it works
	Code           int     `json:"code"`             // of STUN; 0: none
	RoundTrip      float64 `json:"round_trip"`       // ms; of relays alone, as what follows
	BytesPerSecond float64 `json:"bytes_per_second"` // that arrived
	Lost           float64 `json:"lost"`             // of the messages that are not sent again: 0 to 1
}

// TestLink makes one for a Node. base may be empty.
func (c *Client) TestLink(ctx context.Context, node, base string) (l TestLink, err error) {
	return l, c.call(ctx, http.MethodPost, "/api/test-links", nil, TestLinkRequest{Node: node, Base: base}, &l)
}
