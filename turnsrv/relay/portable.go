//go:build !linux || portable

package relay

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// The portable engine: a goroutine for each UDP socket, and one system call for each datagram in and out.

// Buffers of listening sockets and relays; the system gives what it allows. A relay's first burst, such as a key frame,
// must fit.
const (
	socketBuffer = 4 << 20
	relayBuffer  = 1 << 20
)

type engine struct {
	p     *Plane
	socks []*udpSocket
	next  atomic.Uint32
}

// udpSocket is the listening socket of a listener.
type udpSocket struct {
	*listener
	conn *net.UDPConn
}

// relaySocket is the socket behind a relayed transport address.
type relaySocket struct{ conn *net.UDPConn }

func (s relaySocket) dontFragment(four bool) error { return setFragmenting(s.conn, four, true) }

func (s relaySocket) fragmentAgain(four bool) {
	s.control(func(fd int) { fragmentAgain(fd, four) })
}

// control calls f with the socket's descriptor, unless it is closed.
func (s relaySocket) control(f func(fd int)) {
	if raw, err := s.conn.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { f(int(fd)) })
	}
}

// setFragmenting is dontFragment for a socket of package net.
func setFragmenting(c *net.UDPConn, four, on bool) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var fault error
	err = raw.Control(func(fd uintptr) { fault = dontFragment(int(fd), four, on) })
	return errors.Join(err, fault)
}

func (s relaySocket) close() {
	if s.conn != nil {
		_ = s.conn.Close()
	}
}

// The other engine needs these; package net does not.
type (
	peerAddr   struct{}
	relayIO    struct{}
	thresholds struct{}
)

func (*peerAddr) set(netip.AddrPort) {}

func (e *engine) init(p *Plane) error {
	e.p = p
	return nil
}

func network(a netip.Addr) string {
	if a.Is4() {
		return "udp4"
	}
	return "udp6"
}

func (e *engine) listen(l *listener) error {
	c, err := net.ListenUDP(network(l.addr.Addr()), net.UDPAddrFromAddrPort(l.addr))
	if err != nil {
		return err
	}
	prepare(c, l.addr.Addr(), socketBuffer)
	if l.wildcard {
		// Where the system cannot tell the address that was asked, it chooses the one to answer from.
		if l.addr.Addr().Is4() {
			_ = ipv4.NewPacketConn(c).SetControlMessage(ipv4.FlagDst, true)
		} else {
			_ = ipv6.NewPacketConn(c).SetControlMessage(ipv6.FlagDst, true)
		}
	}
	l.addr = netip.AddrPortFrom(l.addr.Addr(), c.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	e.socks = append(e.socks, &udpSocket{l, c})
	return nil
}

// prepare sets the options of a new socket.
func prepare(c *net.UDPConn, ip netip.Addr, buffer int) {
	_ = c.SetReadBuffer(buffer)
	_ = c.SetWriteBuffer(buffer)
	if ip.Is4() {
		_ = setFragmenting(c, true, false)
	}
}

func (e *engine) start() error {
	for _, u := range e.socks {
		e.p.serving.Add(1)
		go u.serve(e.lane())
	}
	return nil
}

func (e *engine) stop() {
	for _, u := range e.socks {
		_ = u.conn.Close()
	}
}

func (e *engine) lane() *lane {
	return &e.p.gate.lanes[int(e.next.Add(1))%len(e.p.gate.lanes)]
}

// read returns the next datagram, or false when the socket is closed. Errors that single datagrams leave on the
// socket, such as an ICMP message's, are passed over. If there is a function failed, it looks after them, and reports
// whether there was anything to look after.
func read(c *net.UDPConn, b, oob []byte, failed func() bool) (n, noob int, from netip.AddrPort, ok bool) {
	for {
		n, noob, _, from, err := c.ReadMsgUDPAddrPort(b, oob)
		if err == nil {
			return n, noob, netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), true
		}
		if errors.Is(err, net.ErrClosed) {
			return 0, 0, from, false
		}
		if failed == nil || !failed() {
			time.Sleep(time.Millisecond)
		}
	}
}

func (u *udpSocket) serve(l *lane) {
	defer u.plane.serving.Done()
	buf, oob := make([]byte, 64<<10), make([]byte, 128)
	t := u.plane.borrow(l)
	defer u.plane.giveBack(t)
	for {
		n, noob, from, ok := read(u.conn, buf, oob, nil)
		if !ok {
			return
		}
		src, ok := u.source(from, u.asked(oob[:noob]))
		if !ok {
			continue
		}
		t.clientSent(&src, buf[:n])
	}
}

// contain is deferred around the handling of one client's or peer's data.
func (t *tx) contain() {
	if cause := recover(); cause != nil {
		t.recovered(cause)
	}
}

func (t *tx) clientSent(src *Source, b []byte) {
	defer t.contain()
	t.enter()
	t.fromClient(src, src.Relay(), b)
	t.flush()
	t.leave()
}

// asked is the local address that a datagram was sent to, if the listener is a wildcard and the system tells.
func (u *udpSocket) asked(oob []byte) (a netip.Addr) {
	if !u.wildcard {
		return a
	}
	if u.addr.Addr().Is4() {
		var c ipv4.ControlMessage
		if c.Parse(oob) == nil {
			a, _ = netip.AddrFromSlice(c.Dst)
		}
	} else {
		var c ipv6.ControlMessage
		if c.Parse(oob) == nil {
			a, _ = netip.AddrFromSlice(c.Dst)
		}
	}
	return a.Unmap()
}

// beside are the sockets of all listeners.
func (u *udpSocket) beside() []*udpSocket { return u.plane.engine.socks }

// answer sends one datagram to a client, from the address that it asked.
func (u *udpSocket) answer(t Tuple, b []byte) { u.write(t, b) }

func (u *udpSocket) write(t Tuple, b []byte) bool {
	var oob []byte
	if ip := t.Server.Addr(); u.wildcard && !ip.IsUnspecified() {
		if ip.Is4() {
			oob = (&ipv4.ControlMessage{Src: ip.AsSlice()}).Marshal()
		} else {
			oob = (&ipv6.ControlMessage{Src: ip.AsSlice()}).Marshal()
		}
	}
	_, _, err := u.conn.WriteMsgUDPAddrPort(b, oob, t.Client)
	return err == nil
}

// Windows has numbers of its own for a port in use, and one for a port set aside by the system.
const (
	wsaeacces     = syscall.Errno(10013)
	wsaeaddrinuse = syscall.Errno(10048)
)

// bindRelay binds a relay's socket. false without an error: somebody else has the port.
func (p *Plane) bindRelay(a netip.AddrPort) (relaySocket, bool, error) {
	c, err := net.ListenUDP(network(a.Addr()), net.UDPAddrFromAddrPort(a))
	if err == nil {
		prepare(c, a.Addr(), relayBuffer)
		s := relaySocket{c}
		if p.icmp.Load() {
			s.control(func(fd int) { err = keepErrors(fd, a.Addr().Is4()) })
		}
		if err != nil {
			s.close()
			return relaySocket{}, false, os.NewSyscallError("setsockopt", err)
		}
		return s, true, nil
	}
	if errors.Is(err, syscall.EADDRINUSE) || errors.Is(err, wsaeaddrinuse) || errors.Is(err, wsaeacces) {
		return relaySocket{}, false, nil
	}
	if forbidden(err) {
		err = errForbidden
	}
	return relaySocket{}, false, err
}

func (r *Relay) startIO() error {
	p := r.plane
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return ErrClosed
	}
	p.serving.Add(1)
	go r.serve(p.engine.lane())
	return nil
}

func (r *Relay) serve(l *lane) {
	defer r.plane.serving.Done()
	buf := make([]byte, 64<<10)
	t := r.plane.borrow(l)
	defer r.plane.giveBack(t)
	for {
		n, _, from, ok := read(r.sock.conn, buf, nil, func() bool { return t.socketFailed(r) })
		if !ok {
			return
		}
		t.peerSent(r, from, buf[:n])
	}
}

func (t *tx) peerSent(r *Relay, from netip.AddrPort, b []byte) {
	defer t.contain()
	t.enter()
	if !r.dead.Load() {
		t.fromPeer(r, from, b)
	}
	t.flush()
	t.leave()
}

// socketFailed looks after what has made reading from r's socket fail, and reports whether that was ICMP.
func (t *tx) socketFailed(r *Relay) (found bool) {
	defer t.contain()
	t.enter()
	if !r.dead.Load() {
		r.sock.control(func(fd int) { found = t.tellErrors(r, fd) })
	}
	t.leave()
	return found
}

// lump is 0: there is a tx for each socket, and they would all keep some of what there is for all.
const lump = 0

// tx sends at once, but for what goes to streams.
type tx struct {
	plane  *Plane
	lane   *lane
	inside bool   // of lane
	at     *Relay // that it is at work for, or nil
	now    int64
	credit int // bytes taken from what there is for all, and not used yet
	msg    []byte
	gathered
}

func (p *Plane) borrow(l *lane) *tx {
	t, _ := p.txs.Get().(*tx)
	if t == nil {
		t = &tx{plane: p}
	}
	t.lane = l
	return t
}

func (p *Plane) giveBack(t *tx) { p.txs.Put(t) }

// enter and leave put a batch of datagrams into a lane of the gate.
func (t *tx) enter() {
	t.lane.RLock()
	t.inside = true
	t.now = t.plane.nanos()
}

func (t *tx) leave() {
	t.inside = false
	t.lane.RUnlock()
}

func (t *tx) flush() { t.flushStream() }

// forget drops what has been gathered.
func (t *tx) forget() { t.gathered = gathered{buf: t.buf[:0]} }

func (t *tx) toPeer(r *Relay, peer netip.AddrPort, _ *peerAddr, data []byte) {
	if !r.dead.Load() && t.sendTo(r, peer, data) {
		r.up.passed(1, len(data))
		return
	}
	r.up.drop(Unsent, 1)
}

// sendTo sends on r's socket. An ICMP message whose error this takes away is not seen by who reads there, so it is looked
// after here.
func (t *tx) sendTo(r *Relay, peer netip.AddrPort, data []byte) bool {
	_, err := r.sock.conn.WriteToUDPAddrPort(data, peer)
	var errno syscall.Errno
	if err == nil || !errors.As(err, &errno) || !ofICMP(errno) {
		return err == nil
	}
	for tries := 1; err != nil && tries < icmpTries; tries++ {
		_, err = r.sock.conn.WriteToUDPAddrPort(data, peer)
	}
	r.sock.control(func(fd int) { t.tellErrors(r, fd) })
	return err == nil
}

func (t *tx) toClient(r *Relay, p *path, number uint16, from netip.AddrPort, data []byte) {
	if p.udp == nil {
		t.toStream(r, p, number, from, data)
		return
	}
	var ok bool
	if t.msg, ok = appendData(t.msg[:0], number, from, data, false); !ok {
		r.down.drop(TooLarge, 1)
		return
	}
	if !r.dead.Load() && p == r.path.Load() && p.udp.write(p.Tuple, t.msg) {
		r.down.passed(1, len(data))
		return
	}
	r.down.drop(Unsent, 1)
}
