package policy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// run makes a Policy and runs it until the test ends.
func run(t *testing.T, cfg Config) *Policy {
	t.Helper()
	p, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return p
}

// replace swaps the configuration.
func replace(p *Policy, cfg Config) error {
	next, err := p.Prepare(cfg)
	if err == nil {
		next.Apply()
	}
	return err
}

// admit asks whether a Node may come in with a token.
func admit(t *testing.T, p *Policy, node, token string) (bool, string) {
	t.Helper()
	inner, err := json.Marshal(map[string]string{"token": token})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(string(inner))
	if err != nil {
		t.Fatal(err)
	}
	return authenticate(t, p, node, data, []byte(`{"id":"x"}`))
}

// invalid is what a validity check names, with its causes.
func invalid(t *testing.T, p *Policy, nodes ...string) map[string]string {
	t.Helper()
	named := map[string]string{}
	var body []byte
	if p.NeedsBody() {
		body = encodeConnected(slices.Values(nodes))
	}
	_ = p.Invalid(t.Context(), slices.Values(nodes), body, func(node, cause string) { named[node] = cause })
	return named
}

// authenticate and authorize take an answer apart. Where it has a wrong verdict they say so in its cause.
func authenticate(t *testing.T, p *Policy, node string, data, body []byte) (ok bool, cause string) {
	t.Helper()
	return apart(t, p.Authenticate(t.Context(), Request{Node: node, Data: data, Body: body}))
}

func authorize(t *testing.T, p *Policy, from, to string, body []byte) (ok bool, cause string) {
	t.Helper()
	return apart(t, p.Authorize(t.Context(), from, to, body))
}

// apart fails the test where a verdict and its cause do not go together.
func apart(t *testing.T, a Answer) (ok bool, cause string) {
	t.Helper()
	undecided := strings.HasPrefix(a.Cause, "upstream") && a.Cause != "upstream says no" || a.Cause == causeHashingBusy || a.Cause == causeJWTKeys
	if (undecided && !a.OK()) != (a.Verdict == Failed) {
		t.Errorf("the verdict of %q is %d", a.Cause, a.Verdict)
	}
	return a.OK(), a.Cause
}

// clock is a time that tests move on.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Unix(1_800_000_000, 0)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// logTo is a logger that writes to w, everything.
func logTo(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// wantMistake checks that err holds a KeyError under key whose text holds part.
func wantMistake(t *testing.T, err error, key, part string) {
	t.Helper()
	if !errors.Is(err, ErrConfig) {
		t.Fatalf("error %v", err)
	}
	var found *KeyError
	if !errors.As(err, &found) || found.Key != key && !strings.HasPrefix(found.Key, key+"[") || !strings.Contains(found.Error(), part) {
		t.Errorf("error %q, want key %s and %q", err, key, part)
	}
}
