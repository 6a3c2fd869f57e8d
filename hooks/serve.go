package hooks

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/strictjson"
)

// route is a webhook.
type route struct {
	name     string
	negative string                   // documented key and refusing value, added to every error
	serve    func(c *call) *errAnswer // fills c.out, and observes unless the error has a result; nil for the message webhook
}

// call is one request on its way, with buffers that are used again.
type call struct {
	w     http.ResponseWriter
	r     *http.Request
	start time.Time
	limit int64
	paid  counted // the body as it is read
	body  []byte  // as it came
	out   []byte  // the answer
	json  strictjson.Reader
	names [][]byte // field names seen
	nodes nodeList
}

// errAnswer is an answer other than 200. Its text holds nothing of the request.
type errAnswer struct {
	status int
	result string // a mistake of the caller, to be observed; empty if the Decider has answered
	text   string
}

var (
	errNotFound = &errAnswer{status: http.StatusNotFound, result: ResultNotFound, text: "no such path"}
	errMethod   = &errAnswer{status: http.StatusMethodNotAllowed, result: ResultMethod, text: "only POST is answered here"}
	errType     = &errAnswer{status: http.StatusUnsupportedMediaType, result: ResultType, text: "the body must be application/json, not compressed"}
	errLarge    = &errAnswer{status: http.StatusRequestEntityTooLarge, result: ResultTooLarge, text: "the body is larger than hooks.max_body"}
	errSlow     = &errAnswer{status: http.StatusRequestTimeout, result: ResultTimeout, text: "the body came too slowly"}
	errCut      = &errAnswer{status: http.StatusBadRequest, result: ResultInvalid, text: "the body ended early"}

	jsonType  = []string{"application/json"}
	noStore   = []string{"no-store"}
	allowPOST = []string{"POST"}
)

func invalid(text string) *errAnswer {
	return &errAnswer{status: http.StatusBadRequest, result: ResultInvalid, text: text}
}

// ServeHTTP answers a request that the guard let through.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	found := s.find(r.URL.Path)
	c := s.calls.Get().(*call)
	defer s.release(c)
	c.w, c.r, c.start, c.limit = w, r, s.decider.cfg.Now(), s.maxBody.Load()
	c.paid = counted{share: share{of: s.budget}, call: c, guard: s.guard}
	switch {
	case found == nil:
		s.fail(c, "other", "", errNotFound)
	case found.serve == nil:
		s.message(c)
	default:
		s.answer(found, c)
	}
}

func (s *Server) answer(hook *route, c *call) {
	failed := check(c.r, c.limit)
	if failed == nil {
		failed = hook.serve(c)
	}
	if failed != nil {
		s.fail(c, hook.name, hook.negative, failed)
		return
	}
	c.write(http.StatusOK)
}

// fail answers with an error.
func (s *Server) fail(c *call, hook, negative string, failed *errAnswer) {
	if failed.result != "" {
		s.log.Debug("webhook called wrongly", "hook", hook, "error", failed.text)
		s.observe(c, hook, failed.result)
	}
	c.writeError(failed, negative)
}

func (s *Server) observe(c *call, hook, result string) {
	s.decider.cfg.Observe(hook, result, s.decider.cfg.Now().Sub(c.start))
}

// release returns a call's buffers to the pool, except large ones.
func (s *Server) release(c *call) {
	c.w, c.r = nil, nil
	c.paid.giveBack()
	c.paid = counted{}
	clear(c.names)
	c.nodes.reset()
	c.body, c.out, c.names = c.body[:0], c.out[:0], c.names[:0]
	if cap(c.body) > 64<<10 || cap(c.out) > 64<<10 {
		*c = call{}
	}
	s.calls.Put(c)
}

// check refuses what cannot be a webhook call before its body is read.
func check(r *http.Request, limit int64) *errAnswer {
	switch {
	case r.Method != http.MethodPost:
		return errMethod
	case !isJSON(r.Header["Content-Type"]) || len(r.Header["Content-Encoding"]) > 0:
		return errType
	case r.ContentLength > limit:
		return errLarge
	}
	return nil
}

func isJSON(header []string) bool {
	if len(header) != 1 {
		return false
	}
	if header[0] == "application/json" {
		return true
	}
	media, _, _ := strings.Cut(header[0], ";")
	return strings.EqualFold(strings.TrimSpace(media), "application/json")
}

// readBody reads the whole body into c.body.
func (c *call) readBody() *errAnswer {
	body := io.Reader(c.r.Body)
	if c.r.ContentLength < 0 {
		body = http.MaxBytesReader(c.w, c.r.Body, c.limit)
	}
	if c.body == nil {
		c.body = make([]byte, 0, 2048)
	}
	err := c.read(c.paidFor(body))
	switch {
	case err != nil:
		return bodyError(err)
	case c.r.ContentLength >= 0 && int64(len(c.body)) != c.r.ContentLength:
		return errCut
	}
	return nil
}

// paidFor is a body that is read as far as there is memory for it.
func (c *call) paidFor(body io.Reader) io.Reader {
	c.paid.body, c.paid.credit = body, bodyFree
	return &c.paid
}

// bodyError is the answer to a body that could not be read or parsed.
func bodyError(err error) *errAnswer {
	var tooLarge *http.MaxBytesError
	var timeout net.Error
	switch {
	case errors.As(err, &tooLarge):
		return errLarge
	case errors.As(err, &timeout) && timeout.Timeout():
		return errSlow
	case errors.Is(err, strictjson.ErrSyntax), errors.Is(err, strictjson.ErrDeep), errors.Is(err, strictjson.ErrType):
		return invalid(err.Error())
	}
	return errCut
}

// write sends c.out.
func (c *call) write(status int) {
	header := c.w.Header()
	header["Content-Type"] = jsonType
	header["Cache-Control"] = noStore
	if len(c.out) >= 2048 { // below that the server sets it, without an allocation
		header["Content-Length"] = []string{strconv.Itoa(len(c.out))}
	}
	if status != http.StatusOK {
		c.w.WriteHeader(status)
	}
	_, _ = c.w.Write(c.out) // a Broker that has gone needs no answer
}

func (c *call) writeError(failed *errAnswer, negative string) {
	c.out = append(c.out[:0], `{"error":`...)
	c.out = strictjson.AppendString(c.out, failed.text)
	if negative != "" {
		c.out = append(append(c.out, ','), negative...)
	}
	c.out = append(c.out, '}')
	if failed.status == http.StatusMethodNotAllowed {
		c.w.Header()["Allow"] = allowPOST
	}
	c.write(failed.status)
}
