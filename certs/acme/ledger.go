package acme

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Let's Encrypt takes five failed checks of a name in an hour. One is left to whoever tries by hand.
	checksPerHour = 4
	checksWindow  = time.Hour
	// longestLimit is how long a CA's limit is believed to last.
	longestLimit = 8 * 24 * time.Hour
	// limitedFor is how long one lasts whose end the CA does not tell, in units of Pace.Retry.
	limitedFor = 60
)

// The waits after failures, one after the other, in units of Pace.Retry: where the CA has counted them, and where it has
// not.
var (
	counting = []int{10, 30, 60, 120, 240, 360}
	free     = []int{1, 2, 5, 10, 30, 60}
)

// ledger says when a CA may be asked. It is kept in a file: a restart, or ten, must not run into the CA's limits.
type ledger struct {
	store *store
	key   string
	unit  time.Duration

	mu    sync.Mutex
	names map[string]*entry
}

// entry is what is known of one name.
type entry struct {
	Checks []time.Time `json:"checks,omitempty"` // that have failed, in the last hour
	Until  time.Time   `json:"until,omitzero"`   // the CA's own limit
	Cause  Cause       `json:"cause"`            // of the last failure, and its text
	What   string      `json:"what"`
	Remedy string      `json:"remedy"`
	fails  int         // in a row
	next   time.Time
	// counted: the CA has said so itself, so that other machines need not ask; foreign: one of them was told.
	counted, foreign bool
}

func openLedger(s *store, issuer string, unit time.Duration) *ledger {
	l := &ledger{store: s, key: "limits/" + issuer + ".json", unit: unit, names: map[string]*entry{}}
	if b, err := s.Load(context.Background(), l.key); err == nil && json.Unmarshal(b, &l.names) != nil {
		l.names = map[string]*entry{}
	}
	for name, e := range l.names {
		if e == nil {
			delete(l.names, name)
		}
	}
	return l
}

// next is when the CA may be asked for a name, and why it did not give a certificate the last time; nil: it did.
func (l *ledger) next(name string) (time.Time, *Failure) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.names[name]
	if e == nil {
		return time.Time{}, nil
	}
	return e.due(time.Now()), &Failure{Cause: e.Cause, What: e.What, Remedy: e.Remedy}
}

// due is the latest of the times before which the CA is not to be asked.
func (e *entry) due(now time.Time) time.Time {
	e.Checks = slices.DeleteFunc(e.Checks, func(t time.Time) bool { return now.Sub(t) >= checksWindow || t.After(now) })
	at := e.next
	if n := len(e.Checks); n >= checksPerHour {
		at = latest(at, e.Checks[n-checksPerHour].Add(checksWindow))
	}
	if e.Until.Sub(now) < longestLimit { // else the clock was put back, or the CA is mad
		at = latest(at, e.Until)
	}
	return at
}

// both are the times that are in one of two lists, in order; a time may be several times in one. Of many the last few count.
func both(a, b []time.Time) (all []time.Time) {
	a, b = slices.SortedFunc(slices.Values(a), time.Time.Compare), slices.SortedFunc(slices.Values(b), time.Time.Compare)
	for len(a) > 0 && len(b) > 0 {
		switch a[0].Compare(b[0]) {
		case -1:
			all, a = append(all, a[0]), a[1:]
		case 1:
			all, b = append(all, b[0]), b[1:]
		default:
			all, a, b = append(all, a[0]), a[1:], b[1:]
		}
	}
	all = slices.Concat(all, a, b)
	return all[max(0, len(all)-2*checksPerHour):]
}

func latest(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// failed notes a failure after which the CA has checked so many challenges, and returns when to ask again.
func (l *ledger) failed(name string, f *Failure, checked int) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	e := l.names[name]
	if e == nil {
		e = &entry{}
		l.names[name] = e
	}
	waits := free
	if checked > 0 || f.Cause == CauseRefused || f.Cause == CauseCAA || f.Cause == CauseUnproven {
		waits = counting
		for range max(1, checked) {
			e.Checks = append(e.Checks, now)
		}
	}
	wait := time.Duration(waits[min(e.fails, len(waits)-1)]) * l.unit
	e.fails++
	e.next = now.Add(wait + time.Duration(rand.Int64N(int64(wait)/10+1)))
	e.Until, e.Cause, e.What, e.Remedy = f.Until, f.Cause, f.What, f.Remedy
	e.foreign = false
	e.counted = checked > 0 || f.Cause == CauseRefused || f.Cause == CauseCAA || f.Cause == CauseUnproven || f.Cause == CauseLimited
	if f.Cause == CauseLimited && !f.Until.After(now) {
		e.Until = now.Add(limitedFor * l.unit)
	}
	l.write()
	return e.due(now)
}

// succeeded forgets the failures of a name.
func (l *ledger) succeeded(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.names[name]; ok {
		delete(l.names, name)
		l.write()
	}
}

// write keeps the ledger. A disk that does not take it is no reason to ask no more: nothing is asked of a CA then anyway.
func (l *ledger) write() {
	if b, err := json.Marshal(l.names); err == nil {
		_ = l.store.Store(context.Background(), l.key, b)
	}
}

// counters count what came of asking.
type counters struct {
	obtained atomic.Uint64
	mu       sync.Mutex
	causes   map[Cause]uint64
}

func (c *counters) failed(cause Cause) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.causes == nil {
		c.causes = map[Cause]uint64{}
	}
	c.causes[cause]++
}

// Stats counts what came of asking the CA, since the Client was made.
type Stats struct {
	Obtained uint64           // certificates, renewals among them
	Taken    uint64           // certificates that another machine got, see [Shared]
	Failed   map[Cause]uint64 // attempts
}

// Stats returns a snapshot of the counters.
func (c *Client) Stats() Stats {
	c.counts.mu.Lock()
	defer c.counts.mu.Unlock()
	s := Stats{Obtained: c.counts.obtained.Load(), Failed: map[Cause]uint64{}}
	if c.fleet != nil {
		s.Taken = c.fleet.taken.Load()
	}
	for _, cause := range Causes() {
		s.Failed[cause] = c.counts.causes[cause]
	}
	return s
}
