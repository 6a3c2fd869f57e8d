// Package doctor finds out whether a STUN or TURN server works, and if not, why and what to do about it. It looks
// from the outside, as a client does, at any server; of one that runs on this machine it also looks at the admin API, the
// webhooks and the files.
package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/plural"
)

// Status is how grave a Finding is.
type Status string

// The statuses. A warning is something that works but may not be meant so.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Finding is what one check found. It holds no secret; its texts may hold what a server chose to say.
type Finding struct {
	Check  string `json:"check"` // a short name, the same in every run
	Status Status `json:"status"`
	Detail string `json:"detail"`
	Remedy string `json:"remedy"` // empty if there is nothing to do
	URL    string `json:"url"`    // empty if it is about the server as a whole
}

// Target is a URL to try. Username and Password are for TURN; Password is a secret.
type Target struct{ URL, Username, Password string }

// Config names what to look at: Targets, or Local and the URLs that its server tells. Everything else has a default.
type Config struct {
	Targets  []Target
	Local    *Local
	Parallel int           // URLs tried at once; 0: 8
	Patience time.Duration // how long one answer is waited for; 0: 3 s
	// Roots are the authorities whose certificates clients know; nil: those of this machine.
	Roots *x509.CertPool
	// Lookup resolves a name; nil: as this machine does.
	Lookup func(ctx context.Context, name string) ([]netip.Addr, error)
	Now    func() time.Time // nil: time.Now
}

func (c *Config) setDefaults() {
	if c.Parallel <= 0 {
		c.Parallel = 8
	}
	if c.Patience <= 0 {
		c.Patience = 3 * time.Second
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Lookup == nil {
		c.Lookup = func(ctx context.Context, name string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", name)
		}
	}
}

// Run looks at everything and calls emit with the findings from the calling goroutine, always in the same order and each as
// soon as those before it are there. It ends early when ctx does: what was not finished is then a finding too. Nothing that
// it started is left when it returns.
func Run(ctx context.Context, cfg Config, emit func(Finding)) {
	cfg.setDefaults()
	if cfg.Local != nil {
		targets := runLocal(ctx, &cfg, emit)
		cfg.Targets = append(cfg.Targets, targets...)
	}
	var sections []section
	for _, t := range cfg.Targets {
		sections = append(sections, func(ctx context.Context) []Finding { return probeURL(ctx, &cfg, t) })
	}
	parallel := cfg.Parallel
	if cfg.Local != nil && cfg.Local.Node != "" {
		parallel = 1 // the limit of allocations of one Node is not to be reached by this program alone
	}
	inOrder(ctx, parallel, sections, emit)
}

// section is a part of the findings that is found independently of the others.
type section func(ctx context.Context) []Finding

// inOrder runs at most parallel sections at once and emits what they find in their order.
func inOrder(ctx context.Context, parallel int, sections []section, emit func(Finding)) {
	slots := make(chan struct{}, parallel)
	done := make([]chan []Finding, len(sections))
	var running sync.WaitGroup
	defer running.Wait()
	for i, s := range sections {
		done[i] = make(chan []Finding, 1)
		running.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			done[i] <- s(ctx)
		})
	}
	for _, d := range done {
		for _, f := range <-d {
			emit(f)
		}
	}
}

// unfinished is the finding of a section that ctx ended.
func unfinished(ctx context.Context, url string) Finding {
	f := Finding{Check: "time", Status: Fail, URL: url, Detail: "not finished: interrupted"}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		f.Detail, f.Remedy = "not finished within the time limit", "give more time with --timeout, or try fewer URLs at once"
	}
	return f
}

// Summary counts findings.
type Summary struct{ Passed, Warnings, Failures int }

// Add counts one.
func (s *Summary) Add(f Finding) {
	switch f.Status {
	case OK:
		s.Passed++
	case Warn:
		s.Warnings++
	case Fail:
		s.Failures++
	}
}

// String is one line for a person.
func (s Summary) String() string {
	return fmt.Sprintf("%d ok, %s, %s", s.Passed, plural.Of(s.Warnings, "warning"), plural.Of(s.Failures, "failure"))
}
