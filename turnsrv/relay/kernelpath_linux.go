//go:build !portable

package relay

import "time"

// bound enters or extends what there can be of a channel that lives for so long from now on.
func (k *kernelFlows) bound(r *Relay, c *route, life time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if r.dead.Load() {
		return
	}
	p := k.paths[c]
	if p == nil {
		k.open(r, c, time.Now().Add(life))
		return
	}
	p.until = time.Now().Add(life)
	for _, f := range p.flows {
		k.k.Extend(f.slot, f.life())
	}
	if len(p.flows) < 2 { // there may be room now, or a way
		k.remove(p)
		k.open(r, c, p.until)
	}
}

// open begins with a channel.
func (k *kernelFlows) open(r *Relay, c *route, until time.Time) {
	e := reach(c.reach.Load())
	if e.scope() == 0 {
		return
	}
	p := &kernelPath{r: r, c: c, until: until}
	own := e&reachOwn != 0
	if own {
		// Both must have a channel to the address that the other one was told: the header names it.
		if p.to = k.plane.RelayAt(c.peer); p.to != nil && (p.to == r || p.to.Addr() != c.peer) {
			p.to = nil
		}
	}
	p.apart = k.apart(p, own, e.scope())
	k.add(p)
	if p.apart == Taken {
		k.begin(p)
	}
}

// apart is why there can be no flows of a path, or Taken.
func (k *kernelFlows) apart(p *kernelPath, own bool, scope Scope) Apart {
	from := p.r.path.Load()
	switch {
	case from.udp == nil || p.to != nil && p.to.path.Load().udp == nil:
		return OverStream
	case !k.plane.limits.Load().none():
		return Limited
	case own && p.to == nil:
		return OneWay
	case !own && scope != ScopeAny:
		return FleetDecides
	case !own && from.Client.Addr().Is4() != p.c.peer.Addr().Is4(), own && from.Client.Addr().Is4() != p.to.path.Load().Client.Addr().Is4():
		return Families
	}
	return Taken
}

// begin enters the flows that a path can have now.
func (k *kernelFlows) begin(p *kernelPath) {
	p.apart = Taken
	if p.to == nil {
		k.plain(p)
	} else if back := k.pairs[ends{p.to, p.r}]; back != nil {
		back.apart = Taken
		if k.between(p, back); len(back.flows) == 0 {
			back.apart = Untaken
		}
	} else {
		p.apart = OneWay
		return
	}
	if len(p.flows) == 0 {
		p.apart = Untaken
	}
}

func (k *kernelFlows) add(p *kernelPath) {
	k.paths[p.c] = p
	if p.next = p.r.io.inKernel; p.next != nil {
		p.next.prev = p
	}
	p.r.io.inKernel = p
	if p.to != nil {
		k.pairs[ends{p.r, p.to}] = p
	}
}

// remove ends what there is of a path.
func (k *kernelFlows) remove(p *kernelPath) {
	k.end(p)
	delete(k.paths, p.c)
	if p.next != nil {
		p.next.prev = p.prev
	}
	if p.prev != nil {
		p.prev.next = p.next
	} else {
		p.r.io.inKernel = p.next
	}
	p.prev, p.next = nil, nil
	if p.to != nil && k.pairs[ends{p.r, p.to}] == p {
		delete(k.pairs, ends{p.r, p.to})
	}
}

// limit ends all flows if there is a limit of bits per second now, and begins with those that there was one for if there is none.
func (k *kernelFlows) limit() {
	k.mu.Lock()
	defer k.mu.Unlock()
	on := !k.plane.limits.Load().none()
	var lifted []*kernelPath
	for _, p := range k.paths {
		switch {
		case on:
			k.end(p)
			p.apart = Limited
		case p.apart == Limited:
			lifted = append(lifted, p)
		}
	}
	for _, p := range lifted {
		k.remove(p)
	}
	for _, p := range lifted { // a path is there while its channel is open
		k.open(p.r, p.c, p.until)
	}
}

// report is how many channels are relayed by the sockets, by why.
func (k *kernelFlows) report() (n [Aparts]int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, p := range k.paths {
		n[p.apart]++
	}
	return n
}
