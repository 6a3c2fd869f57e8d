//go:build !portable

package relay

import (
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// kernelFlows are the channels that Config.Kernel relays: those of clients on UDP, without a limit of bits per second, to
// peers that anybody may be, or to the relay of another such client that has a channel back.
//
// A channel's flows are entered and ended under the lock of its access, so that what is in the kernel is never more than what
// is open. mu comes after that lock.
type kernelFlows struct {
	k     Kernel
	plane *Plane
	wake  chan struct{} // has room for one; filled when there is a flow
	now   atomic.Bool   // some flow is settling

	mu     sync.Mutex
	paths  map[*route]*kernelPath
	pairs  map[ends]*kernelPath // paths between relays of this server, by both
	flows  map[int]*kernelFlow  // by slot
	slots  []int                // scratch, of look
	relays map[*Relay]int       // flows by the relay whose socket they would arrive at
	socks  map[*udpSocket]int
}

// ends are a relay, and one that it has a channel to.
type ends struct{ from, to *Relay }

// kernelPath is what there is of one channel: no flows where it is apart from the kernel.
type kernelPath struct {
	r     *Relay
	c     *route
	to    *Relay // of this server, or nil
	until time.Time
	apart Apart
	flows []*kernelFlow
	count [2]int      // the slots of what counts up and down for r, and one; 0: there is none
	prev  *kernelPath // of the same relay
	next  *kernelPath
}

type kernelFlow struct {
	slot   int
	paths  []*kernelPath // one, or two that share the flow
	meters []*meter
	r      *Relay     // whose socket it would arrive at, or
	u      *udpSocket // the listener's
	away   *Relay     // whose socket it would leave by, or
	back   *udpSocket // the listener's
}

func newKernelFlows(p *Plane) *kernelFlows {
	if p.cfg.Kernel == nil {
		return nil
	}
	return &kernelFlows{
		k: p.cfg.Kernel, plane: p, wake: make(chan struct{}, 1), paths: make(map[*route]*kernelPath),
		pairs: make(map[ends]*kernelPath), flows: make(map[int]*kernelFlow), relays: make(map[*Relay]int), socks: make(map[*udpSocket]int),
	}
}

// plain enters both directions between a client and a peer.
func (k *kernelFlows) plain(p *kernelPath) {
	r, s := p.r, p.r.path.Load()
	t := s.Tuple
	local := netip.AddrPortFrom(localTo(r.family.Bind, p.c.peer), r.port)
	up := &kernelFlow{paths: []*kernelPath{p}, meters: []*meter{&r.up}, u: s.udp, away: r}
	down := &kernelFlow{paths: []*kernelPath{p}, meters: []*meter{&r.down}, r: r, back: s.udp}
	k.enter(up, Leg{t.Client, t.Server, p.c.number}, Leg{local, p.c.peer, 0})
	k.enter(down, Leg{p.c.peer, local, 0}, Leg{t.Server, t.Client, p.c.number})
}

// between enters both directions between two clients.
func (k *kernelFlows) between(a, b *kernelPath) {
	for _, w := range [2][2]*kernelPath{{a, b}, {b, a}} {
		from, to := w[0], w[1]
		s, t := from.r.path.Load(), to.r.path.Load()
		f := &kernelFlow{paths: []*kernelPath{a, b}, meters: []*meter{&from.r.up, &to.r.down}, u: s.udp, back: t.udp}
		k.enter(f, Leg{s.Client, s.Server, from.c.number}, Leg{t.Server, t.Client, to.c.number})
	}
}

// enter enters one of them, if the kernel takes it.
func (k *kernelFlows) enter(f *kernelFlow, in, out Leg) {
	var ok bool
	if f.slot, ok = k.k.Enter(in, out, f.life()); !ok {
		return
	}
	for _, p := range f.paths {
		p.flows = append(p.flows, f)
		for _, m := range f.meters {
			switch m {
			case &p.r.up:
				p.count[up] = f.slot + 1
			case &p.r.down:
				p.count[down] = f.slot + 1
			}
		}
	}
	k.flows[f.slot] = f
	k.merge(f, +1)
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// merge counts the flows of a socket. While there are any, the kernel must not put together what arrives there (UDP_GRO): it
// would do so before its program sees it.
func (k *kernelFlows) merge(f *kernelFlow, n int) {
	if f.r != nil {
		if k.relays[f.r] += n; k.relays[f.r] == max(n, 0) {
			_ = sysOption(f.r.sock.fd(), unix.IPPROTO_UDP, unix.UDP_GRO, 1-max(n, 0))
		}
		if k.relays[f.r] == 0 {
			delete(k.relays, f.r)
		}
		return
	}
	if k.socks[f.u] += n; k.socks[f.u] == max(n, 0) {
		f.u.mu.RLock()
		if !f.u.closed {
			_ = sysOption(f.u.fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1-max(n, 0))
		}
		f.u.mu.RUnlock()
	}
	if k.socks[f.u] == 0 {
		delete(k.socks, f.u)
	}
}

// fd is the socket that the flow would arrive at. It is open while there is the flow.
func (f *kernelFlow) fd() int { return socketOf(f.r, f.u) }

// gone reports whether all that the sockets have sent of the flow has left the machine, or has been taken in by the other end of
// a veth: until then it is on the account of the socket that it has left by. That is open while there is the flow.
func (f *kernelFlow) gone() bool {
	n, err := unix.IoctlGetInt(socketOf(f.away, f.back), unix.SIOCOUTQ)
	return err == nil && n == 0
}

func socketOf(r *Relay, u *udpSocket) int {
	if r != nil {
		return r.sock.fd()
	}
	return u.fd
}

// life is how long a flow may live: no longer than each channel that it needs.
func (f *kernelFlow) life() time.Duration {
	d := time.Until(f.paths[0].until)
	for _, p := range f.paths[1:] {
		d = min(d, time.Until(p.until))
	}
	return max(d, 0)
}

// leave ends what there is of a channel.
func (k *kernelFlows) leave(c *route) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.paths[c]; p != nil {
		k.remove(p)
	}
}

// leaveAll ends what there is of a relay that is dead.
func (k *kernelFlows) leaveAll(r *Relay) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for p := r.io.inKernel; p != nil; p = r.io.inKernel {
		k.remove(p)
	}
}

// end ends a path's flows, and adds what they counted to the meters.
func (k *kernelFlows) end(p *kernelPath) {
	for _, f := range p.flows {
		datagrams, bytes := k.k.Leave(f.slot)
		for _, m := range f.meters {
			m.datagrams.Add(datagrams)
			m.bytes.Add(bytes)
		}
		delete(k.flows, f.slot)
		k.merge(f, -1)
	}
	for _, f := range p.flows {
		for _, o := range f.paths {
			if o != p {
				o.flows, o.count, o.apart = nil, [2]int{}, OneWay // those that it shares with p are all it has
			}
		}
	}
	p.flows, p.count = nil, [2]int{}
}

// moved ends what there is of a relay whose client has come over another path, and begins anew with that.
func (k *kernelFlows) moved(r *Relay) {
	_ = r.change(func(a *access, now int64) error {
		for c := a.chansBy.first; c != nil; c = c.due.newer {
			k.leave(c)
			k.bound(r, c, time.Duration(c.due.at-now))
		}
		return nil
	})
}

// stats are a relay's counters with what the kernel has counted.
func (k *kernelFlows) stats(r *Relay) Stats {
	k.mu.Lock()
	defer k.mu.Unlock()
	s := r.stats()
	for p := r.io.inKernel; p != nil; p = p.next {
		for way, d := range [2]*Direction{&s.Up, &s.Down} {
			if slot := p.count[way] - 1; slot >= 0 {
				datagrams, bytes := k.k.Count(slot)
				d.Datagrams += datagrams
				d.Bytes += bytes
			}
		}
	}
	return s
}

// localTo is the address that a socket bound to an address sends to a peer from.
func localTo(bind netip.Addr, peer netip.AddrPort) netip.Addr {
	if !bind.IsUnspecified() {
		return bind
	}
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(peer)) // sends nothing
	if err != nil {
		return netip.Addr{}
	}
	defer func() { _ = c.Close() }()
	return c.LocalAddr().(*net.UDPAddr).AddrPort().Addr().Unmap()
}

// How often it is looked whether flows can move into the kernel in order: while some do, and whether any do.
const (
	settleEvery = 10 * time.Millisecond
	lookEvery   = 500 * time.Millisecond
)

// settle tells the kernel of flows of which the sockets have nothing left, until ctx ends.
func (k *kernelFlows) settle(ctx context.Context) {
	defer k.plane.serving.Done()
	every := settleEvery
	tick := time.NewTicker(every)
	defer tick.Stop()
	turn := func(next time.Duration) {
		if next != every { // else those that come in time and again would put it off
			every = next
			tick.Reset(every)
		}
	}
	for {
		if k.none() {
			tick.Stop()
			every = 0
		}
		select {
		case <-ctx.Done():
			return
		case <-k.wake:
			turn(settleEvery)
		case <-tick.C:
			func() {
				defer k.plane.contain()
				k.look()
			}()
			if k.orderly() {
				turn(settleEvery)
			} else {
				turn(lookEvery)
			}
		}
	}
}

// none reports whether there are no flows.
func (k *kernelFlows) none() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.flows) == 0
}

// look finds the settling flows whose socket has nothing more to read, and then waits until nobody is in the middle of
// sending on.
func (k *kernelFlows) look() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.slots = k.k.Settling(k.slots[:0])
	settling := k.slots
	if was := k.now.Swap(len(settling) > 0); !was || len(settling) == 0 {
		return // from now on, lanes are left in order
	}
	fds := make([]unix.PollFd, len(settling))
	for i, slot := range settling {
		fds[i] = unix.PollFd{Fd: int32(k.flows[slot].fd()), Events: unix.POLLIN}
	}
	at := k.k.Now()
	if _, err := unix.Poll(fds, 0); err != nil {
		return
	}
	k.plane.gate.wait()
	for i, slot := range settling {
		if fds[i].Revents == 0 {
			k.k.Settled(slot, at, k.flows[slot].gone)
		}
	}
}

// orderly reports whether what has been gathered must be sent before a lane of the gate is left, since some flow is settling.
func (k *kernelFlows) orderly() bool { return k.now.Load() }
