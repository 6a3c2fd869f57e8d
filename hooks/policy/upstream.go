package policy

import (
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
	maxAnswer   = 64 << 10 // bytes of a yes or no
	maxInvalid  = 16 << 20 // bytes of an answer that names Nodes
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

// ask posts a body, unless too many are on their way, and returns the answer's.
func (u *upstream) ask(ctx context.Context, t *target, body []byte, limit int64) ([]byte, error) {
	select {
	case u.slots <- struct{}{}:
		defer func() { <-u.slots }()
	default:
		u.counts.busy.Add(1)
		return nil, errBusy
	}
	return u.post(ctx, t.url, body, limit)
}

// post sends one request, whose body is the caller's again when post returns. The other side may be asked twice: a call
// is a question, and a message that comes twice is less harm than one that is lost.
func (u *upstream) post(ctx context.Context, address string, body []byte, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, u.cfg.Timeout)
	defer cancel()
	lend := lent{text: body}
	defer lend.takeBack()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, nil)
	if err != nil {
		return nil, errUnreachable
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
		return nil, plainError(err)
	}
	defer response.Body.Close()
	if response.StatusCode < 200 || response.StatusCode > 299 {
		_, _ = io.CopyN(io.Discard, response.Body, 4<<10) // so that the connection can be used again
		return nil, statusError(response.StatusCode)
	}
	answer, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case err != nil:
		return nil, plainError(err)
	case int64(len(answer)) > limit:
		return nil, errAnswerLarge
	}
	return withoutBOM(answer), nil
}

// withoutBOM is a text without the byte order mark that some editors and servers put in front.
func withoutBOM(text []byte) []byte { return bytes.TrimPrefix(text, []byte("\ufeff")) }

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
	answer, err := u.ask(ctx, t, body, maxAnswer)
	if err == nil {
		ok, err = parseYes(answer, field)
	}
	u.note(t, err)
	return ok, err
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
	var named map[string]bool
	answer, err := u.ask(ctx, &u.validity, body, maxInvalid)
	if err == nil {
		named, err = parseInvalid(answer)
	}
	u.note(&u.validity, err)
	if len(named) == 0 {
		return err
	}
	for node := range nodes {
		if named[node] {
			name(node, "upstream says so")
		}
	}
	return nil
}

// parseYes reads one boolean field of an object, which must be there, once.
func parseYes(answer []byte, field string) (yes bool, err error) {
	var r strictjson.Reader
	r.ResetBytes(answer)
	found := 0
	err = r.Object(func(name []byte) (err error) {
		if string(name) != field {
			return r.Skip()
		}
		found++
		yes, err = r.Bool()
		return err
	})
	if err != nil || found != 1 || r.End() != nil {
		return false, errAnswerForm
	}
	return yes, nil
}

// parseInvalid reads {"invalidNodesIds": […]}.
func parseInvalid(answer []byte) (map[string]bool, error) {
	var r strictjson.Reader
	r.ResetBytes(answer)
	named := map[string]bool{}
	found := false
	err := r.Object(func(field []byte) error {
		if string(field) != "invalidNodesIds" {
			return r.Skip()
		}
		found = true
		return r.Array(func() error {
			node, err := text(&r)
			named[node] = true
			return err
		})
	})
	if err != nil || !found || r.End() != nil {
		return nil, errAnswerForm
	}
	return named, nil
}
