package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/audit"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/strictjson"
	"github.com/crolang-p2p/crolang-aio/internal/usage"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

const (
	maxBody  = 64 << 10 // bytes of a request's body
	maxDepth = 16       // of its JSON
)

// call is what an endpoint sees of its request besides the body.
type call struct {
	id       string // of a path with {id}, unescaped
	query    url.Values
	readOnly bool   // whoever calls may change nothing
	from     string // the address of whoever calls, or of the proxy in front

	entry audit.Entry // of a change: what its handler knows of it
}

// part is what a request wants of a list: n items after the first skip ones; all of them if n is 0.
type part struct{ skip, n int }

// part reads ?limit= and ?offset=.
func (c *call) part() (p part, err error) {
	if s := c.query.Get("limit"); s != "" {
		if p.n, err = strconv.Atoi(s); err != nil || p.n < 1 {
			return p, problem(http.StatusBadRequest, "limit must be a number above 0")
		}
	}
	if s := c.query.Get("offset"); s != "" {
		if p.skip, err = strconv.Atoi(s); err != nil || p.skip < 0 {
			return p, problem(http.StatusBadRequest, "offset must be 0 or a number above")
		}
	}
	return p, nil
}

// upTo is how many items of a list the part reaches into, 0 for all.
func (p part) upTo() int {
	if p.n == 0 || p.n > math.MaxInt-p.skip {
		return 0
	}
	return p.skip + p.n
}

// cut returns a part of a list.
func cut[T any](list []T, p part) []T {
	list = list[min(p.skip, len(list)):]
	if p.n > 0 && p.n < len(list) {
		return list[:p.n]
	}
	return list
}

// none stands for no body: of a request, or of an answer of 204.
type none struct{}

// failure is an error with the status that it is answered with.
type failure struct {
	status int
	text   string
}

func (f *failure) Error() string { return f.text }

func problem(status int, text string) error { return &failure{status, text} }

// statusOf turns an error into a status. Nothing else does.
func statusOf(err error) int {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f.status
	case errors.Is(err, nodes.ErrNotBanned), errors.Is(err, usage.ErrUnknown):
		return http.StatusNotFound
	case errors.Is(err, nodes.ErrTooManyBans):
		return http.StatusConflict
	case errors.Is(err, usage.ErrMonth), errors.Is(err, nodes.ErrReason), errors.Is(err, nodes.ErrDuration), errors.Is(err, nodeid.ErrEmpty),
		errors.Is(err, nodeid.ErrLong), errors.Is(err, nodeid.ErrUTF8), errors.Is(err, nodeid.ErrControl):
		return http.StatusBadRequest
	}
	return http.StatusInternalServerError
}

// handler answers a request whose path and method are its own. What it returns is answered by the server.
type handler func(a *Admin, w http.ResponseWriter, r *http.Request, id string) error

// endpoint makes a handler of a function from a decoded body to an answer, which is sent with the given status.
func endpoint[Req, Resp any](status int, f func(a *Admin, c *call, req Req) (Resp, error)) handler {
	return func(a *Admin, w http.ResponseWriter, r *http.Request, id string) error {
		return answer(a, w, r, &call{id: id}, status, f)
	}
}

// answer decodes the body of a request, calls f and sends what it returns. What it fails with is the caller's to send.
func answer[Req, Resp any](a *Admin, w http.ResponseWriter, r *http.Request, c *call, status int, f func(a *Admin, c *call, req Req) (Resp, error)) error {
	var req Req
	if _, nothing := any(req).(none); !nothing {
		if err := decodeBody(w, r, &req); err != nil {
			return err
		}
	}
	c.query, c.readOnly, c.from = r.URL.Query(), webguard.ReadOnly(r), fromOf(r)
	resp, err := f(a, c, req)
	if err != nil {
		return err
	}
	if _, nothing := any(resp).(none); nothing {
		w.WriteHeader(status)
		return nil
	}
	writeJSON(w, status, resp)
	return nil
}

// decodeBody checks type and size and decodes strictly.
func decodeBody(w http.ResponseWriter, r *http.Request, into any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return problem(http.StatusUnsupportedMediaType, "the body must have the type application/json")
	}
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return problem(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", maxBody))
	case err != nil:
		return problem(http.StatusBadRequest, "the body could not be read")
	}
	if err := strictjson.Decode(data, maxDepth, into); err != nil {
		return problem(http.StatusBadRequest, "the body is not what is expected: "+err.Error())
	}
	return nil
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	data, err := json.Marshal(v)
	if err != nil { // our own types: only a time out of range could do it
		status, data = http.StatusInternalServerError, []byte(`{"error":"the answer could not be written as JSON"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(data)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n')) // a client that went away is no error of ours
}

// route is a path and what its methods do. A pattern that ends in "/" is followed by an id.
type route struct {
	pattern string
	methods map[string]handler
}

// find returns the methods of an escaped path and the unescaped id in it; nil if there is no such path. The path is
// taken as it came, not cleaned, since an id may hold anything, "../" too.
func find(routes []route, escaped string) (map[string]handler, string) {
	for _, rt := range routes {
		if escaped == rt.pattern {
			return rt.methods, ""
		}
		rest, ok := strings.CutPrefix(escaped, rt.pattern)
		if !ok || !strings.HasSuffix(rt.pattern, "/") || rt.pattern == "/" || rest == "" || strings.Contains(rest, "/") {
			continue
		}
		id, err := url.PathUnescape(rest)
		if err != nil {
			return nil, ""
		}
		return rt.methods, id
	}
	return nil, ""
}

// Serves reports whether an escaped path is one of those that are answered with more than 404.
func (a *Admin) Serves(escaped string) bool {
	methods, _ := find(a.routes, escaped)
	return methods != nil
}

// ServeHTTP answers every request of the admin listener.
func (a *Admin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Cross-Origin-Resource-Policy", "same-origin") // no page of another origin has an answer in its process
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	methods, id := find(a.routes, r.URL.EscapedPath())
	if methods == nil {
		writeJSON(w, http.StatusNotFound, adminapi.Problem{Error: adminapi.NoSuchPath})
		return
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	do := methods[method]
	if do == nil {
		allow := []string{}
		for _, m := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			if methods[m] != nil {
				allow = append(allow, m)
			}
		}
		h.Set("Allow", strings.Join(allow, ", "))
		writeJSON(w, http.StatusMethodNotAllowed, adminapi.Problem{Error: "this path takes " + strings.Join(allow, " and ")})
		return
	}
	if err := do(a, w, r, id); err != nil {
		status := statusOf(err)
		if status == http.StatusInternalServerError {
			a.log.Error("admin request failed", "method", method, "error", err)
		}
		if status == http.StatusGone && a.cfg.Gone != nil {
			a.cfg.Gone()
		}
		writeJSON(w, status, adminapi.Problem{Error: err.Error()})
	}
}
