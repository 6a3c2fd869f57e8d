package relay

import "net/netip"

// Source says where a message came from and how to answer it. It is a value; it stays usable for as long as its
// socket or stream lives, and after that does nothing.
type Source struct {
	Tuple
	plane  *Plane
	udp    *udpSocket // nil on streams
	stream *stream    // nil on UDP
}

// Send sends one whole STUN message, or on UDP any datagram, back to the client. It never blocks; if buffers are full
// it drops the message. On UDP the message leaves from Tuple.Server.
func (s Source) Send(msg []byte) {
	switch {
	case s.stream != nil:
		s.stream.message(msg)
	case s.udp != nil:
		s.udp.answer(s.Tuple, msg)
	}
}

// From is the Source with whose Send a UDP client is answered from another listener of the Plane, at local. It is not ok
// if no UDP listener is there, or the client is on a stream. Whether this machine has the address is the caller's to
// know: a wildcard listener is at any.
func (s Source) From(local netip.AddrPort) (_ Source, ok bool) {
	if s.udp == nil {
		return Source{}, false
	}
	for _, u := range s.udp.beside() {
		if u.addr == local || u.wildcard && u.addr.Port() == local.Port() && u.addr.Addr().Is4() == local.Addr().Is4() {
			s.udp, s.Server = u, local
			return s, true
		}
	}
	return Source{}, false
}

// Relay is the live relay of this 5-tuple, or nil.
func (s Source) Relay() *Relay {
	var r *Relay
	switch {
	case s.stream != nil:
		r = s.stream.relay.Load()
	case s.udp != nil:
		r = s.udp.clients.get(s.Client, s.Server.Addr())
	}
	if r == nil || r.dead.Load() {
		return nil
	}
	return r
}

// MarkAuthenticated lifts a stream's deadline for its first authenticated request. On UDP it does nothing.
func (s Source) MarkAuthenticated() {
	if s.stream != nil {
		s.stream.authenticate()
	}
}

// attach makes r the relay of this source's client.
func (s Source) attach(r *Relay) error {
	switch {
	case s.stream != nil:
		return s.stream.attach(r)
	case s.udp != nil:
		if !s.udp.clients.put(s.Client, s.Server.Addr(), r) {
			return ErrInUse
		}
		return nil
	}
	return ErrClosed
}

// hand makes o the relay of this source's client, if it was r.
func (s Source) hand(r, o *Relay) {
	switch {
	case s.stream != nil:
		s.stream.relay.CompareAndSwap(r, o)
	case s.udp != nil:
		s.udp.clients.replace(s.Client, s.Server.Addr(), r, o)
	}
}

func (s Source) detach(r *Relay) {
	switch {
	case s.stream != nil:
		s.stream.detach(r)
	case s.udp != nil:
		s.udp.clients.remove(s.Client, s.Server.Addr(), r)
	}
}

// listener is one address that UDP clients are served on, by one socket or by one for each worker.
type listener struct {
	plane    *Plane
	addr     netip.AddrPort // as bound
	wildcard bool
	clients  *clientTable
	awaited  *clientTable // where clients of relays are awaited
}

// source is the Source of a datagram, or false for one that must be ignored: from ourselves or from port 0.
func (u *udpSocket) source(client netip.AddrPort, server netip.Addr) (Source, bool) {
	s := Source{Tuple: Tuple{Transport: UDP, Client: client, Server: u.addr}, plane: u.plane, udp: u}
	if u.wildcard && server.IsValid() {
		s.Server = netip.AddrPortFrom(server, u.addr.Port())
	}
	return s, client.Port() != 0 && client != s.Server
}
