package relay

import (
	"maps"
	"net/netip"
	"slices"
)

// route is where a channel leads. It is never changed once a reader can see it.
type route struct {
	number uint16
	scope  Scope
	own    bool // the peer has an address of our relays: look for a live one first
	barred bool // the peer is a listening socket of ours
	peer   netip.AddrPort
	dst    peerAddr // the peer in the engine's form
}

type permission struct {
	ip    netip.Addr
	scope Scope
}

// access is what a relay's client has opened: permissions and channels. Readers load it from an atomic pointer and
// writers replace it as a whole, so a look-up needs no lock. Most relays have one or two of each: those are searched
// in order. Above smallTable maps take over, so that a client with hundreds pays no more per datagram.
type access struct {
	perms  []permission
	chans  []*route
	byIP   map[netip.Addr]Scope
	byPeer map[netip.AddrPort]*route
	byNum  map[uint16]*route
}

const smallTable = 8

var noAccess = &access{}

func (a *access) permitted(ip netip.Addr) Scope {
	if a.byIP != nil {
		return a.byIP[ip]
	}
	for i := range a.perms {
		if a.perms[i].ip == ip {
			return a.perms[i].scope
		}
	}
	return 0
}

func (a *access) channel(number uint16) *route {
	if a.byNum != nil {
		return a.byNum[number]
	}
	for _, c := range a.chans {
		if c.number == number {
			return c
		}
	}
	return nil
}

func (a *access) channelTo(peer netip.AddrPort) *route {
	if a.byPeer != nil {
		return a.byPeer[peer]
	}
	for _, c := range a.chans {
		if c.peer == peer {
			return c
		}
	}
	return nil
}

// permit returns a with ip permitted at least as far as scope; a itself where it is so already.
func (a *access) permit(ip netip.Addr, scope Scope) *access {
	if a.permitted(ip) >= scope {
		return a
	}
	n := *a
	i := slices.IndexFunc(a.perms, func(p permission) bool { return p.ip == ip })
	if i >= 0 {
		n.perms = slices.Clone(a.perms)
		n.perms[i].scope = scope
	} else {
		n.perms = append(make([]permission, 0, len(a.perms)+1), a.perms...)
		n.perms = append(n.perms, permission{ip, scope})
	}
	n.indexPerms(a, ip, scope)
	return &n
}

func (a *access) revoke(ip netip.Addr) *access {
	i := slices.IndexFunc(a.perms, func(p permission) bool { return p.ip == ip })
	if i < 0 {
		return a
	}
	n := *a
	n.perms = slices.Delete(slices.Clone(a.perms), i, i+1)
	n.indexPerms(a, ip, 0)
	return &n
}

// indexPerms brings byIP up to date after one change to old, and drops it where it no longer pays.
func (a *access) indexPerms(old *access, ip netip.Addr, scope Scope) {
	if len(a.perms) <= smallTable {
		a.byIP = nil
		return
	}
	if a.byIP = maps.Clone(old.byIP); a.byIP == nil {
		a.byIP = make(map[netip.Addr]Scope, len(a.perms))
		for _, p := range a.perms {
			a.byIP[p.ip] = p.scope
		}
	}
	if a.byIP[ip] = scope; scope == 0 {
		delete(a.byIP, ip)
	}
}

// bind returns a with the channel c in the place of any of the same number or peer.
func (a *access) bind(c *route) *access {
	n := *a
	n.chans = make([]*route, 0, len(a.chans)+1)
	for _, o := range a.chans {
		if o.number != c.number && o.peer != c.peer {
			n.chans = append(n.chans, o)
		}
	}
	n.chans = append(n.chans, c)
	n.indexChans()
	return &n
}

func (a *access) unbind(number uint16) *access {
	i := slices.IndexFunc(a.chans, func(c *route) bool { return c.number == number })
	if i < 0 {
		return a
	}
	n := *a
	n.chans = slices.Delete(slices.Clone(a.chans), i, i+1)
	n.indexChans()
	return &n
}

func (a *access) indexChans() {
	a.byNum, a.byPeer = nil, nil
	if len(a.chans) <= smallTable {
		return
	}
	a.byNum = make(map[uint16]*route, len(a.chans))
	a.byPeer = make(map[netip.AddrPort]*route, len(a.chans))
	for _, c := range a.chans {
		a.byNum[c.number], a.byPeer[c.peer] = c, c
	}
}

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
