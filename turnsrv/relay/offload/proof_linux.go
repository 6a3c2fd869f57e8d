//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"cmp"
	"errors"
	"slices"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// A way from an interface to an interface is trusted only after flows that moved to it were seen to live on: frames can vanish
// in silence, and the counters of whoever sent them would not say so. Until then its flows are held on the sockets, but for a
// few that try it.

// Of trying, in the nanoseconds of the monotonic clock.
const (
	again  = uint64(10 * time.Second) // when a pair that told nothing may try anew
	pardon = uint64(time.Hour)        // when an interface that was given up may
)

const (
	candidates = 4    // pairs that try a way at once
	watches    = 2048 // pairs that are watched at once, those of trusted ways included
	scanned    = 8192 // flows that are looked at in a tick at most; each in turn within watchEvery, where there are fewer
	glance     = 64   // and at least
	strikes    = 3    // flows of a trusted way that fell silent one after the other before it has to prove itself anew
)

var trustNames = [...]string{untried: "untried", trying: "trial", doubted: "doubted", trusted: "trusted", condemned: "condemned"}

const (
	untried = iota
	trying
	doubted // a flow fell silent; it is looked whether the sockets bring it back
	trusted
	condemned
)

// passage is how flows come in, and where they leave.
type passage struct {
	in, out int // indexes of interfaces
	way     Way
}

// proof is what has been seen of a passage.
type proof struct {
	passage
	trust   int
	reason  string // of condemned
	trials  int    // pairs that try it now
	flows   int    // that pass so
	strikes int
}

// proven is what there is to know of how a flow passes.
func (k *Kernel) proven(at passage) *proof {
	p := k.proofs[at]
	if p == nil {
		p = &proof{passage: at}
		if k.lenient {
			p.trust = trusted
		}
		k.proofs[at] = p
	}
	return p
}

// assign gives a flow the proof of its passage, and holds it if that asks for it.
func (k *Kernel) assign(f *flow, p *proof) {
	if f.proof != p {
		f.proof.lose()
		p.flows++
		f.proof, f.chosen, f.apart, f.watched, f.retry, f.strikes = p, false, false, false, 0, 0
		if k.flows[f.slot] == f {
			k.attend(f)
			k.hurry()
		}
	}
	k.settle(f)
}

// lose is for when a flow passes so no more.
func (p *proof) lose() {
	if p != nil {
		p.flows--
	}
}

// settle holds a flow on the sockets, or lets it go.
func (k *Kernel) settle(f *flow) {
	f.held = f.apart || f.proof.trust != trusted && !f.chosen
	held := uint32(0)
	if f.held {
		held = 1
	}
	if s := &k.table.records[f.slot].State; atomic.LoadUint32(&s.Held) != held {
		atomic.StoreUint32(&s.Held, held)
	}
}

// settleAll does so with every flow of a passage.
func (k *Kernel) settleAll(p *proof) {
	for _, f := range k.flows {
		if f != nil && f.proof == p {
			k.settle(f)
		}
	}
	k.hurry()
}

// hurry has all flows looked at soon that are not watched.
func (k *Kernel) hurry() {
	k.look.flows, k.steady.flows = append(k.look.flows, k.steady.flows...), nil
}

// prove goes on with what is being tried, and looks for more to try. It has k.mu.
func (k *Kernel) prove(now uint64) {
	if k.closed || k.lenient {
		return
	}
	k.pairs = slices.DeleteFunc(k.pairs, func(p *pair) bool {
		if !k.step(p, now) {
			return false
		}
		k.retire(p, now)
		return true
	})
	k.scan(&k.look, k.share(now), now)
	k.scan(&k.steady, max(glance, len(k.steady.flows)/glance), now)
}

// scan considers up to n flows of a list, and none twice.
func (k *Kernel) scan(r *roster, n int, now uint64) {
	for n = min(n, len(r.flows)); n > 0 && len(k.pairs) < watches; n-- { // beyond, there is no room for more
		f := r.next()
		here := k.flows[f.slot] == f
		if here && f.placed {
			k.consider(f, now)
		}
		switch {
		case !here || f.watched && !f.apart:
			f.listed = false
			r.remove()
		case r == &k.look && k.isSteady(f, now):
			r.remove()
			k.steady.add(f)
		}
	}
}

// share is how many flows to look at now, so that each has its turn within watchEvery: to look at thousands more often would cost
// more than to relay for them.
func (k *Kernel) share(now uint64) int {
	part := float64(ago(now, k.looked)) / float64(watchEvery)
	k.looked = now
	return min(scanned, max(glance, int(part*float64(len(k.look.flows)))))
}

// isSteady reports whether a flow and the one back moved long ago: there is no hurry to look at them again.
func (k *Kernel) isSteady(f *flow, now uint64) bool {
	return !f.apart && f.back != nil && k.moved(f, now) && k.moved(f.back, now)
}

// moved reports whether the kernel relays a flow, and the sockets have had nothing of it for long.
func (k *Kernel) moved(f *flow, now uint64) bool {
	s := &k.table.records[f.slot].State
	return f.placed && f.proof.trust == trusted && atomic.LoadUint32(&s.Taken) != 0 && ago(now, atomic.LoadUint64(&s.Last)) >= lives
}

// attend has a flow looked at, whether it should be watched.
func (k *Kernel) attend(f *flow) {
	if !f.listed {
		f.listed = true
		k.look.add(f)
	}
}

// consider begins to watch a flow if it should be. There is room for it.
func (k *Kernel) consider(f *flow, now uint64) {
	if f.apart && now >= f.retry {
		f.apart, f.watched = false, false
		k.settle(f)
	}
	b := f.back
	if b == nil || !b.placed || f.watched || b.watched || f.apart || b.apart {
		return
	}
	s, o := &k.table.records[f.slot].State, &k.table.records[b.slot].State
	u, v := f.proof, b.proof
	switch {
	case u.trust == trusted && v.trust == trusted:
		// Who was silent before the move says nothing by being silent after it, but for new ones (Last is also when a flow was
		// entered): where there were no answers yet, they may have been lost. If none come by the sockets either, the flow has none.
		if atomic.LoadUint32(&s.Taken) != 0 && ago(now, atomic.LoadUint64(&o.Last)) < lives {
			k.watch(f, b, now, true)
		}
	case atomic.LoadUint64(&s.Passed) != 0 && ago(now, atomic.LoadUint64(&s.Last)) < recent && k.heard(b):
		if u.tries() && v.tries() && now >= f.retry && now >= b.retry {
			k.watch(f, b, now, false)
		}
	}
}

// ago is how long before now a time was that the program may have set since.
func ago(now, t uint64) uint64 { return now - min(now, t) }

// tries reports whether a passage is trusted, or another pair may try it.
func (p *proof) tries() bool {
	return p.trust == trusted || (p.trust == untried || p.trust == trying) && p.trials < candidates
}

// heard reports whether a flow has ever had a datagram.
func (k *Kernel) heard(f *flow) bool {
	s := k.sample(f)
	return s.all() > 0
}

// condemn gives up a way for what comes in on an interface: it goes by the next one, or stays on the sockets.
func (k *Kernel) condemn(p *proof, reason string) {
	p.trust, p.reason = condemned, reason
	k.log.Warn("what the kernel relayed from this interface did not arrive; the sockets relay it again",
		"interface", k.name(p.in), "to", k.name(p.out), "mode", p.way.String(), "reason", reason)
	k.giveUp(p.in, p.way, failure{errors.New(reason), now() + pardon})
}

// forget drops what has been seen of an interface that is not what it was.
func (k *Kernel) forget(index int) {
	if p := k.ports[index]; p != nil {
		p.failed = [numWays]failure{}
	}
	for at := range k.proofs {
		if at.in == index || at.out == index {
			delete(k.proofs, at)
		}
	}
}

func (k *Kernel) name(index int) string { return k.net.byIndex[index].Name }

// report lists the proofs by their interfaces. What was never tried, and passes no more so, is none.
func (k *Kernel) report() (all []Proof) {
	for at, p := range k.proofs {
		if p.trust == untried && p.flows == 0 {
			continue
		}
		all = append(all, Proof{k.name(at.in), k.name(at.out), at.way.String(), trustNames[p.trust], p.reason})
	}
	slices.SortFunc(all, func(a, b Proof) int {
		return cmp.Or(cmp.Compare(a.In, b.In), cmp.Compare(a.Out, b.Out), cmp.Compare(a.Mode, b.Mode))
	})
	return all
}

// opposite is the key of the flow that brings the answers to this one.
func (f *flow) opposite() programKey {
	return keyOf(relay.Leg{From: f.out.To, To: f.out.From, Channel: f.out.Channel})
}
