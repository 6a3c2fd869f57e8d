package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/banset"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// Spread is how far a ban, or the lifting of one, has come when whoever asked is answered.
type Spread struct {
	Machines int      // that have it in force, this one too
	Closed   int      // relays that the other machines closed
	Silent   []string // names of machines that did not answer in time; they follow
	Shared   bool     // Redis has it, so that machines that are away will hear of it
}

// Ban bans a Node here, as [nodes.Registry.Ban] does, and then on every machine. The error is that of this machine. It waits
// a second at most for the others: a ban that Redis does not take holds here, and is shared later.
func (f *Fleet) Ban(ctx context.Context, node, reason string, lasting time.Duration) (nodes.Banned, Spread, error) {
	did, err := f.cfg.Bans.Ban(node, reason, lasting)
	if err != nil {
		return did, Spread{}, err
	}
	f.settling.Lock()
	now := f.cfg.Now()
	f.mu.Lock()
	r := banset.Ban(did.Ban.Node, did.Ban.Reason, did.Ban.Since, did.Ban.Until, f.cfg.Name)
	for { // the very same ban was lifted before: this is another
		if old, known := f.set.Get(r.ID); !known || !old.Lifts() {
			break
		}
		r = banset.Ban(r.Node, r.Reason, r.Since.Add(time.Millisecond), r.Until, r.By)
	}
	records := []banset.Record{r}
	for _, old := range f.set.InForce(r.Node, now) {
		if old.ID != r.ID { // replaced, on every machine
			records = append(records, old.Lift(now, f.cfg.Name))
		}
	}
	f.enter(records, now)
	f.mu.Unlock()
	f.settle([]string{r.Node})
	f.settling.Unlock()
	return did, f.spread(ctx, records), nil
}

// Unban lifts every ban on a Node that this machine knows of, here and on every machine, as [nodes.Registry.Unban] does. A ban
// that another machine has made at the same time stays.
func (f *Fleet) Unban(ctx context.Context, node string) (Spread, error) {
	records, err := f.lift(node)
	if err != nil {
		return Spread{}, err
	}
	return f.spread(ctx, records), nil
}

// lift lifts the bans on a Node here. What lifts them is on the disk before they are.
func (f *Fleet) lift(node string) ([]banset.Record, error) {
	f.settling.Lock()
	defer f.settling.Unlock()
	now := f.cfg.Now()
	f.mu.Lock()
	if b, banned := f.cfg.Bans.BanOf(node); banned {
		f.enter([]banset.Record{f.recordOf(b)}, now)
	}
	var lifts []banset.Record
	for _, r := range f.set.InForce(node, now) {
		lifts = append(lifts, r.Lift(now, f.cfg.Name))
	}
	f.mu.Unlock()
	if len(lifts) > 0 {
		if err := f.keep(lifts); err != nil {
			return nil, fmt.Errorf("the ban stays: %w; free or repair the disk and try again", err)
		}
	}
	if err := f.cfg.Bans.Unban(node); err != nil && (len(lifts) == 0 || !errors.Is(err, nodes.ErrNotBanned)) {
		f.mu.Lock()
		f.dirty = true // the file has what did not come to pass
		f.mu.Unlock()
		return nil, err
	}
	f.mu.Lock()
	f.enter(lifts, now)
	f.mu.Unlock()
	return lifts, nil
}

// recordOf is the record of a ban of this machine.
func (f *Fleet) recordOf(b nodes.Ban) banset.Record {
	return banset.Ban(b.Node, b.Reason, b.Since, b.Until, f.cfg.Name)
}

// enter takes in records of this machine, which Redis does not have yet. f.mu is held.
func (f *Fleet) enter(records []banset.Record, now time.Time) {
	for _, r := range records {
		if f.set.Add(r, now) {
			f.unshared[r.ID] = struct{}{}
			f.behind(r)
		}
	}
}

// receive takes in records of other machines, and returns how many relays they closed here, by Node. stored: Redis has them.
func (f *Fleet) receive(records []banset.Record, stored bool) (closed map[string]int) {
	f.settling.Lock()
	defer f.settling.Unlock()
	now := f.cfg.Now()
	touched := make([]string, 0, len(records))
	f.mu.Lock()
	for _, r := range records {
		if f.set.Add(r, now) {
			touched = append(touched, r.Node)
			f.counts.Received++
			f.behind(r)
		}
		if known, ok := f.set.Get(r.ID); stored && ok && known.Lifts() == r.Lifts() {
			delete(f.unshared, r.ID)
		}
	}
	f.mu.Unlock()
	if len(touched) == 0 {
		return nil
	}
	slices.Sort(touched)
	return f.settle(slices.Compact(touched))
}

// settle brings the bans of this machine on some Nodes into line with the set, and returns how many relays that closed, by
// Node. f.settling is held.
func (f *Fleet) settle(touched []string) map[string]int {
	now := f.cfg.Now()
	var todo []nodes.Imposed
	f.mu.Lock()
	for _, node := range touched {
		delete(f.unsettled, node)
		have, banned := f.cfg.Bans.BanOf(node)
		want := f.set.InForce(node, now)
		switch {
		case len(want) > 0 && (!banned || f.recordOf(have).ID != want[0].ID):
			r := want[0]
			todo = append(todo, nodes.Imposed{By: f.behindIt(r), Ban: nodes.Ban{Node: r.Node, Reason: r.Reason, Since: r.Since, Until: r.Until}})
		case len(want) == 0 && banned:
			if r, known := f.set.Get(f.recordOf(have).ID); known && r.Lifts() { // else it is a new one, of this moment
				todo = append(todo, nodes.Imposed{By: f.behindIt(r), Lift: true, Ban: nodes.Ban{Node: node}})
			}
		}
	}
	f.mu.Unlock()
	if len(todo) == 0 {
		return nil
	}
	f.cfg.Bans.Impose(todo)
	closed := map[string]int{}
	for _, one := range todo {
		closed[one.Ban.Node] += one.Did.Closed
		if one.Err != nil && !errors.Is(one.Err, nodes.ErrNotBanned) {
			f.log.Warn("what another machine decided about a Node could not be put in force here; it is tried again", "node", one.Ban.Node, "error", one.Err)
			f.mu.Lock()
			f.unsettled[one.Ban.Node] = struct{}{}
			f.mu.Unlock()
		}
	}
	return closed
}

// behindIt is who is behind a record, in words.
func (f *Fleet) behindIt(r banset.Record) string {
	if r.By == "" || r.By == f.cfg.Name {
		return "the operator"
	}
	return "the operator at the machine " + strconv.Quote(r.By)
}

// settleAgain tries what could not be put in force.
func (f *Fleet) settleAgain() {
	f.mu.Lock()
	var again []string
	for node := range f.unsettled {
		again = append(again, node)
	}
	f.mu.Unlock()
	if len(again) == 0 {
		return
	}
	f.settling.Lock()
	defer f.settling.Unlock()
	f.settle(again)
}

// Unshared reports whether Redis does not have the ban on a Node yet.
func (f *Fleet) Unshared(b nodes.Ban) bool {
	id := f.recordOf(b).ID
	f.mu.Lock()
	defer f.mu.Unlock()
	_, yes := f.unshared[id]
	return yes
}

// waiter waits for the answers of other machines.
type waiter struct {
	got  chan reply
	from map[string]string // names of machines that have not answered, by boot id
}

// reply is one machine's.
type reply struct {
	boot   string
	closed int
}

// spread tells the other machines of records, and waits for them for a second at most.
func (f *Fleet) spread(ctx context.Context, records []banset.Record) Spread {
	op := f.lastOp.Add(1)
	w := &waiter{from: map[string]string{}}
	f.mu.Lock()
	for boot, m := range f.machines {
		if f.up(m) {
			w.from[boot] = m.said.Name
		}
	}
	w.got = make(chan reply, len(w.from))
	f.waiting[op] = w
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.waiting, op)
		f.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	told, shared := f.share(ctx, records, op, false)
	s := Spread{Machines: 1, Shared: shared}
	for told && len(w.from) > 0 {
		select {
		case r := <-w.got:
			if _, awaited := w.from[r.boot]; awaited {
				delete(w.from, r.boot)
				s.Machines++
				s.Closed += r.closed
			}
			continue
		case <-ctx.Done():
		}
		break
	}
	for _, name := range w.from {
		s.Silent = append(s.Silent, name)
	}
	slices.Sort(s.Silent)
	return s
}

// answered hands a reply to whoever waits for it.
func (f *Fleet) answered(op uint64, r reply) {
	f.mu.Lock()
	w := f.waiting[op]
	f.mu.Unlock()
	if w == nil {
		return
	}
	select {
	case w.got <- r:
	default: // more answers than machines
	}
}
