package relay

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Plane is the data plane. Its methods may be called from any goroutine, before, during and after Run.
type Plane struct {
	cfg      Config
	epoch    time.Time
	limits   atomic.Pointer[limits]
	fair     fair
	ports    [2]*ports // IPv4, IPv6
	reserved reservations
	gate     gate
	closed   atomic.Bool
	coarse   atomic.Int64 // nanoseconds since epoch at the last sweep, less stopped
	stopped  atomic.Int64 // nanoseconds in which this process did not run

	listening atomic.Pointer[[]netip.AddrPort] // replaced as a whole

	mu      sync.Mutex
	streams map[*stream]struct{}
	serving sync.WaitGroup // goroutines that the Plane started, and streams

	buffers sync.Pool // *buffer
	txs     sync.Pool // *tx
	engine  engine
	icmp    atomic.Bool  // as Config.ICMP
	kernel  *kernelFlows // nil without Config.Kernel
}

// New checks the configuration. Nothing is bound yet: call ListenUDP, then Run, which is also what frees a Plane.
func New(cfg Config) (*Plane, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	if cfg.Workers <= 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	p := &Plane{cfg: cfg, epoch: cfg.Now(), streams: make(map[*stream]struct{})}
	all := newRate(cfg.TotalBitsPerSecond)
	p.limits.Store(&limits{each: newRate(cfg.BitsPerSecond), all: all, level: all})
	p.fair.shares, p.fair.set = make(map[*Share]struct{}), make(chan struct{}, 1)
	p.gate = newGate(2 * cfg.Workers)
	p.icmp.Store(cfg.ICMP)
	p.kernel = newKernelFlows(p)
	p.reserved.limit = cfg.MaxReservations
	p.buffers.New = func() any { return new(buffer) }
	for i, f := range [2]Family{cfg.IPv4, cfg.IPv6} {
		p.ports[i] = newPorts(f, cfg.PortMin, cfg.PortMax)
	}
	if err := p.engine.init(p); err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	return p, nil
}

// ListenUDP binds an address for UDP clients and returns it with the port that was given. Call it before Run. An
// IPv6 wildcard takes IPv6 only. On a wildcard, answers leave from the address that was asked. A port that any other
// socket holds is refused, also where both would allow sharing.
func (p *Plane) ListenUDP(addr netip.AddrPort) (bound netip.AddrPort, err error) {
	if p.closed.Load() {
		return bound, ErrClosed
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	l := &listener{plane: p, addr: addr, wildcard: addr.Addr().IsUnspecified(), clients: newClientTable(), awaited: newClientTable()}
	if err := p.engine.listen(l); err != nil {
		return bound, fmt.Errorf("listen on UDP %s: %w", addr, err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	all := []netip.AddrPort{l.addr}
	if old := p.listening.Load(); old != nil {
		all = append(all, *old...)
	}
	p.listening.Store(&all)
	return l.addr, nil
}

// Run relays until ctx ends. Then it closes every socket, stream and relay, waits for all of them, and returns nil.
// It is called once.
func (p *Plane) Run(ctx context.Context) error {
	err := p.engine.start()
	if err == nil {
		p.serving.Add(1)
		go p.balancer(ctx)
		if p.kernel != nil {
			p.serving.Add(1)
			go p.kernel.settle(ctx)
		}
		p.sweeper(ctx)
	}
	p.closed.Store(true)
	p.reserved.sweep(p.cfg.Now(), true)
	p.endStreams()
	for _, t := range p.ports {
		for i := range t.relays {
			if r := t.relays[i].Load(); r != nil {
				r.Close()
			}
		}
	}
	p.engine.stop()
	p.serving.Wait()
	return err
}

// sweeper is Run's own loop.
func (p *Plane) sweeper(ctx context.Context) {
	every := time.Second
	for _, d := range []time.Duration{p.cfg.AuthTimeout, p.cfg.IdleTimeout, p.cfg.FrameTimeout} {
		every = min(every, d/4)
	}
	every = max(every, time.Millisecond)
	tick := time.NewTicker(every)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// A tick that is late means that this process was stopped, or not given the processor. No client was silent for
		// as long: what it sent meanwhile is still to be read.
		late := time.Since(last) - every
		last = last.Add(every + late)
		if late > every {
			p.stopped.Add(int64(late))
		}
		func() {
			defer p.contain()
			p.Sweep()
		}()
	}
}

// Sweep ends what has run out by now: permissions, channels, reservations, and streams past their deadline. Run calls
// it about every second. Only a caller that moves Config.Now needs to.
func (p *Plane) Sweep() {
	coarse := p.served()
	p.coarse.Store(coarse)
	p.reserved.sweep(p.cfg.Now(), false)
	for _, t := range p.ports {
		for i := range t.relays {
			if r := t.relays[i].Load(); r != nil {
				r.sweep(coarse)
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.streams {
		if cause := s.overdue(coarse); cause != "" {
			s.end(cause, errors.New(cause))
		}
	}
}

// RelayAt is the live relay whose advertised or bound address is a, or nil.
func (p *Plane) RelayAt(a netip.AddrPort) *Relay {
	for _, t := range p.ports {
		if r := t.relayAt(a); r != nil {
			return r
		}
	}
	return nil
}

// HasRelay reports whether a live relay other than r, which may be nil, has the address ip, advertised or bound.
func (p *Plane) HasRelay(ip netip.Addr, r *Relay) bool {
	return p.ports[0].hasRelay(ip, r) || p.ports[1].hasRelay(ip, r)
}

// OwnRelayIP reports whether ip is an address, advertised or bound, that relays of this server have, new or live.
func (p *Plane) OwnRelayIP(ip netip.Addr) bool {
	for _, t := range p.ports {
		if t.owns(ip) {
			return true
		}
	}
	return false
}

// FreePorts is how many relay ports of a family (4 or 6) are neither relayed on nor reserved.
func (p *Plane) FreePorts(family int) int {
	t := p.ports[0]
	if family == 6 {
		t = p.ports[1]
	}
	if !t.places.Load().now.Bind.IsValid() {
		return 0
	}
	return t.free()
}

// PrepareMove gets ready to replace Config.IPv4 and Config.IPv6 for new relays; live ones keep their addresses. move
// does it, cannot fail, and returns every address that relays are told to have.
func (p *Plane) PrepareMove(v4, v6 Family) (move func() (advertised []netip.Addr), err error) {
	if err := errors.Join(v4.check(true), v6.check(false)); err != nil {
		return nil, err
	}
	return func() []netip.Addr { return append(p.ports[0].move(v4), p.ports[1].move(v6)...) }, nil
}

// sibling reports whether scope, which is not [ScopeAny], lets r exchange data with a peer that is no relay of this server.
func (p *Plane) sibling(r *Relay, scope Scope, peer netip.AddrPort) bool {
	return scope == ScopeFleet && p.cfg.Sibling != nil && p.cfg.Sibling(r, peer)
}

// RelayAddrs lists the addresses of relays, new or live: those that clients are told, and those that they are bound to if those
// are single ones.
func (p *Plane) RelayAddrs() (all []netip.Addr) {
	for _, t := range p.ports {
		places := t.places.Load()
		for _, l := range append([]*place{places.now}, places.earlier...) {
			for _, ip := range []netip.Addr{l.Advertise, l.Bind} {
				if l.Bind.IsValid() && !ip.IsUnspecified() && !slices.Contains(all, ip) {
					all = append(all, ip)
				}
			}
		}
	}
	return all
}

// barred reports whether peer is a listening socket of this process.
func (p *Plane) barred(peer netip.AddrPort) bool {
	if p.cfg.OwnListener != nil && p.cfg.OwnListener(peer) {
		return true
	}
	l := p.listening.Load()
	return l != nil && slices.Contains(*l, peer)
}

// errStop ends loops whose end has been explained elsewhere.
var errStop = errors.New("stop")
