//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"sync/atomic"
	"time"
)

// Of a trial, in nanoseconds.
const (
	recent  = uint64(500 * time.Millisecond)
	regular = uint64(350 * time.Millisecond) // the longest pause of flows whose silence says something
	rhythm  = uint64(2 * time.Second)        // how long flows are looked at for that, on the sockets
	silence = uint64(time.Second)            // without an answer
	lives   = uint64(2 * time.Second)        // after which flows that ask nothing of each other live
	// consent is when a peer that hears no checks of its own has stopped (30 s, RFC 7675 §5.1): who sends still, lives.
	consent = uint64(40 * time.Second)
	listen  = uint64(5 * time.Second)  // for an answer over the sockets
	checks  = uint64(15 * time.Second) // for one to a check, which are seconds apart
	idle    = uint64(10 * time.Second) // after which a pair that does not move tells nothing
	most    = uint64(time.Minute)      // of all of it
	window  = uint64(time.Second)      // in which rates are compared
	busy    = 10                       // datagrams in a second, from which on they can be
)

const (
	observing = iota // on the sockets: do both directions keep time?
	moving           // one direction in the kernel: do answers come?
	listening        // on the sockets again: do they come there?
)

// pair is a flow and the one that brings the answers, under watch.
type pair struct {
	ends    [2]end
	phase   int
	since   uint64 // of the phase
	fresh   bool   // the way is trusted, and they have just moved
	regular bool   // silence of either says something
	over    bool   // another pair's silence has ended the trial
	tried   int    // the end that is moved, and accused when answers stay out
	fault   int
	retried uint64 // when it was passed to the sockets again
	window  uint64 // since when rates are compared
}

// What may look wrong after a move.
const (
	silent    = iota + 1 // nothing comes back
	slow                 // much less of both: one end waits for what does not come
	unchecked            // ICE's checks have no answer
)

var reasons = [...]string{
	silent: "answers came by the sockets only", slow: "traffic broke down until the sockets had it again",
	unchecked: "connectivity checks were answered by the sockets only",
}

// end is one direction of a pair.
type end struct {
	f          *flow
	proof      *proof
	was        sample
	heard      uint64    // when there was a datagram last
	gap        uint64    // the longest pause
	moved      uint64    // when the kernel relayed the first one
	relayed    uint64    // and the last
	unanswered uint64    // when the kernel relayed the first that nothing came back for
	socketAsk  uint64    // when the sockets got a check
	asked      [2]uint64 // when the kernel relayed the first and the second check since the last answer
	open       uint32    // how many those are
	proven     bool      // such a check was answered
	rate       uint64    // datagrams in a second, on the sockets
	mark       uint64    // how many there had been when the window began
}

// sample is what the program has counted of a flow.
type sample struct {
	datagrams, passed         uint64 // by the kernel, and by the sockets
	requests, answers, relays uint32 // checks, answers to those of the other end, checks that the kernel relayed
}

func (s sample) all() uint64 { return s.datagrams + s.passed }

func (k *Kernel) sample(f *flow) (s sample) {
	at := &k.table.records[f.slot].State
	s.datagrams, _ = k.count(f.slot)
	s.passed = atomic.LoadUint64(&at.Passed)
	s.requests, s.answers, s.relays = atomic.LoadUint32(&at.Requests), atomic.LoadUint32(&at.Answers), atomic.LoadUint32(&at.Asked)
	return s
}

// watch begins with a pair: on the sockets, or, where their way is trusted, as they have just moved.
func (k *Kernel) watch(f, back *flow, now uint64, fresh bool) {
	p := &pair{since: now, fresh: fresh}
	for i, f := range [2]*flow{f, back} {
		was := k.sample(f)
		p.ends[i] = end{f: f, proof: f.proof, was: was, heard: now, mark: was.all()}
		f.watched = true
		f.proof.trials++
		if fresh {
			p.ends[i].moved = now
		}
	}
	if fresh {
		p.phase, p.regular = moving, true
	}
	k.pairs = append(k.pairs, p)
}

// retire ends the watch of a pair.
func (k *Kernel) retire(p *pair, now uint64) {
	for i := range p.ends {
		e := &p.ends[i]
		u := e.proof
		if u.trials--; u.trust == doubted && p.phase == listening && p.tried == i || u.trust == trying && u.trials == 0 {
			u.trust = untried
		}
		if e.gone(k) {
			continue
		}
		e.f.chosen, e.f.watched = false, p.fresh || u.trust == trusted
		switch {
		case p.over:
			e.f.retry = now
		case !e.f.apart:
			e.f.retry = now + again
		}
		k.settle(e.f)
		k.attend(e.f)
	}
}

// gone reports whether the flow has ended, or passes another way now.
func (e *end) gone(k *Kernel) bool {
	return k.flows[e.f.slot] != e.f || !e.f.placed || e.f.proof != e.proof
}

// note takes in what has been counted since the last look, of this end and of the other.
func (e *end) note(me, was, back, backWas sample, now uint64) {
	grown := me.all() > was.all()
	e.gap = max(e.gap, now-e.heard)
	if grown {
		e.heard = now
	}
	switch {
	case back.all() > backWas.all():
		e.unanswered = 0
	case me.datagrams > was.datagrams && e.unanswered == 0:
		e.unanswered = now
	}
	if me.datagrams > was.datagrams {
		e.relayed = now
		if e.moved == 0 {
			e.moved = now
		}
	}
	if me.requests-me.relays != was.requests-was.relays {
		e.socketAsk = now
	}
	for range me.relays - was.relays {
		if e.open < 2 {
			e.asked[e.open] = now
			e.open++
		}
	}
	if back.answers != backWas.answers {
		// An answer that was on its way to a check of the sockets proves nothing.
		e.proven = e.proven || e.open > 0 && now > e.socketAsk+silence
		e.open = 0
	}
}

// step looks at a pair, and reports whether that was the last time.
func (k *Kernel) step(p *pair, now uint64) (done bool) {
	a, b := &p.ends[0], &p.ends[1]
	if p.over || a.gone(k) || b.gone(k) {
		return true
	}
	sa, sb := k.sample(a.f), k.sample(b.f)
	wa, wb := a.was, b.was
	a.note(sa, wa, sb, wb, now)
	b.note(sb, wb, sa, wa, now)
	a.was, b.was = sa, sb
	switch p.phase {
	case observing:
		return now-p.since >= rhythm && !k.move(p, now)
	case moving:
		return k.judge(p, now)
	}
	return k.hear(p, wa, wb, now)
}

// move lets a direction of a pair into the kernel, if what becomes of it then will say something.
func (k *Kernel) move(p *pair, now uint64) bool {
	a, b := &p.ends[0], &p.ends[1]
	if p.phase == observing {
		p.regular = max(a.gap, b.gap) <= regular
		for i := range p.ends {
			e := &p.ends[i]
			e.rate = (e.was.all() - e.mark) * uint64(time.Second) / (now - p.since)
		}
	}
	if p.tried = 0; a.proof.trust == trusted {
		p.tried = 1
	}
	e, back := a, b
	if p.tried == 1 {
		e, back = b, a
	}
	if e.proof.trust != untried && e.proof.trust != trying || !p.regular && !e.checks(back) {
		return false
	}
	p.phase, p.since, p.window = moving, now, 0
	e.moved, e.unanswered, e.open, e.proven = 0, 0, 0, false
	e.f.chosen = true
	e.proof.trust = trying
	k.settle(e.f)
	return true
}

// checks reports whether this end asks whether the other one lives, and that one answers.
func (e *end) checks(back *end) bool { return e.was.requests > 0 && back.was.answers > 0 }

// mark begins a window in which rates are compared.
func (p *pair) mark(now uint64) {
	p.window = now
	for i := range p.ends {
		p.ends[i].mark = p.ends[i].was.all()
	}
}

// reached reports whether a pair had more than a part of its former rate in the last window, in both directions.
func (p *pair) reached(part uint64, now uint64) bool {
	for i := range p.ends {
		e := &p.ends[i]
		if (e.was.all()-e.mark)*part*uint64(time.Second) < e.rate*(now-p.window) {
			return false
		}
	}
	return true
}

// wrong is what is wrong with the answers to an end.
func (p *pair) wrong(i int, now uint64) (fault int) {
	e, back := &p.ends[i], &p.ends[1-i]
	switch {
	case e.open >= 2 && now-e.asked[0] >= silence && now-e.asked[1] >= recent && e.checks(back):
		return unchecked
	case p.regular && e.unanswered != 0 && now-e.unanswered >= silence:
		return silent
	case e.moved == 0 || p.fresh || min(e.rate, back.rate) < busy:
	case p.window == 0:
		p.mark(now)
	case now-p.window >= window:
		if !p.reached(5, now) {
			return slow
		}
		p.mark(now)
	}
	return 0
}

// judge sees whether answers come.
func (k *Kernel) judge(p *pair, now uint64) (done bool) {
	if p.fresh {
		return k.judgeFresh(p, now)
	}
	if fault := p.wrong(p.tried, now); fault != 0 {
		k.accuse(p, p.tried, fault, now)
		return false
	}
	e, back := &p.ends[p.tried], &p.ends[1-p.tried]
	if e.proof.trust == trying && p.lives(e, back, now) {
		k.trust(e.proof)
	}
	if e.proof.trust == trusted {
		return back.proof.trust == trusted || !k.move(p, now)
	}
	return e.moved == 0 && now-p.since >= idle || now-p.since >= most
}

// judgeFresh is for those of trusted ways.
func (k *Kernel) judgeFresh(p *pair, now uint64) (done bool) {
	waits := false
	for i := range p.ends {
		if fault := p.wrong(i, now); fault != 0 {
			k.accuse(p, i, fault, now)
			return false
		}
		waits = waits || p.ends[i].unanswered != 0
	}
	if now-p.since < lives || waits && now-p.since < lives+silence {
		return false
	}
	for i := range p.ends {
		if now-p.ends[1-i].heard < recent {
			p.ends[i].proof.strikes = 0
		}
	}
	return true
}

// lives reports whether what the end sends arrives.
func (p *pair) lives(e, back *end, now uint64) bool {
	if e.proven {
		return true
	}
	if e.moved == 0 || now-e.relayed > recent || now-back.heard > recent {
		return false
	}
	least := lives
	if e.was.requests|e.was.answers|back.was.requests|back.was.answers != 0 || !p.regular {
		least = consent // media may go on for so long though nothing arrives
	}
	return now-e.moved >= least
}
