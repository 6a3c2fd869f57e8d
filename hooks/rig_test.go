package hooks

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
)

var update = flag.Bool("update", false, "write the golden files")

const testToken = "0123456789abcdef"

// registry is a Registry that remembers what it was told.
type registry struct {
	mu         sync.Mutex
	bans       map[string]string
	notes      []string
	issued     []string
	joined     []string
	connected  []string
	authorized []string
}

func (r *registry) BanReason(node string) (string, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	reason, ok := r.bans[node]
	return reason, ok
}

func (r *registry) Authenticated(node, detail string) { r.note(node, "authentication", detail) }
func (r *registry) AuthenticationRefused(node, detail string) {
	r.note(node, "authentication", detail)
}
func (r *registry) ConfigurationRefused(node, detail string) { r.note(node, "configuration", detail) }
func (r *registry) AuthorizationRefused(node, detail string) { r.note(node, "authorization", detail) }
func (r *registry) NamedInvalid(node, detail string)         { r.note(node, "validity", detail) }

func (r *registry) note(node, kind, detail string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.notes = append(r.notes, fmt.Sprintf("%s %s: %s", node, kind, detail))
}

func (r *registry) JoinedElsewhere(node string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joined = append(r.joined, node)
}

func (r *registry) Issued(node string, expires time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.issued = append(r.issued, fmt.Sprintf("%s %d", node, expires.Unix()))
}

func (r *registry) Validated(nodes []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.connected = append(r.connected, nodes...)
}

func (r *registry) Authorized(from, to string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.authorized = append(r.authorized, from+" "+to)
}

// asking is a Policy that remembers what it was asked. Eve may not come in or be talked to, Mallory is invalid, and
// about Fay nothing can be decided.
type asking struct {
	mu       sync.Mutex
	asked    []string
	messages []string
	keep     bool
	got      chan string // each message, where not nil
}

func (p *asking) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, fmt.Sprintf(format, args...))
}

func (p *asking) Authenticate(_ context.Context, r policy.Request) policy.Answer {
	p.note("authenticate %s data=%s body=%s", r.Node, r.Data, r.Body)
	switch r.Node {
	case "Eve":
		return policy.Answer{Cause: "token unknown"}
	case "Fay":
		return policy.Answer{Verdict: policy.Failed, Cause: "upstream cannot be reached"}
	}
	return policy.Answer{Verdict: policy.Yes}
}

func (p *asking) Authorize(_ context.Context, from, to string, body []byte) policy.Answer {
	p.note("authorize %s %s body=%s", from, to, body)
	switch to {
	case "Eve":
		return policy.Answer{Cause: "rule 1"}
	case "Fay":
		return policy.Answer{Verdict: policy.Failed, Cause: "upstream cannot be reached"}
	}
	return policy.Answer{Verdict: policy.Yes}
}

func (p *asking) NeedsBody() bool { return p.keep }

func (p *asking) Invalid(_ context.Context, all iter.Seq[string], body []byte, name func(node, cause string)) error {
	nodes := slices.Collect(all)
	p.note("invalid %v body=%s", nodes, body)
	if slices.Contains(nodes, "Mallory") {
		name("Mallory", "token expired 3s ago")
		name("Mallory", "upstream says so")
	}
	if slices.Contains(nodes, "Fay") {
		return errors.New("upstream cannot be reached")
	}
	return nil
}

func (p *asking) Message(m policy.Message) {
	p.mu.Lock()
	p.messages = append(p.messages, m.From+" "+m.To+" "+string(m.Body))
	p.mu.Unlock()
	if p.got != nil {
		p.got <- string(m.Body)
	}
}

type ice struct{}

func (ice) ICE(node string, _ netip.Addr) (ICE, error) {
	if node == "Broken" {
		return ICE{}, errors.New("no listener is up")
	}
	return ICE{
		STUN: [2]*URLs{NewURLs("stun:turn.example:3478")},
		TURN: [2]*URLs{
			NewURLs("turn:turn.example:3478?transport=udp", "turn:turn.example:3478?transport=tcp"),
			NewURLs("turns:turn.example:5349?transport=tcp"),
		},
		Username: "1700000000:" + node,
		Password: "cGFzc3dvcmQ=",
		Expires:  time.Unix(1700000000, 0),
	}, nil
}

// setup is what a rig is made of.
type setup struct {
	Config
	Asked DeciderConfig
}

// rig is a running Server with all that it talks to.
type rig struct {
	*Server
	t        *testing.T
	registry *registry
	policy   *asking
	log      *logtest.Buffer
	mu       sync.Mutex
	observed []string
}

func start(t *testing.T, change func(*setup)) *rig {
	t.Helper()
	r := &rig{t: t, registry: &registry{bans: map[string]string{"Ben": "spam", "Bea": ""}}, policy: &asking{}, log: &logtest.Buffer{}}
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	cfg := setup{
		Config: Config{Listen: "127.0.0.1:0", Token: testToken, Logger: log},
		Asked: DeciderConfig{Registry: r.registry, Policy: r.policy, ICE: ice{}, Logger: log, Observe: func(hook, result string, _ time.Duration) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.observed = append(r.observed, hook+" "+result)
		}},
	}
	if change != nil {
		change(&cfg)
	}
	decider, err := NewDecider(cfg.Asked)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Decider = decider
	server, err := New(cfg.Config)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = server
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return r
}

type answer struct {
	status int
	header http.Header
	body   string
}

// post calls a webhook as a Broker does. change may spoil the request.
func (r *rig) post(path, body string, change func(*http.Request)) answer {
	r.t.Helper()
	request, err := http.NewRequest(http.MethodPost, "http://"+r.Addr().String()+path, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.SetBasicAuth("broker", testToken)
	if change != nil {
		change(request)
	}
	response, err := http.DefaultTransport.RoundTrip(request)
	if err != nil {
		r.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(text)}
}

// golden compares text with a file of testdata.
func golden(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) {
		t.Errorf("%s:\ngot  %s\nwant %s", name, text, want)
	}
}
