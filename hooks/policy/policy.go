// Package policy decides who may come in and who may talk to whom: by a fixed answer, tokens, JWTs, rules, or the
// user's own webhook. A Policy can be given another configuration while it is in use.
package policy

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/crolang-p2p/crolang-aio/internal/change"
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
	expiries *lru.Cache[string, time.Time]
	hasher   *hasher
	replaced chan struct{}

	swap   sync.Mutex // held while the engine is swapped
	engine atomic.Pointer[engine]
}

// counters are shared by all configurations that a Policy has had.
type counters struct {
	answered, failures, busy, cached, forwarded, dropped atomic.Uint64
}

// Stats is what a Policy has done so far, for metrics.
type Stats struct {
	UpstreamAnswered  uint64
	UpstreamFailures  uint64 // calls without a usable answer
	UpstreamBusy      uint64 // calls not made: too many in flight
	UpstreamCached    uint64 // questions answered without a call
	MessagesForwarded uint64
	MessagesDropped   uint64 // queue full, refused, or given up
	MessagesQueued    int    // now
	TokensRemembered  int    // Nodes whose token's end is watched, now
	ChecksWaiting     int    // tokens that wait to be checked with argon2id, now
	ChecksRefused     uint64 // tokens that were not checked: too many wait
}

// engine is one configuration, ready for use. It never changes.
type engine struct {
	authenticate func(ctx context.Context, r Request) Answer
	authorize    func(ctx context.Context, from, to string, body []byte) Answer
	tokens       *tokens
	upstream     *upstream // nil if none of its URLs is used
	validity     bool      // the upstream is asked who is invalid
	forward      bool      // messages go upstream
	jwks         *jwks     // nil if no keys have to be kept up to date
	expiring     bool      // tokens end
	warnings     []string
}

// New makes a Policy. The error joins a [KeyError] for each mistake.
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
		hasher:   newHasher(cfg.Logger),
		replaced: make(chan struct{}, 1),
	}
	p.queue = newQueue(&p.counts, cfg.Dropped)
	first, err := p.Prepare(cfg)
	if err != nil {
		return nil, err
	}
	first.Apply()
	return p, nil
}

// Prepare gets another configuration ready; files that it names are read now. The error is like that of New. Once the
// change is applied it holds for every question that is asked from then on. Known ends of tokens, and messages that
// wait, are kept if the new configuration has a use for them. Logger, Now, Dated and Dropped are those given to New.
func (p *Policy) Prepare(cfg Config) (change.Change, error) {
	next, err := compile(cfg, p)
	if err != nil {
		return change.Change{}, err
	}
	setDefault(&cfg.Upstream.MessageQueue, 1024)
	return change.New(func() { p.swapTo(next, cfg.Upstream.MessageQueue) }, nil), nil
}

// swapTo makes next the engine, and queue the limit of messages that wait.
func (p *Policy) swapTo(next *engine, queue int) {
	p.swap.Lock()
	defer p.swap.Unlock()
	for _, warning := range next.warnings {
		p.log.Warn(warning)
	}
	if old := p.engine.Load(); old != nil && old.jwks != nil && next.jwks != nil && old.jwks.source == next.jwks.source {
		next.jwks.said = old.jwks.said
		next.jwks.set.CompareAndSwap(nil, old.jwks.set.Load())
	}
	p.queue.resize(queue)
	p.engine.Store(next)
	if !next.expiring {
		p.expiries.Purge()
	}
	select {
	case p.replaced <- struct{}{}:
	default:
	}
}

// compile checks cfg and makes an engine. p may be nil if only the mistakes are of interest.
func compile(cfg Config, p *Policy) (*engine, error) {
	if p == nil {
		p = &Policy{log: slog.New(slog.DiscardHandler), now: time.Now, hasher: newHasher(slog.New(slog.DiscardHandler))}
	}
	var m mistakes
	m.mode("hooks.authenticate.mode", &cfg.Authenticate.Mode, ModeAllow, ModeDeny, ModeTokens, ModeJWT, ModeUpstream)
	m.mode("hooks.authorize.mode", &cfg.Authorize.Mode, ModeAllow, ModeDeny, ModeRules, ModeUpstream)
	m.mode("hooks.messages.mode", &cfg.Messages.Mode, ModeCount, ModeUpstream)
	cfg.checkUpstream(&m)
	known := compileTokens(cfg.Authenticate.Tokens, p.hasher, &m)
	if old := p.engine.Load(); old != nil && slices.Equal(old.tokens.lines, known.lines) {
		known = old.tokens // with what it has hashed already
	}
	if cfg.Authenticate.Mode == ModeTokens && len(cfg.Authenticate.Tokens) == 0 {
		m.because("hooks.authenticate.mode", "hooks.authenticate.tokens", `is empty, and hooks.authenticate.mode is "tokens": make a line with crolang-aio token new NODE`)
	}
	signed, keys := compileJWT(&cfg.Authenticate, p.now, &m)
	ordered := compileRules(&cfg.Authorize, &m)
	if err := errors.Join(m...); err != nil {
		return nil, err
	}

	e := &engine{tokens: known, validity: cfg.Upstream.ValidityURL != "", forward: cfg.Messages.Mode == ModeUpstream}
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
		e.authorize = func(_ context.Context, from, to string, _ []byte) Answer { return ordered.authorize(from, to) }
	case ModeUpstream:
		e.authorize = e.upstream.authorize
	}
	return e, nil
}

// newCache makes a cache of a fixed size. When it is full it forgets the entry that was used least recently.
func newCache[K comparable, V any](size int) *lru.Cache[K, V] {
	c, err := lru.New[K, V](size)
	if err != nil {
		panic(err) // only a size below 1 does it, and sizes are constants
	}
	return c
}

func fixedAuthenticate(ok bool) func(context.Context, Request) Answer {
	answer := yes()
	if !ok {
		answer = no("hooks.authenticate.mode is deny")
	}
	return func(context.Context, Request) Answer { return answer }
}

func fixedAuthorize(ok bool) func(context.Context, string, string, []byte) Answer {
	answer := yes()
	if !ok {
		answer = no("hooks.authorize.mode is deny")
	}
	return func(context.Context, string, string, []byte) Answer { return answer }
}

// Run fetches keys and forwards messages, for one configuration after the other, until ctx ends. It returns nil once
// all that it started has ended; messages that are still queued are dropped.
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

// Authenticate decides whether a Node may come in.
func (p *Policy) Authenticate(ctx context.Context, r Request) Answer {
	return p.engine.Load().authenticate(ctx, r)
}

// Authorize decides whether from may talk to to. body is the Broker's call as it came, nil if there is none.
func (p *Policy) Authorize(ctx context.Context, from, to string, body []byte) Answer {
	return p.engine.Load().authorize(ctx, from, to, body)
}

// NeedsBody reports whether Invalid has a use for the Broker's call as it came.
func (p *Policy) NeedsBody() bool { return p.engine.Load().validity }

// Invalid names those of the connected nodes whose token has expired and those that the upstream wants gone. nodes may
// be gone through more than once, and body may be nil. An error: the upstream could not be asked, and has named nobody.
func (p *Policy) Invalid(ctx context.Context, nodes iter.Seq[string], body []byte, name func(node, cause string)) error {
	e := p.engine.Load()
	if e.expiring {
		nameExpired(p.expiries, nodes, p.now(), name)
	}
	if e.validity {
		return e.upstream.invalid(ctx, nodes, body, name)
	}
	return nil
}

// Stats returns what has been done so far.
func (p *Policy) Stats() Stats {
	return Stats{
		UpstreamAnswered:  p.counts.answered.Load(),
		UpstreamFailures:  p.counts.failures.Load(),
		UpstreamBusy:      p.counts.busy.Load(),
		UpstreamCached:    p.counts.cached.Load(),
		MessagesForwarded: p.counts.forwarded.Load(),
		MessagesDropped:   p.counts.dropped.Load(),
		MessagesQueued:    p.queue.length(),
		TokensRemembered:  p.expiries.Len(),
		ChecksWaiting:     p.hasher.length(),
		ChecksRefused:     p.hasher.refused.Load(),
	}
}
