package acme

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"path"
	"sync/atomic"
	"time"
)

// Shared is what the machines have in common that answer for the same names: certificates, an account, what the CA has said, and
// what it is about to ask. All of it is secret. A value is a copy of what a machine has on its own disk, and may vanish, or be an
// older one: then the machines bring theirs. An error says that it cannot be reached.
type Shared interface {
	// Get returns the values of the names, in their order; nil where there is none that one of the machines has put there.
	Get(ctx context.Context, names ...string) ([][]byte, error)
	// Put keeps a value; for a time at most, if that is not 0.
	Put(ctx context.Context, name string, value []byte, lasting time.Duration) error
	// PutNew does where there is none.
	PutNew(ctx context.Context, name string, value []byte) error
	Delete(ctx context.Context, name string) error
	// Lock has one machine at a time do something; unlock is nil while another does. lost is called if that ends before unlock.
	Lock(ctx context.Context, name string, lost func()) (unlock func(), err error)
}

const (
	// sharedAs begins the names of what is shared.
	sharedAs = "acme/"
	// heldWait and awayWait are how long to wait where another machine asks the CA, and where Shared cannot be reached; in units of
	// Pace.Retry.
	heldWait = 1.0 / 6
	awayWait = 1.0
	// aloneAfter is how long Shared has been away until a machine without a certificate asks by itself, in the same units, and
	// heldAlone how long another machine has had the lock: far longer than any attempt takes.
	aloneAfter = 10
	heldAlone  = 60
	// aloneBefore is the part of a certificate's life that is left when a machine renews by itself then. Between that and half of
	// it each machine has its own moment.
	aloneBefore = 1.0 / 6
	// settle is how many looks of the other machines are awaited before the CA asks one of them.
	settle = 3
)

// mates are the other machines, for a Client.
type mates struct {
	Shared

	self   string // tells this process from the others
	issuer string // key
	nerve  float64
	pace   Pace
	ears   *ears
	taken  atomic.Uint64 // certificates that another machine got

	barred map[string]time.Time // by name: since then no turn could be had. Of the goroutine of Run
}

func (m *mates) lock(domain string) string { return path.Join(sharedAs+"issue", m.issuer, domain) }

func (m *mates) certificate(domain string) string {
	return path.Join(sharedAs+"certificates", m.issuer, domain)
}

func (m *mates) limits(domain string) string { return path.Join(sharedAs+"limits", m.issuer, domain) }

// meet brings what this machine and the others know of a name into line: the certificate that begins later counts, and what the
// CA has refused to one counts for all. It reports whether there is another certificate now.
func (c *Client) meet(ctx context.Context, domain string) (changed bool) {
	if c.fleet == nil {
		return false
	}
	found, err := c.fleet.Get(ctx, c.fleet.certificate(domain), c.fleet.limits(domain))
	if err != nil {
		return false
	}
	c.ledger.meet(domain, found[1])
	now := time.Now()
	file, own := c.file(domain), c.find(domain)
	theirs, ok := certificate(domain, file, found[0])
	ok = ok && inTime(&theirs, now)
	switch {
	case ok && (own == nil || !inTime(own, now) || newer(&theirs, own)):
		c.store.take(file, found[0])
		c.ledger.succeeded(domain)
		if changed = c.publish(ctx, nil); changed {
			c.fleet.taken.Add(1)
			c.cfg.Changed()
		}
		c.fine(domain)
	case own != nil && inTime(own, now) && (!ok || newer(own, &theirs)):
		if whole, err := c.store.whole(file); err == nil {
			_ = c.fleet.Put(ctx, c.fleet.certificate(domain), whole, 0) // else at the next look
		}
	}
	return changed
}

func inTime(c *Certificate, now time.Time) bool {
	return !now.Before(c.leaf.NotBefore) && now.Before(c.leaf.NotAfter)
}

// newer reports whether a is to be used in place of b. All machines come to the same, in whatever order they meet: so a machine
// that has lost its turn, and puts down what it got all the same, replaces nothing that came later.
func newer(a, b *Certificate) bool {
	if !a.leaf.NotBefore.Equal(b.leaf.NotBefore) {
		return a.leaf.NotBefore.After(b.leaf.NotBefore)
	}
	return bytes.Compare(a.leaf.Raw, b.leaf.Raw) > 0
}

// turn is this machine's chance to ask the CA for a name. Alone it has every one.
type turn struct {
	c      *Client
	domain string
	unlock func() // nil: the lock is not ours
	lost   atomic.Bool
	wait   time.Time // it is not ours: when to see again
}

func (c *Client) turn(domain string) *turn { return &turn{c: c, domain: domain} }

var errNotNow = errors.New("another machine asks the CA, or has")

// take takes the turn. stop is called if it is lost meanwhile.
func (t *turn) take(ctx context.Context, stop func()) error {
	m := t.c.fleet
	if m == nil {
		return nil
	}
	unlock, err := m.Lock(ctx, m.lock(t.domain), func() {
		t.lost.Store(true)
		stop()
	})
	switch {
	case err != nil && t.alone(aloneAfter), err == nil && unlock == nil && t.alone(heldAlone):
		return nil
	case err != nil:
		t.later(awayWait)
		t.say(err)
		return errNotNow
	case unlock == nil:
		t.later(heldWait)
		return errNotNow
	}
	t.unlock = unlock
	delete(m.barred, t.domain)
	if t.c.meet(ctx, t.domain) { // another has had its turn just now
		t.wait = time.Now()
		return errNotNow
	}
	if at, _ := t.c.ledger.next(t.domain); at.After(time.Now()) {
		t.wait = at
		return errNotNow
	}
	return nil
}

// later has the name looked at again in so many units.
func (t *turn) later(units float64) {
	t.wait = time.Now().Add(time.Duration(units * float64(t.c.cfg.Retry)))
}

// alone reports whether a machine that does not get its turn asks without it: each that does counts for the CA's limits, and without
// a certificate nobody is served. Where there is none it waits for so many units.
func (t *turn) alone(patience int) bool {
	one, now, barred := t.c.find(t.domain), time.Now(), t.c.fleet.barred
	if barred[t.domain].IsZero() {
		barred[t.domain] = now
	}
	if one == nil || !inTime(one, now) {
		return now.Sub(barred[t.domain]) >= time.Duration(patience)*t.c.cfg.Retry
	}
	life := one.leaf.NotAfter.Sub(one.leaf.NotBefore)
	return one.leaf.NotAfter.Sub(now) < time.Duration(t.c.fleet.nerve*float64(life))
}

// say makes known why there is no certificate, where there is none.
func (t *turn) say(err error) {
	if one := t.c.find(t.domain); one != nil && inTime(one, time.Now()) {
		return
	}
	t.c.trouble(t.domain, newFailure(CauseAway, err, "bring the Redis of fleet.redis_url back; this machine asks the CA by itself after a while",
		"the other machines may have one, and cannot be asked"), t.wait)
}

// waiting reports whether the turn was not ours, or was lost, and when to see again.
func (t *turn) waiting() (time.Time, bool) {
	if t.lost.Load() {
		t.later(heldWait)
	}
	return t.wait, !t.wait.IsZero()
}

// end shares what came of the turn, and gives it back.
func (t *turn) end(ctx context.Context) {
	if t.unlock == nil {
		return
	}
	defer t.unlock()
	if ctx.Err() != nil || t.lost.Load() {
		return
	}
	m := t.c.fleet
	if said := t.c.ledger.said(t.domain); said != nil {
		_ = m.Put(ctx, m.limits(t.domain), said, checksWindow+longestLimit) // who does not hear of it finds out by itself
	} else if t.wait.IsZero() {
		_ = m.Delete(ctx, m.limits(t.domain)) // else it ends by itself
	}
	t.c.meet(ctx, t.domain)
}

// said is what other machines have to know of the failures of a name, nil if that is nothing.
type said struct {
	entry

	Fails int       `json:"fails"`
	Next  time.Time `json:"next"`
}

// maxSaid bounds the texts in it.
const maxSaid = 4 * longest

// said is what the CA has counted or refused of a name: whatever else fails may fail at this machine alone.
func (l *ledger) said(name string) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.names[name]
	if e == nil || !e.counted {
		return nil
	}
	b, err := json.Marshal(said{*e, e.fails, e.next})
	if err != nil {
		return nil
	}
	return b
}

// meet takes in what another machine was told of a name; nil: nothing.
func (l *ledger) meet(name string, b []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, now := l.names[name], time.Now()
	var other said
	longestWait := time.Duration(counting[len(counting)-1]) * l.unit * 2
	if b == nil || json.Unmarshal(b, &other) != nil || len(other.What) > maxSaid || len(other.Remedy) > maxSaid || len(other.Cause) > longest {
		if e != nil && e.foreign {
			delete(l.names, name)
		}
		return
	}
	if other.Next.Sub(now) > longestWait {
		other.Next = time.Time{}
	}
	if e == nil {
		e = &entry{foreign: true}
		l.names[name] = e
	}
	if e.foreign || !other.Next.Before(e.next) {
		e.Cause, e.What, e.Remedy = other.Cause, oneLine(other.What), oneLine(other.Remedy)
	}
	e.Checks = both(e.Checks, other.Checks)
	e.fails = max(e.fails, min(other.Fails, len(counting)))
	e.Until, e.next = latest(e.Until, other.Until), latest(e.next, other.Next)
}

func newMates(i *issuer, cfg Config) *mates {
	m := &mates{
		Shared: cfg.Shared, self: boot(), issuer: i.IssuerKey(), pace: cfg.Pace, barred: map[string]time.Time{},
		nerve: aloneBefore * (0.5 + rand.Float64()/2),
	}
	i.shared = cfg.Shared
	m.ears = newEars(m, cfg, i.solvers)
	return m
}
