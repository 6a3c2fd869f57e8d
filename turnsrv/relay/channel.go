package relay

import "net/netip"

// Bind binds or refreshes a channel for [ChannelLife]. It replaces any channel with the same number or peer; the caller
// has checked what RFC 8656 §12.1 allows. While the channel lives, data passes both ways between the client and exactly
// this peer, with or without a permission. Errors are [ErrChannels], [ErrBudget] and [ErrClosed].
//
// answer, where it is not nil, tells the client once the channel is there. It must do nothing but [Source.Send]: what comes
// from the peer meanwhile waits for it. So no ChannelData is ahead of the answer, and what the peer sends when the client
// has it comes as ChannelData.
func (r *Relay) Bind(number uint16, peer netip.AddrPort, scope Scope, answer func()) error {
	c, err := r.bindTold(number, peer, r.reach(peer, scope), answer)
	if err != nil || r.access.kernel == nil {
		return err
	}
	_ = r.change(func(a *access, _ int64) error { // it may have ended already
		if a.channel(number) == c {
			a.kernel.bound(r, c, ChannelLife)
		}
		return nil
	})
	return nil
}

// bindTold is Bind on sockets.
func (r *Relay) bindTold(number uint16, peer netip.AddrPort, e reach, answer func()) (c *route, err error) {
	r.telling.Lock()
	defer r.telling.Unlock()
	err = r.change(func(a *access, now int64) (err error) {
		c, err = a.bind(number, peer, e, now+int64(ChannelLife))
		return err
	})
	if err != nil {
		return nil, err
	}
	// As long as it is not told, workers may wait for telling inside a lane.
	defer c.told.Store(true)
	if answer != nil {
		answer()
	}
	return c, nil
}

// awaitTold returns when the client has been told of a channel. There are clients that drop what comes on one which they do
// not know, and over TCP nobody sends that again.
func (r *Relay) awaitTold(c *route) {
	if !c.told.Load() {
		r.telling.Lock()
		r.telling.Unlock() //nolint:staticcheck // passing through is the point
	}
}

func (r *Relay) reach(peer netip.AddrPort, scope Scope) reach {
	e := reach(scope)
	if r.plane.OwnRelayIP(peer.Addr()) {
		e |= reachOwn
	}
	if r.plane.barred(peer) {
		e |= reachBarred
	}
	return e
}
