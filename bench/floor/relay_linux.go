package main

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	batch    = 32
	slot     = 2048 // bytes for a datagram
	buffer   = 4 << 20
	maxReady = 64
)

type sockaddr = unix.RawSockaddrInet4

// client is one client's allocation: a socket, and the one peer that its channel is bound to.
type client struct {
	addr, peer sockaddr
	fd         int
	channel    uint16
}

// floor finds clients by their port, which is enough on one address, or where the kernel sends everything back. Threads share it.
type floor struct {
	at      netip.Addr // of relays
	clients [1 << 16]atomic.Pointer[client]
}

// group is what goes to one address in one call.
type group struct {
	c    *client
	iovs []unix.Iovec
	size int // of each datagram
}

// worker is one thread with what it needs.
type worker struct {
	f         *floor
	fd, epoll int
	hdrs      [batch]mmsghdr
	iovs      [batch]unix.Iovec
	from      [batch]sockaddr
	bufs      [batch * slot]byte
	leads     [batch][4]byte // ChannelData headers
	groups    [batch]group
	ngroups   int
	out       [batch]mmsghdr
	ctrls     [batch]segmentControl
}

type mmsghdr struct {
	unix.Msghdr
	n uint32
}

// segmentControl is a control message with the size of segments.
type segmentControl struct {
	unix.Cmsghdr
	size uint16
	_    [6]byte
}

func (f *floor) thread(a netip.AddrPort) (*worker, error) {
	w := &worker{f: f}
	var err error
	if w.fd, err = bound(a); err != nil {
		return nil, err
	}
	if w.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	for i := range w.hdrs {
		w.iovs[i].Base = &w.bufs[i*slot]
		w.iovs[i].SetLen(slot)
		h := &w.hdrs[i].Msghdr
		h.Name, h.Iov = (*byte)(unsafe.Pointer(&w.from[i])), &w.iovs[i]
		h.SetIovlen(1)
		w.groups[i].iovs = make([]unix.Iovec, 0, 2*batch)
	}
	return w, w.watch(w.fd, 0)
}

// bound makes a socket that shares its port, if it has one.
func bound(a netip.AddrPort) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], buffer) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], buffer)
		}
	}
	if a.Port() != 0 {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: a.Addr().As4(), Port: int(a.Port())})
	}
	if err != nil {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("bind", err)
	}
	return fd, nil
}

func (w *worker) watch(fd int, port uint16) error {
	err := unix.EpollCtl(w.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(port)})
	return os.NewSyscallError("epoll_ctl", err)
}

// run relays until that fails. It waits in system calls that Go's scheduler does not know of.
func (w *worker) run() error {
	var events [maxReady]unix.EpollEvent
	for {
		n, _, err := syscall.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(w.epoll), uintptr(unsafe.Pointer(&events)), maxReady, ^uintptr(0), 0, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		} else if err != 0 {
			return os.NewSyscallError("epoll_pwait", err)
		}
		for _, ev := range events[:n] {
			if ev.Fd == 0 {
				w.fromClients()
			} else {
				w.fromPeer(w.f.clients[ev.Fd].Load())
			}
		}
	}
}

func (w *worker) receive(fd int) int {
	for i := range w.hdrs {
		w.hdrs[i].Namelen = unix.SizeofSockaddrInet4
	}
	n, _, err := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&w.hdrs)), batch, unix.MSG_DONTWAIT, 0, 0)
	if err != 0 {
		return 0
	}
	return int(n)
}

func (w *worker) fromClients() {
	for i := range w.receive(w.fd) {
		b := w.bufs[i*slot:][:w.hdrs[i].n]
		if len(b) < 4 || b[0] < 0x40 {
			w.answer(b, &w.from[i])
			continue
		}
		c := w.f.clients[port(&w.from[i])].Load()
		n := int(binary.BigEndian.Uint16(b[2:]))
		if c == nil || c.channel == 0 || n == 0 || n > len(b)-4 {
			continue
		}
		g := w.group(c)
		g.iovs, g.size = append(g.iovs, part(&b[4], n)), n
	}
	for i := range w.groups[:w.ngroups] {
		g := &w.groups[i]
		w.message(i, g, &g.c.peer, 1)
		_, _, _ = syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(g.c.fd), uintptr(unsafe.Pointer(&w.out[i])), unix.MSG_DONTWAIT)
	}
	w.ngroups = 0
}

func (w *worker) fromPeer(c *client) {
	for i := range w.receive(c.fd) {
		n := int(w.hdrs[i].n)
		binary.BigEndian.PutUint16(w.leads[i][:], c.channel)
		binary.BigEndian.PutUint16(w.leads[i][2:], uint16(n))
		g := w.group(c)
		g.iovs, g.size = append(g.iovs, part(&w.leads[i][0], 4), part(&w.bufs[i*slot], n)), n+4
	}
	if w.ngroups > 0 {
		w.message(0, &w.groups[0], &c.addr, 2)
		_, _, _ = syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(w.fd), uintptr(unsafe.Pointer(&w.out[0])), unix.MSG_DONTWAIT)
		w.ngroups = 0
	}
}

func part(b *byte, n int) unix.Iovec {
	v := unix.Iovec{Base: b}
	v.SetLen(n)
	return v
}

// group is the one for c among those of this batch.
func (w *worker) group(c *client) *group {
	for i := range w.groups[:w.ngroups] {
		if w.groups[i].c == c {
			return &w.groups[i]
		}
	}
	g := &w.groups[w.ngroups]
	w.ngroups++
	g.c, g.iovs = c, g.iovs[:0]
	return g
}

// message makes message i of a group whose datagrams are of equal size, with so many parts each.
func (w *worker) message(i int, g *group, to *sockaddr, parts int) {
	h := &w.out[i].Msghdr
	h.Name, h.Namelen = (*byte)(unsafe.Pointer(to)), unix.SizeofSockaddrInet4
	h.Iov = unsafe.SliceData(g.iovs)
	h.SetIovlen(len(g.iovs))
	h.Control = nil
	h.SetControllen(0)
	if len(g.iovs) > parts {
		c := &w.ctrls[i]
		c.Level, c.Type, c.size = unix.IPPROTO_UDP, unix.UDP_SEGMENT, uint16(g.size)
		c.SetLen(unix.CmsgLen(2))
		h.Control = (*byte)(unsafe.Pointer(c))
		h.SetControllen(unix.CmsgSpace(2))
	}
}

func port(a *sockaddr) uint16 {
	return binary.BigEndian.Uint16((*[2]byte)(unsafe.Pointer(&a.Port))[:])
}
