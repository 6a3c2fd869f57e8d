// Package policy decides who may come in and who may talk to whom: by a fixed answer, tokens, JWTs, rules, or the user's
// own webhook. A Policy can be given another configuration while it is in use.
package policy

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// maxExpiries bounds the Nodes whose token's end is remembered. The least recently seen go first.
const maxExpiries = 200_000

// Policy is a set of decisions. It is made by New; its methods may be called from many goroutines at once, and Run must
// be running for keys to be fetched and messages to be forwarded.
type Policy struct {
	log      *slog.Logger
	now      func() time.Time
	dated    func(time.Time)
	counts   counters
	queue    *queue
	expiries *cache[string, time.Time]
	replaced chan struct{}

	swap   sync.Mutex // held by Replace
	engine atomic.Pointer[engine]
}

// counters are shared by all that a Policy was and is.
type counters struct {
	failures, busy, cached, forwarded, dropped atomic.Uint64
}

// Stats is what a Policy has done so far, for metrics.
type Stats struct {
	UpstreamFailures  uint64 // calls without a usable answer
	UpstreamBusy      uint64 // calls not made: too many in flight
	UpstreamCached    uint64 // questions answered without a call
	MessagesForwarded uint64
	MessagesDropped   uint64 // queue full, refused, or given up
	MessagesQueued    int    // now
	TokensRemembered  int    // Nodes whose token's end is watched, now
}

// engine is one configuration, ready for use. It never changes.
type engine struct {
	authenticate func(ctx context.Context, node string, data, body []byte) (bool, string)
	authorize    func(ctx context.Context, from, to string, body []byte) (bool, string)
	upstream     *upstream // nil where none of its URLs is used
	validity     bool      // the upstream is asked who is invalid
	forward      bool      // messages go upstream
	jwks         *jwks     // nil where no keys have to be kept up to date
	expiring     bool      // tokens end
	warnings     []string
}

// New makes a Policy. The error joins a KeyError for each mistake.
func New(cfg Config) (*Policy, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	p := &Policy{
		log:      cfg.Logger,
		now:      cfg.Now,
		dated:    cfg.Dated,
		expiries: newCache[string, time.Time](maxExpiries),
		replaced: make(chan struct{}, 1),
	}
	p.queue = newQueue(&p.counts)
	return p, p.Replace(cfg)
}

// Replace swaps the configuration, all at once. After an error, as of New, the old one stays. What tokens are known to
// end, and messages that wait, are kept where the new configuration has a use for them.
func (p *Policy) Replace(cfg Config) error {
	p.swap.Lock()
	defer p.swap.Unlock()
	next, err := compile(cfg, p)
	if err != nil {
		return err
	}
	for _, warning := range next.warnings {
		p.log.Warn(warning)
	}
	if old := p.engine.Load(); old != nil && old.jwks != nil && next.jwks != nil && old.jwks.source == next.jwks.source {
		next.jwks.set.CompareAndSwap(nil, old.jwks.set.Load())
	}
	setDefault(&cfg.Upstream.MessageQueue, 1024)
	p.queue.resize(cfg.Upstream.MessageQueue)
	p.engine.Store(next)
	if !next.expiring {
		p.expiries.clear()
	}
	select {
	case p.replaced <- struct{}{}:
	default:
	}
	return nil
}

// compile checks cfg and makes an engine. p may be nil where only the mistakes are of interest.
func compile(cfg Config, p *Policy) (*engine, error) {
	if p == nil {
		p = &Policy{log: slog.New(slog.DiscardHandler), now: time.Now}
	}
	var m mistakes
	m.mode("hooks.authenticate.mode", &cfg.Authenticate.Mode, ModeAllow, ModeDeny, ModeTokens, ModeJWT, ModeUpstream)
	m.mode("hooks.authorize.mode", &cfg.Authorize.Mode, ModeAllow, ModeDeny, ModeRules, ModeUpstream)
	m.mode("hooks.messages.mode", &cfg.Messages.Mode, ModeCount, ModeUpstream)
	cfg.checkUpstream(&m)
	known := compileTokens(cfg.Authenticate.Tokens, &m)
	if cfg.Authenticate.Mode == ModeTokens && len(cfg.Authenticate.Tokens) == 0 {
		m.because("hooks.authenticate.mode", "hooks.authenticate.tokens", `is empty, and hooks.authenticate.mode is "tokens": make a line with crolang-aio token new NODE`)
	}
	signed, keys := compileJWT(&cfg.Authenticate, p.now, &m)
	ordered := compileRules(&cfg.Authorize, &m)
	if err := errors.Join(m...); err != nil {
		return nil, err
	}

	e := &engine{validity: cfg.Upstream.ValidityURL != "", forward: cfg.Messages.Mode == ModeUpstream}
	if e.validity || e.forward || cfg.Authenticate.Mode == ModeUpstream || cfg.Authorize.Mode == ModeUpstream {
		e.upstream = newUpstream(cfg.Upstream, &p.counts, p.now, p.dated, p.log)
	}
	switch cfg.Authenticate.Mode {
	case ModeAllow, ModeDeny:
		e.authenticate = fixedAuthenticate(cfg.Authenticate.Mode == ModeAllow)
	case ModeTokens:
		e.authenticate = known.authenticate
	case ModeJWT:
		signed.expiries = p.expiries
		e.authenticate, e.jwks, e.expiring = signed.authenticate, keys, true
		if n := len(cfg.Authenticate.JWT.Secret); n > 0 && n < 32 {
			e.warnings = append(e.warnings, "hooks.authenticate.jwt.secret is shorter than 32 bytes: it can be guessed from one token")
		}
	case ModeUpstream:
		e.authenticate = e.upstream.authenticate
	}
	switch cfg.Authorize.Mode {
	case ModeAllow, ModeDeny:
		e.authorize = fixedAuthorize(cfg.Authorize.Mode == ModeAllow)
	case ModeRules:
		e.authorize = func(_ context.Context, from, to string, _ []byte) (bool, string) { return ordered.authorize(from, to) }
	case ModeUpstream:
		e.authorize = e.upstream.authorize
	}
	return e, nil
}

func fixedAuthenticate(ok bool) func(context.Context, string, []byte, []byte) (bool, string) {
	cause := ""
	if !ok {
		cause = "hooks.authenticate.mode is deny"
	}
	return func(context.Context, string, []byte, []byte) (bool, string) { return ok, cause }
}

func fixedAuthorize(ok bool) func(context.Context, string, string, []byte) (bool, string) {
	cause := ""
	if !ok {
		cause = "hooks.authorize.mode is deny"
	}
	return func(context.Context, string, string, []byte) (bool, string) { return ok, cause }
}

// Run fetches keys and forwards messages, in turn for each configuration, until ctx ends. It returns nil, when all that
// it started has ended; messages still queued are dropped then.
func (p *Policy) Run(ctx context.Context) error {
	for {
		select { // the engine that is loaded next is the one that was announced
		case <-p.replaced:
		default:
		}
		current := p.engine.Load()
		work, stop := context.WithCancel(ctx)
		var tasks sync.WaitGroup
		if current.jwks != nil {
			tasks.Go(func() { current.jwks.run(work, p.log) })
		}
		if current.forward {
			for range current.upstream.cfg.MessageWorkers {
				tasks.Go(func() { current.upstream.forward(work, p.queue) })
			}
		}
		select {
		case <-ctx.Done():
		case <-p.replaced:
		}
		stop()
		tasks.Wait()
		if current.upstream != nil {
			current.upstream.close()
		}
		if ended(ctx) || !p.engine.Load().forward {
			if n := p.queue.empty(); n > 0 {
				p.log.Warn("messages were not forwarded", "count", n)
			}
		}
		if ended(ctx) {
			return nil
		}
	}
}

func ended(ctx context.Context) bool { return ctx.Err() != nil }

// Authenticate tells whether the Node may come in.
func (p *Policy) Authenticate(ctx context.Context, node string, data, body []byte) (ok bool, cause string) {
	return p.engine.Load().authenticate(ctx, node, data, body)
}

// Authorize tells whether from may talk to to.
func (p *Policy) Authorize(ctx context.Context, from, to string, body []byte) (ok bool, cause string) {
	return p.engine.Load().authorize(ctx, from, to, body)
}

// NeedsBody tells whether Invalid wants the request's body.
func (p *Policy) NeedsBody() bool { return p.engine.Load().validity }

// Invalid names the Nodes whose token has expired and those that the upstream wants gone.
func (p *Policy) Invalid(ctx context.Context, nodes []string, body []byte, name func(node, cause string)) {
	e := p.engine.Load()
	if e.expiring {
		nameExpired(p.expiries, nodes, p.now(), name)
	}
	if e.validity {
		e.upstream.invalid(ctx, nodes, body, name)
	}
}

// Stats is what has been done so far.
func (p *Policy) Stats() Stats {
	return Stats{
		UpstreamFailures:  p.counts.failures.Load(),
		UpstreamBusy:      p.counts.busy.Load(),
		UpstreamCached:    p.counts.cached.Load(),
		MessagesForwarded: p.counts.forwarded.Load(),
		MessagesDropped:   p.counts.dropped.Load(),
		MessagesQueued:    p.queue.length(),
		TokensRemembered:  p.expiries.size(),
	}
}
