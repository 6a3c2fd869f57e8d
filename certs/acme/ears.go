package acme

import (
	"context"
	crypto "crypto/rand"
	"encoding/json"
	"log/slog"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/mholt/acmez/v3"
	"github.com/mholt/acmez/v3/acme"
)

// A CA asks whichever machine the name leads it to, and more than once. So the one whose turn it is tells the others what will be
// asked, and they answer for it.

func boot() string { return crypto.Text() }

// question is what a machine tells the others.
type question struct {
	By        string         `json:"by"` // a process
	Challenge acme.Challenge `json:"challenge"`
}

// Bounds of a question.
const (
	maxQuestion = 4 << 10
	maxToken    = 512
)

// readQuestion reads one about a name, and reports whether it can be.
func readQuestion(domain string, b []byte) (q question, ok bool) {
	if len(b) == 0 || len(b) > maxQuestion || json.Unmarshal(b, &q) != nil {
		return q, false
	}
	c := q.Challenge
	return q, c.Identifier.Value == domain && isToken(c.Token) && strings.HasPrefix(c.KeyAuthorization, c.Token+".") &&
		isToken(c.KeyAuthorization[len(c.Token)+1:]) && (c.Identifier.Type == "dns" || c.Identifier.Type == "ip")
}

// isToken reports whether s is made of the base64url alphabet (RFC 8555 section 8.1), and not too long.
func isToken(s string) bool {
	return s != "" && len(s) <= maxToken && strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// ears hear what a CA will ask, and have it answered here.
type ears struct {
	mates   *mates
	domains []string // of which a machine can be asked
	solvers map[string]acmez.Solver
	log     *slog.Logger
	wake    chan struct{} // has room for one: a machine has ended its turn, or can be reached again
	deaf    bool          // nothing could be heard at the last look. Of the goroutine that hears

	mu   sync.Mutex
	told map[string]heard    // by name
	own  map[string]struct{} // names whose turn is this machine's: what was told of them before is answered no longer
}

type heard struct {
	question

	asked    string // the challenge
	since    time.Time
	answered bool // else that could not be
}

// newEars makes them, and has what solvers present here told to the others.
func newEars(m *mates, cfg Config, solvers map[string]acmez.Solver) *ears {
	e := &ears{mates: m, solvers: map[string]acmez.Solver{}, log: cfg.Logger, told: map[string]heard{}, own: map[string]struct{}{}, wake: make(chan struct{}, 1)}
	for _, d := range cfg.Domains {
		if !strings.HasPrefix(d, "*.") {
			e.domains = append(e.domains, d)
		}
	}
	for _, challenge := range cfg.Challenges {
		if s := solvers[challenge]; s != nil && challenge != DNS01 { // which no machine is asked
			e.solvers[challenge] = s
			solvers[challenge] = told{s, e}
		}
	}
	return e
}

// news has one when a machine has ended its turn.
func (m *mates) news() <-chan struct{} {
	if m == nil {
		return nil
	}
	return m.ears.wake
}

// hear listens until ctx ends.
func (m *mates) hear(ctx context.Context) {
	tick := time.NewTicker(m.pace.Hear)
	defer tick.Stop()
	for {
		m.ears.look(ctx)
		select {
		case <-ctx.Done():
			m.ears.close(context.WithoutCancel(ctx))
			return
		case <-tick.C:
		}
	}
}

func (m *mates) question(domain string) string {
	return path.Join(sharedAs+"questions", m.issuer, domain)
}

// look brings what is answered here into line with what is asked.
func (e *ears) look(ctx context.Context) {
	names := make([]string, len(e.domains))
	for i, d := range e.domains {
		names[i] = e.mates.question(d)
	}
	found, err := e.mates.Get(ctx, names...)
	if err == nil && e.deaf {
		e.hurry() // others may have what this machine lacks, or lack what it has
	}
	e.deaf = err != nil
	e.mu.Lock()
	defer e.mu.Unlock()
	for i, d := range e.domains {
		was, known := e.told[d]
		if err != nil { // it is answered for as long as it can be asked
			if known && time.Since(was.since) > attemptTimeout {
				e.forget(ctx, d)
			}
			continue
		}
		q, ok := readQuestion(d, found[i])
		_, own := e.own[d]
		ok = ok && !own && q.By != e.mates.self && e.solvers[q.Challenge.Type] != nil
		if known && ok && was.asked == q.Challenge.Type && was.Challenge.KeyAuthorization == q.Challenge.KeyAuthorization {
			continue
		}
		if known {
			e.forget(ctx, d)
		}
		if ok {
			e.answer(ctx, d, heard{question: q, asked: q.Challenge.Type, since: time.Now()})
		}
	}
}

// answer is called with mu held.
func (e *ears) answer(ctx context.Context, domain string, h heard) {
	if err := e.solvers[h.asked].Present(ctx, h.Challenge); err != nil {
		e.log.Warn("the CA asks for another machine's certificate, and cannot be answered here", "name", domain, "challenge", h.asked, "err", err)
	} else {
		h.answered = true
	}
	e.told[domain] = h // so that it is said once
}

// forget ends the answer for a name, and has its certificate looked for. mu is held.
func (e *ears) forget(ctx context.Context, domain string) {
	h := e.told[domain]
	delete(e.told, domain)
	if h.answered {
		_ = e.solvers[h.asked].CleanUp(ctx, h.Challenge) // of a listener there is nothing to be done
	}
	e.hurry()
}

func (e *ears) hurry() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

// close ends all answers.
func (e *ears) close(ctx context.Context) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for domain := range e.told {
		e.forget(ctx, domain)
	}
}

// begin has this machine answer for itself, and end ends that.
func (e *ears) begin(ctx context.Context, domain string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.own[domain] = struct{}{}
	if _, known := e.told[domain]; known {
		e.forget(ctx, domain)
	}
}

func (e *ears) end(domain string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.own, domain)
}

// told tells the other machines what a solver presents here.
type told struct {
	acmez.Solver

	ears *ears
}

// Present implements [acmez.Solver].
func (t told) Present(ctx context.Context, c acme.Challenge) error {
	m := t.ears.mates
	t.ears.begin(ctx, c.Identifier.Value)
	if b, err := json.Marshal(question{m.self, c}); err == nil {
		_ = m.Put(ctx, m.question(c.Identifier.Value), b, attemptTimeout) // else the CA may come to this machine all the same
	}
	return t.Solver.Present(ctx, c)
}

// Wait implements [acmez.Waiter]: the others have to hear of it first.
func (t told) Wait(ctx context.Context, _ acme.Challenge) error {
	timer := time.NewTimer(settle * t.ears.mates.pace.Hear)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// CleanUp implements [acmez.Solver]. It is called after a Present that has failed, too.
func (t told) CleanUp(ctx context.Context, c acme.Challenge) error {
	m := t.ears.mates
	_ = m.Delete(context.WithoutCancel(ctx), m.question(c.Identifier.Value)) // else it ends by itself
	err := t.Solver.CleanUp(ctx, c)
	t.ears.end(c.Identifier.Value)
	return err
}
