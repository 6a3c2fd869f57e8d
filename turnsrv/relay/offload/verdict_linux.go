//go:build !portable && (amd64 || arm64 || riscv64)

package offload

// trust lets all flows of a passage into the kernel.
func (k *Kernel) trust(u *proof) {
	u.trust, u.strikes = trusted, 0
	k.log.Info("the kernel relays what comes in on this interface: the calls that tried it went on",
		"interface", k.name(u.in), "to", k.name(u.out), "mode", u.way.String())
	k.settleAll(u)
}

// accuse takes a pair back to the sockets, and unless it was trusted before, all that tried the same passage.
func (k *Kernel) accuse(p *pair, i, fault int, now uint64) {
	u := p.ends[i].proof
	p.phase, p.since, p.tried, p.fault, p.retried = listening, now, i, fault, 0
	p.mark(now)
	if u.trust == trying {
		u.trust = doubted
		for _, q := range k.pairs {
			if q != p && q.phase == moving && (q.ends[0].proof == u || q.ends[1].proof == u) {
				q.over = true
				k.release(q, false)
			}
		}
	}
	k.release(p, u.trust != doubted)
}

// release takes a pair out of the kernel; apart: whatever the passage says.
func (k *Kernel) release(p *pair, apart bool) {
	for i := range p.ends {
		f := p.ends[i].f
		f.chosen, f.apart, f.retry = false, apart, ^uint64(0)
		if !p.ends[i].gone(k) {
			k.settle(f)
		}
	}
}

// hear sees whether the sockets bring the answers that the kernel did not. wa and wb are of the last look.
func (k *Kernel) hear(p *pair, wa, wb sample, now uint64) (done bool) {
	e, back, was, backWas := &p.ends[0], &p.ends[1], wa, wb
	if p.tried == 1 {
		e, back, was, backWas = back, e, wb, wa
	}
	guilty, innocent := false, now-p.since >= listen
	switch p.fault {
	case silent:
		if p.retried == 0 && e.was.passed > was.passed {
			p.retried = now
		}
		if back.was.all() > backWas.all() {
			guilty = p.retried != 0 && now-p.retried <= silence
			innocent = !guilty // it speaks of its own accord
		}
	case slow:
		if now-p.window >= window {
			guilty = p.reached(2, now)
			p.mark(now)
		}
	case unchecked:
		if e.was.requests != was.requests {
			p.retried = now
		}
		guilty = back.was.answers != backWas.answers && p.retried != 0 && now-p.retried <= silence
		innocent = now-p.since >= checks
	}
	switch {
	case guilty:
		k.guilty(p, e, now)
	case innocent: // or gone
		for i := range p.ends {
			p.ends[i].f.apart = false
		}
	}
	return guilty || innocent
}

// guilty draws the conclusion from answers that come by the sockets only.
func (k *Kernel) guilty(p *pair, e *end, now uint64) {
	u := e.proof
	if u.trust == doubted {
		k.condemn(u, reasons[p.fault])
		return
	}
	e.f.strikes = min(e.f.strikes+1, 8)
	for i := range p.ends {
		p.ends[i].f.apart, p.ends[i].f.retry = true, now+again<<e.f.strikes
	}
	if u.strikes++; u.strikes >= strikes && u.trust == trusted {
		u.trust, u.strikes = untried, 0
		for _, q := range k.pairs {
			q.over = q.over || q != p && q.phase == moving && (q.ends[0].proof == u || q.ends[1].proof == u)
		}
		k.log.Warn("several flows fell silent as the kernel took them; this interface has to prove itself anew",
			"interface", k.name(u.in), "to", k.name(u.out), "mode", u.way.String())
		k.settleAll(u)
	}
}
