package certs

import (
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/change"
)

// source is where pairs come from. A Keeper asks it at the start and at every poll, one call at a time, and judges what
// it is given: whether it is in its time, and whether what is in use is better. One that gets its pairs over the
// network, such as an ACME client, works on its own and returns what it has by then.
type source interface {
	kind() Kind
	// look returns the pair to use in place of current, which is nil at first, or nil if there is no other one. The
	// error says why there is none, or, with a pair, why it cannot be kept.
	look(current *pair, v view) (*pair, error)
	// doubts adds what an operator should know of its pair p, beside its dates.
	doubts(p *pair, v view, add adder)
}

// view is what a source goes by at one look.
type view struct {
	now                   time.Time
	names                 names  // that a self-signed certificate must cover
	host                  string // that clients are told; empty: unknown
	validity, renewBefore time.Duration
}

// adder takes a doubt.
type adder func(id, remedy, format string, args ...any)

// newSource makes the source that cfg asks for.
func (k *Keeper) newSource(cfg Config) (source, error) {
	switch {
	case cfg.ACME != nil:
		return k.newAuthority(cfg)
	case cfg.CertFile != "":
		return &files{cfg.CertFile, cfg.KeyFile}, nil
	}
	return &selfSigned{dir: cfg.Dir, log: cfg.Logger}, nil
}

// sameSource reports whether pairs come from the same place with both.
func sameSource(a, b source) bool {
	switch a := a.(type) {
	case *files:
		b, ok := b.(*files)
		return ok && *a == *b
	case *authority:
		b, ok := b.(*authority)
		return ok && a.client.Same(b.client)
	}
	return a.kind() == b.kind()
}

// Prepare checks other settings. If pairs come from elsewhere with them, it finds the pair, and what is wrong with that
// is an error; otherwise applying the change looks for a newer pair, and what goes wrong then leaves the one in use. A CA
// that has not given a pair yet is no error: the one in use stays until it has. A self-signed pair may be written to Dir
// before the change is applied. Dir, Addresses, Around, Pace, Poll, OnChange, Now and Logger stay as they were.
func (k *Keeper) Prepare(cfg Config) (change.Change, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.cfg
	cfg.Dir, cfg.Addresses, cfg.Poll, cfg.OnChange, cfg.Now, cfg.Logger = old.Dir, old.Addresses, old.Poll, old.OnChange, old.Now, old.Logger
	cfg.Around, cfg.Pace = old.Around, old.Pace
	cfg = cfg.complete()
	if err := cfg.validate(); err != nil {
		return change.Change{}, err
	}
	n, err := namesFor(cfg.PublicHost, cfg.Hosts, cfg.Addresses)
	if err != nil {
		return change.Change{}, err
	}
	src, err := k.newSource(cfg)
	if err != nil {
		return change.Change{}, err
	}
	var p *pair
	var cause error
	if sameSource(k.src, src) {
		src = k.src
	} else {
		next := Keeper{cfg: cfg, names: n}
		p, cause = src.look(nil, next.view())
		if p == nil && asks(src) == nil {
			return change.Change{}, cause
		}
		if p != nil {
			if err := p.inTime(cfg.Now()); err != nil && asks(src) == nil {
				return change.Change{}, err
			} else if err != nil {
				p = nil // the CA is asked for another
			}
		}
	}
	return change.New(func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		k.cfg, k.names = cfg, n
		k.swap(src)
		if p != nil {
			k.cause = cause
			k.use(p)
			k.complain()
			return
		}
		k.current.Store(k.current.Load().forHost(cfg.PublicHost, cfg.Now()))
		k.refresh()
	}, nil), nil
}

// swap makes src the source. Held: mu.
func (k *Keeper) swap(src source) {
	if k.src == src {
		return
	}
	k.src = src
	k.answer.Store(asks(src))
	select {
	case k.swapped <- struct{}{}:
	default: // Run has yet to hear of an earlier one
	}
}
