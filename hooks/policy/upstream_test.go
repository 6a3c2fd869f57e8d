package policy

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
	"github.com/crolang-p2p/crolang-aio/internal/strictjson"
)

// hook is the user's webhook.
type hook struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	mu     sync.Mutex
	bodies []string
	auth   string
}

func newHook(t *testing.T, answer http.HandlerFunc) *hook {
	t.Helper()
	h := &hook{}
	h.answer.Store(&answer)
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		h.mu.Lock()
		h.bodies = append(h.bodies, string(body))
		h.auth = r.Header.Get("Authorization") + " " + r.Header.Get("Content-Type")
		h.mu.Unlock()
		(*h.answer.Load())(w, r)
	}))
	t.Cleanup(h.Close)
	return h
}

func (h *hook) calls() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.bodies...)
}

func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

func upstreamConfig(url string) Config {
	return Config{
		Authenticate: Authenticate{Mode: ModeUpstream},
		Authorize:    Authorize{Mode: ModeUpstream},
		Upstream:     Upstream{AuthenticateURL: url + "/a", AuthorizeURL: url + "/z", ValidityURL: url + "/v", Token: "upt0ken", Timeout: 10 * time.Second},
	}
}

func TestUpstreamAnswers(t *testing.T) {
	h := newHook(t, says(`{"authenticated":true,"authorized":true,"invalidNodesIds":["Bob","nobody"],"new":[{}]}`))
	p := run(t, upstreamConfig(h.URL))
	const body = `{"id":"Alice","data":"{\"token\":\"t\"}","new":1}`
	if ok, cause := authenticate(t, p, "Alice", nil, []byte(body)); !ok || cause != "" {
		t.Errorf("authenticate: %v %q", ok, cause)
	}
	if got := h.calls(); len(got) != 1 || got[0] != body || h.auth != "Bearer upt0ken application/json" {
		t.Errorf("called with %q, %q", got, h.auth)
	}
	if ok, cause := authorize(t, p, "Alice", "Bob", []byte(`{}`)); !ok || cause != "" {
		t.Errorf("authorize: %v %q", ok, cause)
	}
	if !p.NeedsBody() {
		t.Error("the body is not wanted")
	}
	if got := invalid(t, p, "Alice", "Bob"); len(got) != 1 || got["Bob"] != "upstream says so" {
		t.Errorf("invalid: %v", got)
	}
	_ = p.Invalid(t.Context(), slices.Values([]string{"A\"", "B"}), nil, func(string, string) {})
	if got := h.calls(); got[len(got)-1] != `{"connectedNodesIds":["A\"","B"]}` {
		t.Errorf("without a body: %s", got[len(got)-1])
	}
	no := says(`{"authenticated":false,"authorized":false,"invalidNodesIds":[]}`)
	h.answer.Store(&no)
	if ok, cause := authenticate(t, p, "Alice", nil, []byte(body)); ok || cause != "upstream says no" {
		t.Errorf("authenticate: %v %q", ok, cause)
	}
	if ok, cause := authorize(t, p, "Alice", "Bob", []byte(`{}`)); ok || cause != "upstream says no" {
		t.Errorf("authorize: %v %q", ok, cause)
	}
	if got := invalid(t, p, "Alice", "Bob"); len(got) > 0 {
		t.Errorf("invalid: %v", got)
	}
}

// TestUpstreamFails is of the webhooks that a user may have.
func TestUpstreamFails(t *testing.T) {
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		cause  string
	}{
		"500":          {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "upstream answered 500"},
		"redirect":     {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/other", http.StatusFound) }, "upstream answered 302"},
		"HTML":         {says("<html>it works</html>"), errAnswerForm.Error()},
		"nothing":      {says(""), errAnswerForm.Error()},
		"other fields": {says(`{}`), errAnswerForm.Error()},
		"text":         {says(`{"authenticated":"true","authorized":"true","invalidNodesIds":"Alice"}`), errAnswerForm.Error()},
		"numbers":      {says(`{"authenticated":1,"authorized":1,"invalidNodesIds":[1]}`), errAnswerForm.Error()},
		"twice":        {says(`{"authenticated":true,"authenticated":true,"authorized":true,"authorized":false}`), errAnswerForm.Error()},
		"cut off":      {says(`{"authenticated":true,"authorized":true,"invalidNodesIds":["Alice"]`), errAnswerForm.Error()},
		"closed":       {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, errUnreachable.Error()},
		"slow":         {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, errSlow.Error()},
		"slow body": {func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}, errSlow.Error()},
		"huge": {func(w http.ResponseWriter, _ *http.Request) {
			chunk := []byte(strings.Repeat(" ", 1<<20))
			for range 1 << 10 {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}, errAnswerLarge.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHook(t, c.answer)
			log := &logtest.Buffer{}
			cfg := upstreamConfig(h.URL + "/?secret=s3cret")
			cfg.Logger, cfg.Upstream.Timeout = logTo(log), 300*time.Millisecond
			if name == "huge" {
				cfg.Upstream.Timeout = 20 * time.Second
			}
			p := run(t, cfg)
			ask := func(wantOK bool, cause string) {
				t.Helper()
				if ok, got := authenticate(t, p, "Alice", nil, []byte(`{}`)); ok != wantOK || got != cause {
					t.Errorf("authenticate: %v %q, want %q", ok, got, cause)
				}
				if ok, got := authorize(t, p, "Alice", "Bob", []byte(`{}`)); ok != wantOK || got != cause {
					t.Errorf("authorize: %v %q, want %q", ok, got, cause)
				}
				if got := invalid(t, p, "Alice"); len(got) > 0 {
					t.Errorf("invalid: %v", got)
				}
			}
			ask(false, c.cause)
			ask(false, c.cause)
			if n := p.Stats().UpstreamFailures; n != 6 {
				t.Errorf("%d failures", n)
			}
			if n := strings.Count(log.String(), "upstream fails"); n != 3 || strings.Contains(log.String(), "s3cret") {
				t.Errorf("log: %s", log)
			}
			cfg.Upstream.FailOpen = true
			if err := replace(p, cfg); err != nil {
				t.Fatal(err)
			}
			ask(true, c.cause+", let through by hooks.upstream.fail_open")
			good := says(`{"authenticated":true,"authorized":true,"invalidNodesIds":[]}`)
			h.answer.Store(&good)
			ask(true, "")
			if n := strings.Count(log.String(), "upstream answers again"); n != 3 {
				t.Errorf("log: %s", log)
			}
		})
	}
}

func TestUpstreamUnreachable(t *testing.T) {
	h := newHook(t, says(``))
	h.Close()
	p := run(t, upstreamConfig(h.URL))
	if ok, cause := authenticate(t, p, "Alice", nil, nil); ok || cause != errUnreachable.Error() {
		t.Errorf("%v %q", ok, cause)
	}
}

// TestUpstreamIsNotPiledUpOn holds every slot and asks once more: the answer comes at once.
func TestUpstreamIsNotPiledUpOn(t *testing.T) {
	entered, release := make(chan struct{}, 8), make(chan struct{})
	h := newHook(t, func(w http.ResponseWriter, _ *http.Request) {
		entered <- struct{}{}
		<-release
		_, _ = io.WriteString(w, `{"authenticated":true}`)
	})
	cfg := upstreamConfig(h.URL)
	cfg.Upstream.MaxInFlight, cfg.Upstream.Timeout = 2, 30*time.Second
	p := run(t, cfg)
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() {
			if ok, cause := authenticate(t, p, "Alice", nil, nil); !ok {
				t.Error(cause)
			}
		})
	}
	<-entered
	<-entered
	if ok, cause := authorize(t, p, "Alice", "Bob", nil); ok || cause != errBusy.Error() {
		t.Errorf("%v %q", ok, cause)
	}
	if n := p.Stats().UpstreamBusy; n != 1 {
		t.Errorf("%d busy", n)
	}
	close(release)
	all.Wait()
}

func TestUpstreamCache(t *testing.T) {
	h := newHook(t, says(`{"authorized":true}`))
	now := newClock()
	cfg := upstreamConfig(h.URL)
	cfg.Now, cfg.Upstream.Cache = now.Now, 30*time.Second
	p := run(t, cfg)
	ask := func(from, to string, want bool, calls int) {
		t.Helper()
		if ok, _ := authorize(t, p, from, to, []byte(`{}`)); ok != want || len(h.calls()) != calls {
			t.Errorf("%s to %s: %v, %d calls", from, to, ok, len(h.calls()))
		}
	}
	ask("Alice", "Bob", true, 1)
	ask("Alice", "Bob", true, 1)
	ask("Bob", "Alice", true, 2)
	no := says(`{"authorized":false}`)
	h.answer.Store(&no)
	now.add(29 * time.Second)
	ask("Alice", "Bob", true, 2)
	now.add(time.Second)
	ask("Alice", "Bob", false, 3)
	ask("Alice", "Bob", false, 3)
	bad := says(`oops`)
	h.answer.Store(&bad)
	now.add(time.Minute)
	ask("Alice", "Bob", false, 4)
	ask("Alice", "Bob", false, 5) // a failure is not kept
	if n := p.Stats().UpstreamCached; n != 3 {
		t.Errorf("%d cached", n)
	}
	if err := replace(p, upstreamConfig(h.URL)); err != nil { // cache 0
		t.Fatal(err)
	}
	yes := says(`{"authorized":true}`)
	h.answer.Store(&yes)
	ask("Alice", "Bob", true, 6)
	ask("Alice", "Bob", true, 7)
}

func TestMessagesAreForwarded(t *testing.T) {
	var fail atomic.Int32
	got := make(chan string, 100)
	var h *hook
	h = newHook(t, func(w http.ResponseWriter, _ *http.Request) {
		if fail.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		calls := h.calls()
		got <- calls[len(calls)-1]
	})
	p := run(t, Config{Messages: Messages{Mode: ModeUpstream}, Upstream: Upstream{MessagesURL: h.URL, MessageWorkers: 1}})
	body := []byte(`{"senderId":"a"}`)
	p.Message(Message{From: "a", To: "b", Body: body})
	body[1] = 'X' // the policy must have its own copy
	if text := <-got; text != `{"senderId":"a"}` {
		t.Errorf("%s", text)
	}
	fail.Store(1)
	p.Message(Message{From: "a", To: "b", Body: []byte(`{"n":2}`)})
	if text := <-got; text != `{"n":2}` {
		t.Errorf("%s", text)
	}
	waitFor(t, func() bool { return p.Stats().MessagesForwarded == 2 })
	refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadRequest) })
	h.answer.Store(&refuse)
	p.Message(Message{From: "a", To: "b", Body: []byte(`{"n":3}`)}) // not tried again
	waitFor(t, func() bool { return p.Stats().MessagesDropped == 1 })
	if n := len(h.calls()); n != 4 {
		t.Errorf("%d calls", n)
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never happened")
		}
	}
}

// TestMessageQueue fills the queue of a webhook that does not answer, reloads, and ends.
func TestMessageQueue(t *testing.T) {
	entered := make(chan struct{}, 10)
	var stuck atomic.Bool
	stuck.Store(true)
	h := newHook(t, func(_ http.ResponseWriter, r *http.Request) {
		if stuck.Load() {
			entered <- struct{}{}
			<-r.Context().Done()
		}
	})
	log := &logtest.Buffer{}
	var lost atomic.Uint64
	cfg := Config{
		Logger: logTo(log), Messages: Messages{Mode: ModeUpstream}, Upstream: Upstream{MessagesURL: h.URL, MessageWorkers: 1, MessageQueue: 3, Timeout: time.Minute},
		Dropped: func(node string) {
			if node == "a" {
				lost.Add(1)
			}
		},
	}
	p := run(t, cfg)
	p.Message(Message{From: "a", To: "b", Body: []byte(`{"n":0}`)})
	<-entered
	for i := range 5 {
		p.Message(Message{From: "a", To: "b", Body: fmt.Appendf(nil, `{"n":%d}`, i+1)})
	}
	if s := p.Stats(); s.MessagesQueued != 3 || s.MessagesDropped != 2 {
		t.Errorf("%+v", s)
	}
	stuck.Store(false)
	cfg.Upstream.MessageQueue, cfg.Upstream.MessageWorkers = 10, 2
	if err := replace(p, cfg); err != nil { // what was on its way, and what waited, goes on
		t.Fatal(err)
	}
	waitFor(t, func() bool { return p.Stats().MessagesForwarded == 4 })
	stuck.Store(true)
	for range 5 {
		p.Message(Message{From: "a", To: "b", Body: []byte(`{}`)})
	}
	<-entered
	<-entered
	if err := replace(p, Config{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { s := p.Stats(); return s.MessagesQueued == 0 && s.MessagesDropped == 7 })
	waitFor(t, func() bool { return lost.Load() == 7 }) // each is told of
	p.Message(Message{From: "a", To: "b", Body: []byte(`{}`)})
	if s := p.Stats(); s.MessagesQueued != 0 {
		t.Errorf("%+v", s)
	}
	waitFor(t, func() bool { return strings.Contains(log.String(), "messages were not forwarded") })
}

// TestReplaceWhileAsked swaps configurations under load.
func TestReplaceWhileAsked(t *testing.T) {
	h := newHook(t, says(`{"authenticated":true,"authorized":true,"invalidNodesIds":[]}`))
	p := run(t, Config{})
	_, line := newToken(t, "Alice")
	configs := []Config{{}, upstreamConfig(h.URL), {Authenticate: Authenticate{Mode: ModeTokens, Tokens: []string{line}}},
		{Authenticate: Authenticate{Mode: ModeJWT, JWT: JWT{Secret: jwtSecret}}, Messages: Messages{Mode: ModeUpstream}, Upstream: Upstream{MessagesURL: h.URL}}}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				admit(t, p, "Alice", "x")
				authorize(t, p, "Alice", "Bob", []byte(`{}`))
				_ = p.Invalid(t.Context(), slices.Values([]string{"Alice"}), nil, func(string, string) {})
				p.Message(Message{From: "a", To: "b", Body: []byte(`{}`)})
			}
		})
	}
	for i := range 40 {
		if err := replace(p, configs[i%len(configs)]); err != nil {
			t.Error(err)
		}
		if err := replace(p, Config{Authorize: Authorize{Mode: "x"}}); err == nil {
			t.Error("a wrong configuration was taken")
		}
		time.Sleep(time.Millisecond)
	}
	close(stop)
	all.Wait()
}

func FuzzUpstreamAnswers(f *testing.F) {
	for _, seed := range []string{`{"authorized":true}`, `{"invalidNodesIds":["a","\ud800"]}`, `[`, `{"invalidNodesIds":[1]}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(_ *testing.T, answer []byte) {
		_ = read(bytes.NewReader(answer), maxAnswer, func(r *strictjson.Reader) error { _, err := parseYes(r, "authorized"); return err })
		_ = read(bytes.NewReader(answer), maxAnswer, func(r *strictjson.Reader) error { return parseInvalid(r, func([]byte) {}) })
	})
}
