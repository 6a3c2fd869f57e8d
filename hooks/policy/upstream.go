package policy

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crolang-p2p/crolang-aio/internal/strictjson"
)

const (
	maxAnswer   = 64 << 10 // bytes of a yes or no, and of a text in any answer
	maxInvalid  = 16 << 20 // bytes of an answer that names Nodes: read as it comes, of which only names that were asked about are kept
	maxPairs    = 65536    // answers kept by the cache
	maxMessages = 1 << 20  // messages queued, even if the configuration allows more
)

// What may go wrong with the user's webhook, as the why-record says it.
var (
	errUnreachable = errors.New("upstream cannot be reached")
	errSlow        = errors.New("upstream did not answer in time")
	errBusy        = errors.New("upstream has too many requests in flight")
	errAnswerLarge = errors.New("upstream's answer is too large")
	errAnswerForm  = errors.New("upstream's answer is not the JSON that is expected")
)

// statusError is an answer other than 2xx.
type statusError int

func (e statusError) Error() string { return fmt.Sprintf("upstream answered %d", int(e)) }

// pair is two Nodes in the order from, to.
type pair struct{ from, to string }

// verdict is an answer on a pair, for as long as it may be used again.
type verdict struct {
	ok   bool
	ends time.Time
}

// upstream is the user's own webhook. If it is slow, requests must not pile up here: what is over the limit
// fails at once, and fail_open decides what that counts as.
type upstream struct {
	cfg    Upstream
	client *http.Client
	slots  chan struct{}
	cache  *lru.Cache[pair, verdict]
	counts *counters
	now    func() time.Time
	log    *slog.Logger

	authentication, authorization, validity, messages target
}

// target is one of the user's URLs.
type target struct {
	hook    string
	url     string
	failing atomic.Bool // since the last call
}

func newUpstream(cfg Upstream, counts *counters, now func() time.Time, dated func(time.Time), log *slog.Logger) *upstream {
	u := &upstream{
		cfg: cfg,
		client: &http.Client{
			Transport:     &renewed{conns: cfg.MaxInFlight + cfg.MessageWorkers, now: now, dated: dated},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		slots:  make(chan struct{}, cfg.MaxInFlight),
		cache:  newCache[pair, verdict](maxPairs),
		counts: counts,
		now:    now,
		log:    log,
	}
	u.authentication.hook, u.authentication.url = "authenticate", cfg.AuthenticateURL
	u.authorization.hook, u.authorization.url = "authorize", cfg.AuthorizeURL
	u.validity.hook, u.validity.url = "validity", cfg.ValidityURL
	u.messages.hook, u.messages.url = "message", cfg.MessagesURL
	return u
}

// close lets idle connections go.
func (u *upstream) close() { u.client.CloseIdleConnections() }

// ask posts a body, unless too many are on their way, and has take read the answer's.
func (u *upstream) ask(ctx context.Context, t *target, body []byte, limit int64, take func(*strictjson.Reader) error) error {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	default:
		u.counts.busy.Add(1)
		return errBusy
	}
	return u.post(ctx, t.url, body, func(answer io.Reader) error { return read(answer, limit, take) })
}

// post sends one request, whose body is the caller's again when post returns, and has take read the answer as it comes.
// The other side may be asked twice: a call is a question, and a message that comes twice is less harm than one that is
// lost.
func (u *upstream) post(ctx context.Context, address string, body []byte, take func(io.Reader) error) error {
	ctx, cancel := context.WithTimeout(ctx, u.cfg.Timeout)
	defer cancel()
	lend := lent{text: body}
	defer lend.takeBack()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return errUnreachable
	}
	request.Body, _ = lend.body()
	request.GetBody, request.ContentLength = lend.body, int64(len(body))
	safeToRepeat(request)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Accept", "application/json")
	if u.cfg.Token != "" {
		request.Header.Set("Authorization", "Bearer "+u.cfg.Token)
	}
	response, err := u.client.Do(request)
	if err != nil {
		return plainError(err)
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		_, _ = io.CopyN(io.Discard, response.Body, 4<<10) // so that the connection can be used again
		return statusError(response.StatusCode)
	}
	return take(response.Body)
}

// read has take read one JSON text of at most limit bytes, behind a byte order mark if there is one. The error is one for
// the why-record.
func read(body io.Reader, limit int64, take func(*strictjson.Reader) error) error {
	from := &source{from: body, left: limit}
	buffered := bufio.NewReader(from)
	if mark, _ := buffered.Peek(len(bom)); string(mark) == bom {
		_, _ = buffered.Discard(len(bom))
	}
	r := strictjson.Reader{MaxString: maxAnswer}
	r.Reset(buffered)
	err := take(&r)
	if err == nil {
		err = r.End()
	}
	switch {
	case err == nil:
		return nil
	case from.err != nil:
		return from.err
	case errors.Is(err, strictjson.ErrLong):
		return errAnswerLarge
	}
	return errAnswerForm
}

// source is an answer's body, up to a number of bytes. It remembers why it ended before its time.
type source struct {
	from io.Reader
	left int64
	err  error
}

func (s *source) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	n, err := s.from.Read(p)
	s.left -= int64(n)
	switch {
	case s.left < 0:
		s.err = errAnswerLarge
		return 0, s.err
	case err != nil && !errors.Is(err, io.EOF):
		s.err = plainError(err)
		return n, s.err
	}
	return n, err
}

const bom = "\ufeff" // some editors and servers put it in front

// withoutBOM is a text without its byte order mark.
func withoutBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte(bom)) }

// plainError makes an error of the client one for the why-record: without the URL, which may hold a secret.
func plainError(err error) error {
	var timeout net.Error
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, &timeout) && timeout.Timeout() {
		return errSlow
	}
	return fmt.Errorf("%w: %w", errUnreachable, withoutURL(err))
}

func withoutURL(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// note counts failures. It logs the first one of a row, and its end.
func (u *upstream) note(t *target, err error) {
	switch {
	case err == nil:
		u.counts.answered.Add(1)
		if t.failing.CompareAndSwap(true, false) {
			u.log.Info("upstream answers again", "hook", t.hook)
		}
	case errors.Is(err, errBusy), errors.Is(err, context.Canceled): // not called, or the Broker has gone
	default:
		u.counts.failures.Add(1)
		if t.failing.CompareAndSwap(false, true) {
			u.log.Warn("upstream fails", "hook", t.hook, "error", err, "fail_open", u.cfg.FailOpen)
		}
	}
}

// yes asks a question whose answer is one boolean field.
func (u *upstream) yes(ctx context.Context, t *target, field string, body []byte) (ok bool, err error) {
	err = u.ask(ctx, t, body, maxAnswer, func(r *strictjson.Reader) (err error) {
		ok, err = parseYes(r, field)
		return err
	})
	u.note(t, err)
	return ok && err == nil, err
}

// failed is the answer when the upstream gave none.
func (u *upstream) failed(err error) Answer {
	var cause string
	if errors.Is(err, errUnreachable) {
		cause = errUnreachable.Error() // addresses and ports are for the log
	} else {
		cause = err.Error()
	}
	if u.cfg.FailOpen {
		return Answer{Yes, cause + ", let through by hooks.upstream.fail_open"}
	}
	return failed(cause)
}

func (u *upstream) authenticate(ctx context.Context, r Request) Answer {
	if r.Body == nil {
		r.Body = encodeRequest(r)
	}
	ok, err := u.yes(ctx, &u.authentication, "authenticated", r.Body)
	if err != nil {
		return u.failed(err)
	}
	return u.verdict(ok)
}

// authorize asks, or uses an answer that is not too old. Failures are not kept.
func (u *upstream) authorize(ctx context.Context, from, to string, body []byte) Answer {
	who := pair{from, to}
	if u.cfg.Cache > 0 {
		if known, found := u.cache.Get(who); found && u.now().Before(known.ends) {
			u.counts.cached.Add(1)
			return u.verdict(known.ok)
		}
	}
	if body == nil {
		body = encodePair(from, to)
	}
	ok, err := u.yes(ctx, &u.authorization, "authorized", body)
	if err != nil {
		return u.failed(err)
	}
	if u.cfg.Cache > 0 {
		u.cache.Add(who, verdict{ok: ok, ends: u.now().Add(u.cfg.Cache)})
	}
	return u.verdict(ok)
}

func (*upstream) verdict(ok bool) Answer {
	if ok {
		return yes()
	}
	return no("upstream says no")
}

// invalid asks which Nodes must go. If that fails nobody goes, fail_open or not: one hiccup must not cut every Node
// off.
func (u *upstream) invalid(ctx context.Context, nodes iter.Seq[string], body []byte, name func(node, cause string)) error {
	if body == nil { // a Broker in this process, or the URL was set while the request was on its way
		body = encodeConnected(nodes)
	}
	asked := make(map[string]bool) // those asked about that the answer has named
	err := u.ask(ctx, &u.validity, body, maxInvalid, func(r *strictjson.Reader) error {
		return parseInvalid(r, func(node []byte) {
			if len(asked) == 0 {
				for each := range nodes {
					asked[each] = false
				}
			}
			if named, known := asked[string(node)]; known && !named {
				asked[string(node)] = true
			}
		})
	})
	u.note(&u.validity, err)
	if err != nil || len(asked) == 0 {
		return err
	}
	for node := range nodes {
		if asked[node] {
			name(node, "upstream says so")
		}
	}
	return nil
}

// parseYes reads one boolean field of an object, which must be there, once.
func parseYes(r *strictjson.Reader, field string) (yes bool, err error) {
	found := 0
	err = r.Object(func(name []byte) (err error) {
		if string(name) != field {
			return r.Skip()
		}
		found++
		yes, err = r.Bool()
		return err
	})
	if err == nil && found != 1 {
		err = errAnswerForm
	}
	return yes, err
}

// parseInvalid reads {"invalidNodesIds": […]}, and calls named with each, which is valid until named returns.
func parseInvalid(r *strictjson.Reader, named func(node []byte)) error {
	found := false
	var plain []byte
	err := r.Object(func(field []byte) error {
		if string(field) != "invalidNodesIds" {
			return r.Skip()
		}
		found = true
		return r.Array(func() error {
			node, escaped, err := r.RawString()
			if err != nil {
				return err
			}
			if escaped {
				plain, _ = strictjson.AppendUnquoted(plain[:0], node)
				node = plain
			}
			named(node)
			return nil
		})
	})
	if err == nil && !found {
		err = errAnswerForm
	}
	return err
}
