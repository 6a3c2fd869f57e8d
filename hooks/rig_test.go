package hooks

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

const testToken = "0123456789abcdef"

// registry is a Registry that remembers what it was told.
type registry struct {
	mu         sync.Mutex
	bans       map[string]string
	notes      []string
	issued     []string
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

// policy is a Policy that remembers what it was asked. Eve may not come in or be talked to, Mallory is invalid.
type policy struct {
	mu       sync.Mutex
	asked    []string
	messages []string
	keep     bool
	got      chan string // each message, where not nil
}

func (p *policy) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, fmt.Sprintf(format, args...))
}

func (p *policy) Authenticate(_ context.Context, node string, data, body []byte) (bool, string) {
	p.note("authenticate %s data=%s body=%s", node, data, body)
	if node == "Eve" {
		return false, "token unknown"
	}
	return true, ""
}

func (p *policy) Authorize(_ context.Context, from, to string, body []byte) (bool, string) {
	p.note("authorize %s %s body=%s", from, to, body)
	if to == "Eve" {
		return false, "rule 1"
	}
	return true, ""
}

func (p *policy) NeedsBody() bool { return p.keep }

func (p *policy) Invalid(_ context.Context, nodes []string, body []byte, name func(node, cause string)) {
	p.note("invalid %v body=%s", nodes, body)
	if slices.Contains(nodes, "Mallory") {
		name("Mallory", "token expired 3s ago")
		name("Mallory", "upstream says so")
	}
}

func (p *policy) Message(from, to string, body []byte) {
	p.mu.Lock()
	p.messages = append(p.messages, from+" "+to+" "+string(body))
	p.mu.Unlock()
	if p.got != nil {
		p.got <- string(body)
	}
}

type ice struct{}

func (ice) ICE(node string) (ICE, error) {
	if node == "Broken" {
		return ICE{}, errors.New("no listener is up")
	}
	return ICE{
		STUN:     []string{"stun:turn.example:3478"},
		TURN:     []string{"turn:turn.example:3478?transport=udp", "turn:turn.example:3478?transport=tcp", "turns:turn.example:5349?transport=tcp"},
		Username: "1700000000:" + node,
		Password: "cGFzc3dvcmQ=",
		Expires:  time.Unix(1700000000, 0),
	}, nil
}

// rig is a running Server with all that it talks to.
type rig struct {
	*Server
	t        *testing.T
	registry *registry
	policy   *policy
	log      *syncBuffer
	mu       sync.Mutex
	observed []string
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func start(t *testing.T, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, registry: &registry{bans: map[string]string{"Ben": "spam", "Bea": ""}}, policy: &policy{}, log: &syncBuffer{}}
	cfg := Config{
		Listen:   "127.0.0.1:0",
		Token:    testToken,
		Registry: r.registry,
		Policy:   r.policy,
		ICE:      ice{},
		Logger:   slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Observe: func(hook, result string, _ time.Duration) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.observed = append(r.observed, hook+" "+result)
		},
	}
	if change != nil {
		change(&cfg)
	}
	server, err := New(cfg)
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
