package relay

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// OpenOptions say which relayed transport address is wanted.
type OpenOptions struct {
	Family   int  // 4 or 6
	Tag      any  // kept for the caller: Relay.Tag
	EvenPort bool // EVEN-PORT (RFC 8656 §18.6)
	Reserve  bool // EVEN-PORT with its R bit: keep the next higher port for 30 s; implies EvenPort
	HasToken bool // take the port reserved under Token; Family, EvenPort and Reserve do not count then
	Token    [8]byte
}

// Relay is one relayed transport address and its client: the data plane's half of an allocation. All methods may be
// called from any goroutine.
type Relay struct {
	plane *Plane
	src   Source
	tag   any
	ports *ports
	// family is where the relay is, as it was when it was opened: clients and peers know that address.
	family  *Family
	port    uint16
	token   *[8]byte
	largest int // message that can be sent to the client, in bytes

	dead   atomic.Bool
	ending sync.Once
	access atomic.Pointer[access]
	mu     sync.Mutex // of those who change access
	up     meter
	down   meter

	sock relaySocket
	io   relayIO // what the engine needs
}

// Open binds a relayed transport address for the client that src names. The relay is live at once and ends with
// Close, with its stream, or with the Plane.
func (p *Plane) Open(src Source, o OpenOptions) (*Relay, error) {
	if p.closed.Load() {
		return nil, ErrClosed
	}
	if src.Relay() != nil {
		return nil, ErrInUse
	}
	r := &Relay{plane: p, src: src, tag: o.Tag, largest: largestTo(src.Tuple)}
	r.access.Store(noAccess)
	if err := p.assign(r, o); err != nil {
		return nil, err
	}
	if err := r.publish(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// assign gives r its port and socket.
func (p *Plane) assign(r *Relay, o OpenOptions) error {
	if o.HasToken {
		v, err := p.reserved.redeem(o.Token, p.cfg.Now())
		if err != nil {
			return err
		}
		r.ports, r.family, r.port, r.sock = v.ports, v.family, v.port, v.sock
		return nil
	}
	t := p.ports[0]
	if o.Family == 6 {
		t = p.ports[1]
	}
	r.ports, r.family = t, t.places.Load().now
	if !r.family.Bind.IsValid() || o.Family != 4 && o.Family != 6 {
		return ErrFamily
	}
	var second relaySocket
	err := t.take(o.EvenPort || o.Reserve, o.Reserve, func(port uint16) (bool, error) {
		var ok bool
		var err error
		if r.sock, ok, err = p.bindRelay(netip.AddrPortFrom(r.family.Bind, port)); !ok {
			return false, err
		}
		r.port = port
		if !o.Reserve {
			return true, nil
		}
		if second, ok, err = p.bindRelay(netip.AddrPortFrom(r.family.Bind, port+1)); !ok {
			r.sock.close()
		}
		return ok, err
	})
	if err != nil || !o.Reserve {
		return err
	}
	v := &reservation{ports: t, family: r.family, port: r.port + 1, sock: second, expires: p.cfg.Now().Add(reservationTime)}
	token, err := p.reserved.add(v)
	if err != nil {
		v.drop()
		r.sock.close()
		t.release(r.port)
		return err
	}
	r.token = &token
	return nil
}

// publish lets datagrams reach r. On an error the caller closes r.
//
// The engine comes first: as soon as r can be found, it may be closed from elsewhere.
func (r *Relay) publish() error {
	if err := r.startIO(); err != nil {
		return err
	}
	r.ports.enter(r)
	if err := r.src.attach(r); err != nil {
		return err
	}
	// Run may have closed all relays between Open's look at the flag and the lines above.
	if r.plane.closed.Load() {
		return ErrClosed
	}
	return nil
}

// Close ends the relay: when it returns, nothing more is relayed and the port is free. It may be called any number of
// times, also from inside a Handler.
func (r *Relay) Close() {
	r.ending.Do(func() {
		r.dead.Store(true)
		r.src.detach(r)
		r.ports.relays[r.port-r.ports.min].CompareAndSwap(r, nil)
		r.plane.gate.wait()
		r.sock.close()
		r.ports.release(r.port)
		r.access.Store(noAccess)
	})
}

// Addr is the relayed transport address as clients are told it.
func (r *Relay) Addr() netip.AddrPort { return netip.AddrPortFrom(r.family.Advertise, r.port) }

// Token is the reservation that was made with OpenOptions.Reserve.
func (r *Relay) Token() (token [8]byte, ok bool) {
	if r.token == nil {
		return token, false
	}
	return *r.token, true
}

// Tag is what OpenOptions.Tag was.
func (r *Relay) Tag() any { return r.tag }

// Tuple is the 5-tuple of the relay's client.
func (r *Relay) Tuple() Tuple { return r.src.Tuple }

// Restrict brings what is open into line with a peer policy that has changed: allowed says of an address whether it may
// be a peer still. What it denies goes on only between relays of this server, and the rest of it ends.
func (r *Relay) Restrict(allowed func(netip.Addr) bool) {
	r.change(func(a *access) *access {
		n := a
		for _, p := range a.perms {
			if allowed(p.ip) {
				continue
			}
			if n = n.revoke(p.ip); r.plane.OwnRelayIP(p.ip) {
				n = n.permit(p.ip, ScopeRelays)
			}
		}
		for _, c := range a.chans {
			next := r.route(c.number, c.peer, c.scope)
			if !allowed(c.peer.Addr()) {
				next.scope = ScopeRelays
			}
			switch {
			case next.scope != c.scope && r.plane.RelayAt(c.peer) == nil:
				n = n.unbind(c.number)
			case next.scope != c.scope || next.own != c.own || next.barred != c.barred:
				n = n.bind(next)
			}
		}
		return n
	})
}

// Permit lets peer, at any port, send to the client and be sent to (RFC 8656 §9). It only widens: ScopeRelays after
// ScopeAny changes nothing. The caller ends it with Revoke.
func (r *Relay) Permit(peer netip.Addr, scope Scope) {
	r.change(func(a *access) *access { return a.permit(peer, scope) })
}

// Revoke ends a permission. Channels to the peer still lead up, as RFC 8656 §12 has it, but nothing comes down.
func (r *Relay) Revoke(peer netip.Addr) {
	r.change(func(a *access) *access { return a.revoke(peer) })
}

// Bind binds a channel, in the place of any with the same number or peer: the caller has checked RFC 8656 §12.1.
func (r *Relay) Bind(number uint16, peer netip.AddrPort, scope Scope) {
	c := r.route(number, peer, scope)
	r.change(func(a *access) *access { return a.bind(c) })
}

func (r *Relay) route(number uint16, peer netip.AddrPort, scope Scope) *route {
	c := &route{number: number, scope: scope, peer: peer, own: r.plane.OwnRelayIP(peer.Addr()), barred: r.plane.barred(peer)}
	c.dst.set(peer)
	return c
}

// Unbind ends a channel.
func (r *Relay) Unbind(number uint16) {
	r.change(func(a *access) *access { return a.unbind(number) })
}

func (r *Relay) change(f func(*access) *access) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.dead.Load() {
		r.access.Store(f(r.access.Load()))
	}
}

// Stats reads the counters. They stay readable after Close.
func (r *Relay) Stats() Stats { return Stats{Up: r.up.read(), Down: r.down.read()} }

// admit applies the rate limit of one direction to one datagram.
func (r *Relay) admit(m *meter, now int64, bytes int) bool {
	if r.plane.rate.Load().allow(m, now, bytes) {
		return true
	}
	m.drop(OverLimit, 1)
	return false
}

// nanos is the time for the rate limit, and 0 where there is none and the clock need not be asked.
func (p *Plane) nanos() int64 {
	if p.rate.Load().bitsPerSecond == 0 {
		return 0
	}
	return p.cfg.Now().Sub(p.epoch).Nanoseconds() + 1
}

func (p *Plane) since(t time.Time) int64 { return t.Sub(p.epoch).Nanoseconds() }
