package relay

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/peertcp"
)

// OpenOptions describe the relayed transport address that is wanted.
type OpenOptions struct {
	Family   int  // 4 or 6
	Tag      any  // kept for the caller: Relay.Tag
	EvenPort bool // EVEN-PORT (RFC 8656 §18.7)
	Reserve  bool // EVEN-PORT with its R bit: keep the next higher port for 30 s; implies EvenPort
	HasToken bool // take the port reserved under Token; Family, EvenPort and Reserve do not count then
	Token    [8]byte
	Mobile   bool    // the relay outlives its client's stream: see [Relay.Await]; not with TCP
	Budget   *Budget // charged for the memory that the relay takes; may be nil
	Share    *Share  // of Config.TotalBitsPerSecond; nil: one of its own
	TCP      bool    // relay TCP (RFC 6062): peers connect to the address, and [Relay.Connect] connects from it
}

// Relay is one relayed transport address and its client: the data plane's half of an allocation. All methods may be
// called from any goroutine.
type Relay struct {
	plane *Plane
	path  atomic.Pointer[path]
	tag   any
	ports *ports
	// family is where the relay is, as it was when it was opened: clients and peers know that address.
	family *place
	port   uint16
	mobile bool
	token  *[8]byte
	pair   *pair // with the relay of the other family, if the client has both; else nil

	moving  sync.Mutex   // of changing path and awaited; of a pair it is the pair's mu: see lock
	awaited *path        // where the client is awaited, nil: nowhere
	until   atomic.Int64 // when it is awaited no longer, see [Plane.served]; 0: no time is set

	telling sync.Mutex // held while the client is told of a channel: see Bind

	dead   atomic.Bool
	ending sync.Once
	access access
	share  *Share
	up     meter
	down   meter
	icmp   atomic.Int64 // as meter.full, of what the client is told of ICMP

	sock relaySocket
	io   relayIO           // what the engine needs
	tcp  *peertcp.Endpoint // in the place of sock and io, if the relay is one of TCP; else nil
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
	r, err := p.prepare(src, o)
	if err != nil {
		return nil, err
	}
	if err := r.publish(); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// prepare makes a relay that nothing reaches yet.
func (p *Plane) prepare(src Source, o OpenOptions) (*Relay, error) {
	r := &Relay{plane: p, tag: o.Tag, share: o.Share, mobile: o.Mobile && !o.TCP}
	r.path.Store(newPath(src))
	if r.share == nil {
		r.share = NewShare()
	}
	r.access.budget, r.access.kernel = o.Budget, p.kernel
	if !r.access.take(relayCost) {
		return nil, ErrBudget
	}
	if err := p.assign(r, o); err != nil {
		r.access.close()
		return nil, err
	}
	p.fair.enter(r.share)
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
		if o.TCP {
			r.port = port
			return r.listen(port)
		}
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

// publish lets datagrams reach r, and the other of its pair. If it returns an error, the caller closes both. The engine
// comes first, since r may be closed from elsewhere as soon as it can be found.
func (r *Relay) publish() error {
	both := [2]*Relay{r, r.Other()}
	for _, one := range both {
		if one == nil {
			continue
		}
		if err := one.start(); err != nil {
			return err
		}
	}
	for _, one := range both {
		if one != nil {
			one.ports.enter(one)
		}
	}
	if err := r.path.Load().attach(r); err != nil {
		return err
	}
	// Run may have closed all relays between Open's look at the flag and the lines above.
	if r.plane.closed.Load() {
		return ErrClosed
	}
	return nil
}

// Close ends the relay: when it returns, nothing more is relayed and the port is free. The other of a pair lives on. It
// may be called any number of times, also from inside a Handler.
func (r *Relay) Close() {
	r.ending.Do(func() {
		r.leaveClient()
		if r.plane.kernel != nil {
			r.plane.kernel.leaveAll(r)
		}
		r.ports.leave(r)
		r.plane.gate.wait()
		if r.tcp != nil {
			r.tcp.Close()
		} else {
			r.sock.close()
		}
		r.ports.release(r.port)
		r.access.close()
		r.plane.fair.leave(r.share)
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

// Tuple is the 5-tuple of the relay's client. It is another one when the client has moved, and the last one while the
// client of a mobile relay is away.
func (r *Relay) Tuple() Tuple { return r.path.Load().Tuple }

// Restrict applies a changed peer policy to what is open. within is how far an address may still be reached: [ScopeAny],
// [ScopeFleet], or 0 if it is denied. What is denied goes on between relays of this server only, and otherwise ends. within must
// not block or call the Relay.
func (r *Relay) Restrict(within func(netip.Addr) Scope) {
	_ = r.change(func(a *access, now int64) error {
		for p := a.permsBy.first; p != nil; {
			next := p.due.newer
			switch s := within(p.ip); {
			case s == ScopeAny:
			case s == ScopeFleet && Scope(p.scope.Load()) >= ScopeFleet:
				p.scope.Store(uint32(ScopeFleet))
			case r.plane.HasRelay(p.ip, r):
				p.scope.Store(uint32(ScopeRelays))
			default:
				a.drop(p)
			}
			p = next
		}
		for c := a.chansBy.first; c != nil; {
			next := c.due.newer
			old := reach(c.reach.Load()) & reachScope
			scope := Scope(old)
			if s := within(c.peer.Addr()); s != ScopeAny {
				scope = min(scope, max(s, ScopeRelays))
			}
			if reach(scope) != old && scope == ScopeRelays && r.plane.RelayAt(c.peer) == nil {
				a.unbind(c)
			} else if e := r.reach(c.peer, scope); uint32(e) != c.reach.Load() {
				a.extend(c, e)
				if a.kernel != nil {
					a.kernel.bound(r, c, time.Duration(c.due.at-now))
				}
			}
			c = next
		}
		return nil
	})
	r.restrictPeers(within)
}

// Grant is one permission of Permit.
type Grant struct {
	Addr  netip.Addr
	Scope Scope
}

// Permit enters permissions for [PermissionLife]: the peers may exchange data with the client, at any port (RFC 8656
// §9). It enters all of them, or none and returns [ErrPermissions], [ErrBudget] or [ErrClosed]. An existing permission
// is refreshed and can only be widened: ScopeRelays after ScopeAny changes nothing. Of a pair, either relay takes grants
// of both families, and enters each where it belongs.
func (r *Relay) Permit(grants ...Grant) error {
	if r.pair != nil {
		return r.pair.permit(grants)
	}
	return r.permitHere(grants)
}

func (r *Relay) permitHere(grants []Grant) error {
	return r.change(func(a *access, now int64) error { return a.permit(grants, now+int64(PermissionLife)) })
}

// change calls f to change what is open, unless the relay has ended. now is [Plane.served].
func (r *Relay) change(f func(a *access, now int64) error) error {
	a := &r.access
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return ErrClosed
	}
	err := f(a, r.plane.served())
	a.schedule()
	return err
}

// sweepMost is how many permissions and channels a sweep takes out before others can have the lock.
const sweepMost = 256

// sweep ends the permissions and channels that have run out by now, and the waiting for a client that has not come.
func (r *Relay) sweep(now int64) {
	if r.tcp != nil {
		r.tcp.Sweep(now)
	}
	if at := r.until.Load(); at != 0 && at <= now {
		r.giveUp(now)
	}
	a := &r.access
	for done := false; !done; {
		if next := a.next.Load(); next == 0 || next > now {
			return
		}
		done = a.sweepSome(now)
	}
}

// Permitted is the scope of the client's permission for ip, or 0 if there is none.
func (r *Relay) Permitted(ip netip.Addr) Scope { return r.access.permitted(ip) }

// ChannelPeer is the peer that a channel number is bound to.
func (r *Relay) ChannelPeer(number uint16) (peer netip.AddrPort, ok bool) {
	if c := r.access.channel(number); c != nil {
		return c.peer, true
	}
	return netip.AddrPort{}, false
}

// PeerChannel is the channel number that a peer is bound to.
func (r *Relay) PeerChannel(peer netip.AddrPort) (number uint16, ok bool) {
	if c := r.access.channelTo(peer); c != nil {
		return c.number, true
	}
	return 0, false
}

// Counts are the numbers of permissions and channels in force.
func (r *Relay) Counts() (permissions, channels int) {
	r.access.mu.Lock()
	defer r.access.mu.Unlock()
	return r.access.perms.count, r.access.byNum.count
}

// Stats reads the counters. They stay readable after Close.
func (r *Relay) Stats() Stats {
	if k := r.plane.kernel; k != nil {
		return k.stats(r)
	}
	return r.stats()
}

// stats are the counters of what went by sockets.
func (r *Relay) stats() Stats { return Stats{Up: r.up.read(), Down: r.down.read()} }

// Wire reads how many bytes were passed on, as they are on the wire between the relay and its peers: payload and the
// headers of IP and UDP, or of TCP. It stays readable after Close.
func (r *Relay) Wire() (up, down uint64) {
	head := uint64(headers(r.family.Bind))
	if r.tcp != nil {
		head += moreOfTCP
	}
	s := r.Stats()
	return s.Up.Bytes + head*s.Up.Datagrams, s.Down.Bytes + head*s.Down.Datagrams
}

// nanos is the time for the rate limits, or 0 if there is none, which saves a look at the clock.
func (p *Plane) nanos() int64 {
	if p.limits.Load().none() {
		return 0
	}
	return p.cfg.Now().Sub(p.epoch).Nanoseconds() + 1
}

// served is how long this process has run since the Plane's epoch, in nanoseconds. Time in which it was stopped does not
// count: what clients refreshed meanwhile is still to be read.
func (p *Plane) served() int64 { return p.since(p.cfg.Now()) - p.stopped.Load() }

func (p *Plane) since(t time.Time) int64 { return t.Sub(p.epoch).Nanoseconds() }
