package relay

import "net/netip"

// Permitted says whether the client has a live permission for ip, of whatever scope.
func (r *Relay) Permitted(ip netip.Addr) bool { return r.access.Load().permitted(ip) != 0 }

// ChannelPeer is the peer that a channel number is bound to.
func (r *Relay) ChannelPeer(number uint16) (peer netip.AddrPort, ok bool) {
	if c := r.access.Load().channel(number); c != nil {
		return c.peer, true
	}
	return netip.AddrPort{}, false
}

// PeerChannel is the channel number that a peer is bound to.
func (r *Relay) PeerChannel(peer netip.AddrPort) (number uint16, ok bool) {
	if c := r.access.Load().channelTo(peer); c != nil {
		return c.number, true
	}
	return 0, false
}

// Counts are the numbers of live permissions and channels.
func (r *Relay) Counts() (permissions, channels int) {
	a := r.access.Load()
	return len(a.perms), len(a.chans)
}
