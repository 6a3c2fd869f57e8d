//go:build linux && !portable

package relay

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The Linux engine. There is an epoll set for each core, with a listening socket of its own (SO_REUSEPORT) and the
// relays of the clients that the kernel sends there; and a worker for each core, a goroutine over such sets, which
// Go's poller wakes (bell_linux.go). A thread blocked in epoll_wait would cost more, since Go hands its processor over
// at every call that may block. How sets and workers come together is in balance_linux.go.

const (
	listenBuffer = 4 << 20
	relayBuffer  = 1 << 20 // from the beginning: the first burst, such as a key frame, must find room
	maxEvents    = 128

	// An event's number is family<<16 | port of a relay, or one of these with an index.
	listenerFlag = 1 << 20
	setFlag      = 1 << 21
)

type engine struct {
	p     *Plane
	gso   bool
	begun time.Time
	thresholds
	sets    []*set
	workers []*worker
	next    atomic.Uint32 // set of the next stream's relay
	running sync.WaitGroup
	done    chan struct{} // closed when the workers are to end
	mu      sync.RWMutex  // of stopping against sockets that are being added
	stopped bool
}

// set is a share of the sockets. One worker at a time handles it.
type set struct {
	index int
	epoll int
	bell  bell // for the worker that sleeps over it
	socks []*udpSocket
	// owner is the index of the worker that has the set. What belongs to the set, and to its relays, is handed over
	// with it.
	owner   atomic.Int32
	handled int // datagrams in the present window; of the owner
}

// udpSocket is one set's socket of a listener.
type udpSocket struct {
	*listener
	fd     int
	set    *set
	mu     sync.RWMutex // of closing against answers from other goroutines
	closed bool
}

// relaySocket is the socket behind a relayed transport address: its descriptor plus one, 0 for none.
type relaySocket struct{ fd1 int }

func (s relaySocket) fd() int { return s.fd1 - 1 }

func (s relaySocket) dontFragment(four bool) error { return dontFragment(s.fd(), four, true) }

func (s relaySocket) fragmentAgain(four bool) { fragmentAgain(s.fd(), four) }

func (s relaySocket) close() {
	if s.fd1 != 0 {
		sysClose(s.fd())
	}
}

// relayIO is what the engine keeps of a relay.
type relayIO struct {
	inKernel *kernelPath // the first of a list; under the mu of kernelFlows

	set   *set // that its client was in when it was opened
	hints [2]atomic.Uint32
	// segments of this many bytes and more are not sent together any more, since kernel or path refused that; 0: none.
	gsoLimit [2]atomic.Int32
}

func (e *engine) init(p *Plane) error {
	e.p = p
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		_, err = unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		e.gso = err == nil
		_ = unix.Close(fd)
	}
	e.done, e.begun = make(chan struct{}), time.Now()
	if e.thresholds = p.cfg.thresholds; e.tooMuch == 0 {
		e.thresholds = defaultThresholds
	}
	for i := range p.cfg.Workers {
		if err := e.grow(i); err != nil {
			e.stop()
			return err
		}
	}
	return nil
}

// grow makes set and worker i.
func (e *engine) grow(i int) error {
	t := &set{index: i}
	var err error
	if t.epoll, err = newEpoll(); err != nil {
		return err
	}
	if t.bell, err = newBell(t.epoll, i); err != nil {
		_ = unix.Close(t.epoll)
		return err
	}
	e.sets = append(e.sets, t)
	x, err := newRX()
	if err != nil {
		return err
	}
	e.workers = append(e.workers, &worker{p: e.p, index: i, rx: x, tx: e.p.borrow(&e.p.gate.lanes[i]), wake: make(chan struct{}, 1)})
	if i > 0 {
		return e.sets[0].watch(t.epoll, setFlag|i)
	}
	return nil
}

// listen binds the first socket alone, so that a port which anybody else has is refused, and shares it only then.
func (e *engine) listen(l *listener) error {
	first, err := e.bindListener(l, false)
	if err != nil {
		return err
	}
	sa, err := unix.Getsockname(first)
	if err == nil && len(e.sets) > 1 {
		err = unix.SetsockoptInt(first, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err != nil {
		_ = unix.Close(first)
		return err
	}
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		l.addr = netip.AddrPortFrom(l.addr.Addr(), uint16(a.Port))
	case *unix.SockaddrInet6:
		l.addr = netip.AddrPortFrom(l.addr.Addr(), uint16(a.Port))
	}
	fd := first
	for i, t := range e.sets {
		if i > 0 {
			if fd, err = e.bindListener(l, true); err != nil {
				// The others do without; clients spread over those that there are.
				e.p.cfg.Logger.Warn("UDP listener: not every core gets a socket of its own", "address", l.addr, "error", err)
				return nil
			}
		}
		u := &udpSocket{listener: l, fd: fd, set: t}
		if err := t.watch(fd, listenerFlag|len(t.socks)); err != nil {
			_ = unix.Close(fd)
			return err
		}
		t.socks = append(t.socks, u)
	}
	return nil
}

func (e *engine) bindListener(l *listener, shared bool) (int, error) {
	return udpBound(l.addr, func(fd int) error {
		enlarge(fd, listenBuffer)
		if shared {
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
				return err
			}
		}
		if !l.wildcard {
			return nil
		}
		if l.addr.Addr().Is4() {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO, 1)
	})
}

func (e *engine) start() error {
	for i, w := range e.workers {
		e.running.Add(1)
		if i == 0 {
			go w.lead()
		} else {
			go w.help()
		}
	}
	return nil
}

// stop ends the workers, waits for them, and closes what is theirs.
func (e *engine) stop() {
	close(e.done)
	for _, t := range e.sets {
		_ = t.bell.file.SetReadDeadline(time.Unix(1, 0))
	}
	e.running.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
	for _, t := range e.sets {
		for _, u := range t.socks {
			u.mu.Lock()
			u.closed = true
			_ = unix.Close(u.fd)
			u.mu.Unlock()
		}
		_ = t.bell.file.Close()
		_ = unix.Close(t.epoll)
	}
	for _, w := range e.workers {
		w.rx.free()
	}
}

// bindRelay binds a relay's socket. false without an error: somebody else has the port.
func (p *Plane) bindRelay(a netip.AddrPort) (relaySocket, bool, error) {
	fd, err := udpBound(a, func(fd int) error {
		enlarge(fd, relayBuffer)
		if p.icmp.Load() {
			return keepErrors(fd, a.Addr().Is4())
		}
		return nil
	})
	switch {
	case err == nil && p.cfg.Files > 0 && fd >= p.cfg.Files: // the lowest free number: as many are open
		sysClose(fd)
		return relaySocket{}, false, ErrFiles
	case err == nil:
		return relaySocket{fd + 1}, true, nil
	}
	if errors.Is(err, unix.EADDRINUSE) {
		return relaySocket{}, false, nil
	}
	if forbidden(err) {
		err = errForbidden
	}
	return relaySocket{}, false, err
}

// startIO puts r into its client's set.
func (r *Relay) startIO() error {
	e := &r.plane.engine
	family := 0
	if r.ports == r.plane.ports[1] {
		family = 1
	}
	if u := r.path.Load().udp; u != nil {
		r.io.set = u.set
	} else {
		r.io.set = e.sets[int(e.next.Add(1))%len(e.sets)]
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.stopped {
		return ErrClosed
	}
	return r.io.set.watch(r.sock.fd(), family<<16|int(r.port))
}

// watch adds a descriptor to the set. Closing it takes it out.
func (t *set) watch(fd, number int) error { return watch(t.epoll, fd, number) }

func watch(epoll, fd, number int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(number)}
	if err := epollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// poll finds out which sockets have something, without waiting.
func (t *set) poll(events *[maxEvents]unix.EpollEvent) []unix.EpollEvent {
	n, _, err := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(t.epoll), uintptr(unsafe.Pointer(events)), maxEvents, 0, 0, 0)
	if err != 0 {
		return nil
	}
	return events[:n]
}

// beside are the sockets of all listeners in u's set; where one has none there, of the first set, which has them all.
func (u *udpSocket) beside() []*udpSocket {
	sets := u.plane.engine.sets
	if len(u.set.socks) < len(sets[0].socks) {
		return sets[0].socks
	}
	return u.set.socks
}

// answer sends one datagram to a client, from the address that it asked. Any goroutine may call it.
func (u *udpSocket) answer(t Tuple, b []byte) {
	var to peerAddr
	var c control
	to.set(t.Client)
	iov := unix.Iovec{Base: unsafe.SliceData(b)}
	iov.SetLen(len(b))
	m := unix.Msghdr{Name: &to[0], Namelen: to.size(), Iov: &iov}
	m.SetIovlen(1)
	if u.wildcard && !t.Server.Addr().IsUnspecified() {
		m.Control = &c[0]
		m.SetControllen(c.putSource(0, t.Server.Addr()))
	}
	u.mu.RLock()
	if !u.closed {
		_ = sendmsg(u.fd, &m)
	}
	u.mu.RUnlock()
}
