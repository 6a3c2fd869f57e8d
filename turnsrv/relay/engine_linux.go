//go:build linux && !portable

package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The Linux engine: one worker for each core, a goroutine over an epoll set of its own that Go's poller watches as
// one file. A thread blocked in epoll_wait would cost more, since Go hands its processor over at every call that may
// block. A relay's socket belongs to the worker whose listening socket its client's datagrams arrive on.

const (
	listenBuffer = 4 << 20
	relayBuffer  = 1 << 20 // once a relay has been busy
	maxEvents    = 128
	listenerFlag = 1 << 20 // in an event's number; else it is family<<16 | port
)

type engine struct {
	p       *Plane
	gso     bool
	workers []*worker
	next    atomic.Uint32 // worker of the next stream's relay
	running sync.WaitGroup
	mu      sync.RWMutex // of stopping against sockets that are being added
	stopped bool
}

type worker struct {
	p      *Plane
	index  int
	epoll  int
	file   *os.File // owns epoll
	socks  []*udpSocket
	events [maxEvents]unix.EpollEvent
	tx     *tx
	rx     *rx
	src    Source // of the client at hand
	name   peerAddr
	local  netip.Addr
	stop   atomic.Bool
}

// udpSocket is one worker's socket of a listener.
type udpSocket struct {
	*listener
	fd     int
	worker *worker
	mu     sync.RWMutex // of closing against answers from other goroutines
	closed bool
}

// relaySocket is the socket behind a relayed transport address: its descriptor plus one, 0 for none.
type relaySocket struct{ fd1 int }

func (s relaySocket) fd() int { return s.fd1 - 1 }

func (s relaySocket) close() {
	if s.fd1 != 0 {
		_ = unix.Close(s.fd())
	}
}

// relayIO is what the engine keeps of a relay.
type relayIO struct {
	worker *worker
	client peerAddr // of a UDP client
	large  bool     // its buffers have been enlarged; of the worker
	hints  [2]atomic.Uint32
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
	for i := range p.cfg.Workers {
		w := &worker{p: p, index: i, rx: newRX()}
		if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
			e.stop()
			return os.NewSyscallError("epoll_create1", err)
		}
		if err = unix.SetNonblock(w.epoll, true); err != nil {
			_ = unix.Close(w.epoll)
			e.stop()
			return os.NewSyscallError("fcntl", err)
		}
		w.file = os.NewFile(uintptr(w.epoll), fmt.Sprintf("relay worker %d", i))
		w.tx = p.borrow(&p.gate.lanes[i])
		e.workers = append(e.workers, w)
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
	if err == nil && len(e.workers) > 1 {
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
	for i, w := range e.workers {
		if i > 0 {
			if fd, err = e.bindListener(l, true); err != nil {
				// The others do without; clients spread over those that there are.
				e.p.cfg.Logger.Warn("UDP listener: not every core gets a socket of its own", "address", l.addr, "error", err)
				return nil
			}
		}
		u := &udpSocket{listener: l, fd: fd, worker: w}
		if err := w.watch(fd, listenerFlag|len(w.socks)); err != nil {
			_ = unix.Close(fd)
			return err
		}
		w.socks = append(w.socks, u)
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
	for _, w := range e.workers {
		e.running.Add(1)
		go w.run()
	}
	return nil
}

// stop ends the workers, waits for them, and closes what is theirs.
func (e *engine) stop() {
	for _, w := range e.workers {
		w.stop.Store(true)
		_ = w.file.SetReadDeadline(time.Unix(1, 0))
	}
	e.running.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
	for _, w := range e.workers {
		for _, u := range w.socks {
			u.mu.Lock()
			u.closed = true
			_ = unix.Close(u.fd)
			u.mu.Unlock()
		}
		_ = w.file.Close()
	}
}

// bindRelay binds a relay's socket. false without an error: somebody else has the port.
func (p *Plane) bindRelay(a netip.AddrPort) (relaySocket, bool, error) {
	fd, err := udpBound(a, nil)
	if err == nil {
		return relaySocket{fd + 1}, true, nil
	}
	if errors.Is(err, unix.EADDRINUSE) {
		return relaySocket{}, false, nil
	}
	return relaySocket{}, false, err
}

// startIO gives r to its client's worker.
func (r *Relay) startIO() error {
	e := &r.plane.engine
	family := 0
	if r.ports == r.plane.ports[1] {
		family = 1
	}
	if u := r.src.udp; u != nil {
		r.io.worker = u.worker
		r.io.client.set(r.src.Client)
	} else {
		r.io.worker = e.workers[int(e.next.Add(1))%len(e.workers)]
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.stopped {
		return ErrClosed
	}
	return r.io.worker.watch(r.sock.fd(), family<<16|int(r.port))
}

// watch adds a socket to the worker's set. Closing the socket takes it out.
func (w *worker) watch(fd, number int) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(number)}
	if err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &ev); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	return nil
}

// poll returns how many sockets have something, without waiting.
func (w *worker) poll() int {
	n, _, err := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(w.epoll), uintptr(unsafe.Pointer(&w.events[0])), maxEvents, 0, 0, 0)
	if err != 0 {
		return 0
	}
	return int(n)
}

// run relays until stop. All of it happens within one RawConn.Read, so that the poller remembers what came between
// the last look and the waiting.
func (w *worker) run() {
	defer w.p.engine.running.Done()
	raw, err := w.file.SyscallConn()
	if err != nil {
		return
	}
	for !w.stop.Load() {
		_ = raw.Read(func(uintptr) bool {
			for !w.stop.Load() {
				n := w.poll()
				if n == 0 {
					return false
				}
				w.round(n)
			}
			return true
		})
	}
}

// round handles n events. What they bring is gathered and sent on when there is no room for more, and at the end.
func (w *worker) round(n int) {
	t := w.tx
	t.enter()
	for i := range n {
		number := int(w.events[i].Fd)
		if !w.rx.room() {
			t.flush()
			w.rx.used = 0
		}
		if number&listenerFlag != 0 {
			w.listening(w.socks[number&^listenerFlag])
		} else {
			w.relaying(number>>16, uint16(number))
		}
	}
	t.flush()
	w.rx.used = 0
	t.leave()
}

// listening handles what clients have sent to u.
func (w *worker) listening(u *udpSocket) {
	first, n := w.rx.receive(u.fd)
	var r *Relay
	known := false
	for i := first; i < first+n; i++ {
		data, local, segment := w.rx.datagram(i)
		if !known || w.name != w.rx.names[i] || w.local != local {
			w.name, w.local = w.rx.names[i], local
			if w.src, known = u.source(w.name.get(), local); !known {
				continue
			}
			r = w.src.Relay()
		}
		for {
			one := data[:min(segment, len(data))]
			w.tx.fromClient(&w.src, r, one)
			if len(one) > 0 && one[0] < 4 {
				r = w.src.Relay() // the message may have opened or closed it
			}
			if data = data[len(one):]; len(data) == 0 {
				break
			}
		}
	}
}

// relaying handles what peers have sent to the relay on a port. An event may be late, and the port another
// worker's by now.
func (w *worker) relaying(family int, port uint16) {
	r := w.p.ports[family].at(port)
	if r == nil || r.io.worker != w {
		return
	}
	first, n := w.rx.receive(r.sock.fd())
	if n == maxBatch && !r.io.large {
		r.io.large = true
		enlarge(r.sock.fd(), relayBuffer)
	}
	for i := first; i < first+n; i++ {
		data, _, segment := w.rx.datagram(i)
		if segment == 0 {
			r.down.drop(1)
			continue
		}
		from := w.rx.names[i].get()
		for {
			one := data[:min(segment, len(data))]
			w.tx.fromPeer(r, from, one)
			if data = data[len(one):]; len(data) == 0 {
				break
			}
		}
	}
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
