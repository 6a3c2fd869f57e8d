package adminapi

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
	"github.com/crolang-p2p/crolang-aio/internal/terminal"
)

// The reasons for which a Client's call fails, for errors.Is.
var (
	ErrUnreachable  = errors.New("no server answers")
	ErrUnauthorized = errors.New("the admin token is missing or wrong: set admin.token to that of the server")
	ErrNotFound     = errors.New("not found")
	ErrNotReady     = errors.New("not ready")
	errSecure       = errors.New("the admin listener speaks HTTPS: set admin.tls = true here too")
	ErrStranger     = errors.New("what answers there is not this program's admin listener: check admin.listen")
)

const (
	// NoSuchPath is the error for an unknown path. This program's other listeners say it too.
	NoSuchPath    = "no such path"
	clientTimeout = 30 * time.Second
	maxHeader     = 256 << 10 // bytes of an answer's header
	maxText       = 500       // characters of an error that the server chose
)

// maxAnswer is how many bytes of an answer are read. The answer to a container's healthcheck must not use up the container's
// memory, and a list of everything can be long.
func maxAnswer(path string, q url.Values) int64 {
	switch path {
	case "/readyz", "/api/status", "/api/drain":
		return 1 << 20
	case "/api/nodes", "/api/allocations", "/api/bans", "/api/usage":
		if q.Get("limit") == "" {
			return 256 << 20
		}
	}
	return 32 << 20
}

// Client calls the API of a running server. It may be used from several goroutines, and needs no closing.
type Client struct {
	base  string
	token string
	http  *http.Client
}

// NewClient makes a client of the server at base, such as "http://127.0.0.1:8084". An empty token sends none.
func NewClient(base, token string) (*Client, error) { return NewTLSClient(base, token, nil) }

// NewTLSClient is [NewClient] with what is to be known of the server's certificate, if base is an https URL; nil: it is for the host of base.
func NewTLSClient(base, token string, server *tls.Config) (*Client, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, errors.New("the admin address must be like http://127.0.0.1:8084")
	}
	return &Client{
		base:  u.Scheme + "://" + u.Host + strings.TrimSuffix(u.EscapedPath(), "/"),
		token: token,
		http: &http.Client{
			Timeout: clientTimeout,
			// A command asks once, and through no proxy. The server does not compress.
			Transport: &http.Transport{TLSClientConfig: server, DisableKeepAlives: true, DisableCompression: true, MaxResponseHeaderBytes: maxHeader},
			CheckRedirect: func(*http.Request, []*http.Request) error {
				return http.ErrUseLastResponse // the token goes nowhere else
			},
		},
	}, nil
}

// BaseURL is where this machine reaches a server that listens at address, the value of the configuration's key. See
// [listen.Address.Nearby].
func BaseURL(key, address string) (string, error) {
	a, err := listen.Parse(address)
	if err != nil {
		return "", fmt.Errorf("%s: %w", key, err)
	}
	at, _ := a.Nearby() // if there is none, connecting says so
	return "http://" + at.String(), nil
}

// Status asks what runs there.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	if err = c.call(ctx, http.MethodGet, "/api/status", nil, nil, &s); err == nil && s.Started.IsZero() {
		err = c.stranger(ErrStranger)
	}
	return s, err
}

// Metrics fetches /metrics, in the text format of Prometheus.
func (c *Client) Metrics(ctx context.Context) (text string, err error) {
	status, data, err := c.fetch(ctx, http.MethodGet, "/metrics", nil, nil)
	if err == nil && status != http.StatusOK {
		err = readAnswer(status, "/metrics", data, nil)
	}
	return string(data), err
}

// Ready returns nil if the server is ready. Otherwise it returns an error that wraps [ErrNotReady] and names what is not, or
// another such as [ErrUnreachable].
func (c *Client) Ready(ctx context.Context) error {
	var r Readiness
	if err := c.call(ctx, http.MethodGet, "/readyz", nil, nil, &r); err != nil {
		return err
	}
	if !r.Ready && len(r.NotReady) == 0 {
		return c.stranger(ErrStranger)
	}
	if !r.Ready {
		return fmt.Errorf("%w: %s", ErrNotReady, said(strings.Join(r.NotReady, ", ")))
	}
	return nil
}

// Drain begins the end of the server: it takes no new allocations, and ends when the live ones have ended or its
// drain_timeout is over.
func (c *Client) Drain(ctx context.Context) (d Drain, err error) {
	return d, c.call(ctx, http.MethodPost, "/api/drain", nil, nil, &d)
}

// Nodes lists Nodes whose id contains part, the last seen first, at most limit of them (0: all).
func (c *Client) Nodes(ctx context.Context, part string, limit int) (l NodeList, err error) {
	q := query(limit)
	if part != "" {
		q.Set("q", part)
	}
	return l, c.call(ctx, http.MethodGet, "/api/nodes", q, nil, &l)
}

// Node asks for all that is known of a Node; [ErrNotFound] if that is nothing.
func (c *Client) Node(ctx context.Context, id string) (n NodeRecord, err error) {
	return n, c.call(ctx, http.MethodGet, "/api/node", url.Values{"id": {id}}, nil, &n)
}

// Recent lists what has happened to all Nodes and to the server since so long ago, at most a day, or to one Node unless that is empty: the
// newest first, and 500 events at most.
func (c *Client) Recent(ctx context.Context, node string, back time.Duration) (r Recent, err error) {
	q := url.Values{"minutes": {strconv.Itoa(int((back + time.Minute - 1) / time.Minute))}}
	if node != "" {
		q.Set("node", node)
	}
	return r, c.call(ctx, http.MethodGet, "/api/events/recent", q, nil, &r)
}

// Story reports how far a connection of two Nodes has come.
func (c *Client) Story(ctx context.Context, node, with string) (s Story, err error) {
	return s, c.call(ctx, http.MethodGet, "/api/story", url.Values{"id": {node}, "with": {with}}, nil, &s)
}

// Allocations lists the live allocations, those of one Node if node is not empty: the newest first, or by sort those with the
// most "traffic" or "drops".
func (c *Client) Allocations(ctx context.Context, node, sort string, limit int) (l AllocationList, err error) {
	q := query(limit)
	if sort != "" {
		q.Set("sort", sort)
	}
	if node != "" {
		q.Set("node", node)
	}
	return l, c.call(ctx, http.MethodGet, "/api/allocations", q, nil, &l)
}

// Find lists the live allocations with part in their Node's id or their addresses.
func (c *Client) Find(ctx context.Context, part string) (l AllocationList, err error) {
	return l, c.call(ctx, http.MethodGet, "/api/allocations", url.Values{"q": {part}}, nil, &l)
}

// CloseAllocation ends an allocation; [ErrNotFound] if there is none with that id.
func (c *Client) CloseAllocation(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/api/allocations/"+url.PathEscape(id), nil, nil, nil)
}

// Bans lists the bans in force, the newest first.
func (c *Client) Bans(ctx context.Context, limit int) (l BanList, err error) {
	return l, c.call(ctx, http.MethodGet, "/api/bans", query(limit), nil, &l)
}

// Ban bans a Node; see BanRequest.
func (c *Client) Ban(ctx context.Context, req BanRequest) (a BanAnswer, err error) {
	return a, c.call(ctx, http.MethodPost, "/api/bans", nil, req, &a)
}

// Unban lifts a ban; [ErrNotFound] if there is none.
func (c *Client) Unban(ctx context.Context, id string) error {
	return c.call(ctx, http.MethodDelete, "/api/bans", url.Values{"id": {id}}, nil, nil)
}

func query(limit int) url.Values {
	q := url.Values{}
	if limit > 0 {
		q.Set("limit", strconv.Itoa(limit))
	}
	return q
}

// call is fetch with the answer decoded into into, unless that is nil.
func (c *Client) call(ctx context.Context, method, path string, q url.Values, body, into any) error {
	status, data, err := c.fetch(ctx, method, path, q, body)
	if err != nil {
		return err
	}
	return c.stranger(readAnswer(status, path, data, into))
}

// stranger adds the address to an ErrStranger.
func (c *Client) stranger(err error) error {
	if errors.Is(err, ErrStranger) {
		return fmt.Errorf("%s: %w", c.base, err)
	}
	return err
}

// fetch sends body as JSON, unless it is nil, and returns the answer.
func (c *Client) fetch(ctx context.Context, method, path string, q url.Values, body any) (status int, answer []byte, err error) {
	target := c.base + path
	if len(q) > 0 {
		target += "?" + q.Encode()
	}
	var sent io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		sent = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, target, sent)
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", UserAgent)
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, c.unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }()
	most := maxAnswer(path, q)
	data, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("the server's answer broke off: %w", err)
	case int64(len(data)) > most:
		return 0, nil, fmt.Errorf("the server's answer is larger than %d MiB: check admin.listen", most>>20)
	}
	return resp.StatusCode, data, nil
}

// unreachable is why a request got no answer.
func (c *Client) unreachable(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var untrusted *tls.CertificateVerificationError
	if errors.As(err, &untrusted) {
		return fmt.Errorf("the certificate of %s is not trusted: run this as the user that the server runs as, with its configuration (%w)", c.base, err)
	}
	if text := err.Error(); len(text) > maxText { // it quotes what came
		err = errors.New(said(text))
	}
	return fmt.Errorf("%w at %s: is it running, and is admin.listen the same for both? (%w)", ErrUnreachable, c.base, err)
}

// readAnswer turns a status and a body into into or an error.
func readAnswer(status int, path string, data []byte, into any) error {
	var p Problem
	switch {
	case status/100 == 2, status == http.StatusServiceUnavailable && path == "/readyz":
		if into == nil {
			return nil
		}
		if err := json.Unmarshal(data, into); err != nil {
			return ErrStranger
		}
		return nil
	case status == http.StatusUnauthorized:
		return ErrUnauthorized
	case status == http.StatusBadRequest && bytes.HasPrefix(data, []byte("Client sent an HTTP request to an HTTPS server")):
		return errSecure
	case json.Unmarshal(data, &p) != nil || p.Error == "" || p.Error == NoSuchPath:
		return fmt.Errorf("%w (status %d)", ErrStranger, status)
	case status == http.StatusNotFound:
		return missing(said(p.Error))
	}
	return errors.New(said(p.Error))
}

// missing is [ErrNotFound] in the server's words, which say what is not there.
type missing string

func (m missing) Error() string      { return string(m) }
func (missing) Is(target error) bool { return target == ErrNotFound }

// said is what a server says, fit for one line.
func said(text string) string {
	if cut := []rune(text); len(cut) > maxText {
		text = string(cut[:maxText]) + "…"
	}
	return terminal.Printable(text)
}
