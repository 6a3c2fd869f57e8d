package usage

import (
	"errors"
	"fmt"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// maxBooks bounds the months in memory, should the clock jump about while the disk takes nothing.
const maxBooks = 4

var errClosed = errors.New("the file is closed")

// ready opens the file if it is not open. The caller holds io.
func (k *Keeper) ready() error {
	if k.closed {
		return errClosed
	}
	err := k.store.open()
	if errors.Is(err, errDamaged) {
		err = k.replace(err)
	}
	return err
}

// replace sets the damaged file aside and begins a new one with what is in memory. The caller holds io.
func (k *Keeper) replace(why error) error {
	k.store.abandon(why)
	aside, err := k.store.setAside(k.now())
	if err != nil {
		return fmt.Errorf("%w; it could not be set aside: %w", why, err)
	}
	k.damaged = &findings.Finding{
		ID:     "usage.damaged",
		Detail: "usage.db could not be read (" + why.Error() + ") and is now " + aside + ": what was used before is missing, from limits too",
		Remedy: "stop the server and restore usage.db from a backup, or do without",
	}
	for _, b := range k.books {
		b.known = true // a new file has nothing of it
		b.soil()
	}
	return k.store.open()
}

// soil has all of the book written again.
func (b *book) soil() {
	b.mu.Lock()
	b.dirty = true
	b.mu.Unlock()
	b.each(func(_ string, e *entry) { e.dirty = true })
}

// do calls f with the file open. The caller holds io.
func (k *Keeper) do(f func() error) error {
	err := k.ready()
	if err != nil {
		return err
	}
	if err = f(); errors.Is(err, errDamaged) {
		return errors.Join(err, k.replace(err))
	}
	return err
}

// load brings what the file has of a month into its book. The caller holds io.
func (k *Keeper) load(b *book) {
	if b.known {
		return
	}
	var lines []Line
	err := k.do(func() error { return k.store.read(b.month, func(l Line) { lines = append(lines, l) }) })
	if err != nil && !errors.Is(err, errDamaged) {
		k.unkept = err
		return
	}
	for _, l := range lines { // of a damaged file, what could be read
		if l.Node == "" {
			b.learnSum(l.Record)
		} else {
			b.learn(l.Node, l.Record)
		}
	}
	b.known = true
	if err != nil {
		b.soil()
	}
}

// write brings the file up to date.
func (k *Keeper) write() {
	k.io.Lock()
	k.unkept = nil
	k.keep()
	k.dropOld()
	k.io.Unlock()
	k.find()
}

// keep writes what has changed in every book. The caller holds io.
func (k *Keeper) keep() {
	for m, b := range k.books {
		if k.load(b); !b.known {
			continue // else what is there would be overwritten
		}
		lines := b.changed()
		if len(lines) > 0 {
			if err := k.do(func() error { return k.store.write(m, lines) }); err != nil {
				b.again(lines)
				k.unkept = err
			}
			continue
		}
		if b != k.current.Load() && k.steady()-b.left > writeEvery { // nobody counts in it any more
			delete(k.books, m)
		}
	}
	for len(k.books) > maxBooks {
		oldest := k.current.Load().month
		for m := range k.books {
			if m < oldest || oldest == k.current.Load().month {
				oldest = m
			}
		}
		k.cfg.Logger.Error("what Nodes have used in a month is lost: the disk did not take it, and the clock has moved on", "month", oldest.String())
		delete(k.books, oldest)
	}
	if k.traces && k.unkept == nil {
		if err := k.do(k.store.compact); err != nil {
			k.unkept = err
		} else {
			k.traces = false
		}
	}
}

// steadyFor is how long the clock must not have been set for months to be deleted by it.
const steadyFor = 10 * time.Minute

// dropOld deletes the months that are over for longer than Settings.Keep. The caller holds io.
func (k *Keeper) dropOld() {
	steady := k.steady()
	if steady-k.clock.since < steadyFor || k.pruned > 0 && steady-k.pruned < pruneEvery || k.unkept != nil {
		return
	}
	now, keep := k.now(), k.set.Load().Keep
	var gone []Month
	err := k.do(func() error {
		all, err := k.store.months()
		if err != nil {
			return err
		}
		for _, m := range all {
			if k.books[m] == nil && m.End().Add(keep).Before(now) {
				gone = append(gone, m)
			}
		}
		if len(gone) == 0 {
			return nil
		}
		k.traces = true
		return k.store.prune(gone)
	})
	if err != nil {
		k.unkept = err
		return
	}
	k.pruned = steady
}

// find makes known what is wrong, or near its limit.
func (k *Keeper) find() {
	var all []findings.Finding
	k.io.Lock()
	if k.damaged != nil {
		all = append(all, *k.damaged)
	}
	if k.unkept != nil {
		all = append(all, findings.Finding{
			ID: "usage.unkept", Detail: "usage.db is behind what Nodes have used, so that a restart would lose it: " + k.unkept.Error(),
			Remedy: "free or repair the disk of data_dir; it is written as soon as that is possible",
		})
	}
	k.io.Unlock()
	k.cfg.Found(append(all, k.limits()...))
}

// limits finds limits that are reached, or nearly.
func (k *Keeper) limits() (all []findings.Finding) {
	b, set := k.current.Load(), k.set.Load()
	if b.beyond.Load() > 0 {
		all = append(all, findings.Finding{
			ID: "usage.room", Detail: fmt.Sprintf("more than %d Nodes have used something this month: what further ones use counts for the server alone", b.max),
			Remedy: "nothing, unless ids are made up: hooks.authenticate.mode decides who comes in",
		})
	}
	if set.Bytes > 0 {
		switch used := b.total().Bytes() + k.cfg.Elsewhere(b.month, ""); {
		case used >= set.Bytes:
			all = append(all, findings.Finding{
				ID: "usage.server", Detail: "nothing is relayed until the month ends: the " + size(set.Bytes) + " of turn.limits.bytes_per_month are used",
				Remedy: "raise it, or see who used them: `crolang-aio usage`",
			})
		case used >= eighty(set.Bytes):
			all = append(all, findings.Finding{
				ID: "usage.server", Detail: "more than 80 % of the " + size(set.Bytes) + " of turn.limits.bytes_per_month are used: at 100 % all relays end",
				Remedy: "raise it, or see who uses them: `crolang-aio usage`",
			})
		}
	}
	if n := set.BytesPerNode; n > 0 {
		switch {
		case b.count(n) > 0:
			all = append(all, findings.Finding{
				ID: "usage.nodes", Detail: "nothing is relayed until the month ends for some Nodes: they have used the " + size(n) + " of turn.limits.bytes_per_month_per_node",
				Remedy: "raise it, or see which they are: `crolang-aio usage`",
			})
		case b.count(eighty(n)) > 0:
			all = append(all, findings.Finding{
				ID: "usage.nodes", Detail: "some Nodes have used more than 80 % of the " + size(n) + " of turn.limits.bytes_per_month_per_node: at 100 % their relays end",
				Remedy: "raise it, or see which they are: `crolang-aio usage`",
			})
		}
	}
	return all
}
