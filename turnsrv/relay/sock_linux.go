//go:build linux && !portable

package relay

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is the kernel's struct mmsghdr.
type mmsghdr struct {
	unix.Msghdr
	n uint32
}

func recvmmsg(fd int, m *mmsghdr, n int) (int, syscall.Errno) {
	k, _, err := syscall.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(m)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	return int(k), err
}

func sendmmsg(fd int, m *mmsghdr, n int) (int, syscall.Errno) {
	k, _, err := syscall.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(m)), uintptr(n), unix.MSG_DONTWAIT, 0, 0)
	return int(k), err
}

func sendmsg(fd int, m *unix.Msghdr) syscall.Errno {
	_, _, err := syscall.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(m)), unix.MSG_DONTWAIT)
	return err
}

// causeOf is the cause to count for an error of the kernel.
func causeOf(err syscall.Errno) Cause {
	switch err {
	case unix.EAGAIN, unix.ENOBUFS, unix.ENOMEM:
		return QueueFull
	case unix.EMSGSIZE:
		return TooLarge
	}
	return Unsent
}

// These calls never block, so the scheduler need not know of them: on an idle server each call that it knows of wakes
// the runtime's monitor, which costs more than the call.

func sysRead(fd uintptr, b []byte) (int, error) {
	n, _, err := syscall.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if err != 0 {
		return 0, err
	}
	return int(n), nil
}

func sysWrite(fd uintptr, b []byte) (int, error) {
	n, _, err := syscall.RawSyscall(unix.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)))
	if err != 0 {
		return 0, err
	}
	return int(n), nil
}

func sysSocket(family int) (int, error) {
	fd, _, err := syscall.RawSyscall(unix.SYS_SOCKET, uintptr(family), unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != 0 {
		return -1, err
	}
	return int(fd), nil
}

func sysClose(fd int) { _, _, _ = syscall.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }

func epollCtl(epoll, op, fd int, ev *unix.EpollEvent) error {
	_, _, err := syscall.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(epoll), uintptr(op), uintptr(fd), uintptr(unsafe.Pointer(ev)), 0, 0)
	if err != 0 {
		return err
	}
	return nil
}

// peerAddr is a struct sockaddr_in or sockaddr_in6.
type peerAddr [unix.SizeofSockaddrInet6]byte

func (s *peerAddr) set(a netip.AddrPort) {
	binary.BigEndian.PutUint16(s[2:], a.Port())
	if a.Addr().Is4() {
		binary.NativeEndian.PutUint16(s[:], unix.AF_INET)
		*(*[4]byte)(s[4:]) = a.Addr().As4()
		return
	}
	binary.NativeEndian.PutUint16(s[:], unix.AF_INET6)
	*(*[16]byte)(s[8:]) = a.Addr().As16()
	binary.NativeEndian.PutUint32(s[24:], scopeOf(a.Addr().Zone()))
}

func scopeOf(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	if i, err := net.InterfaceByName(zone); err == nil {
		return uint32(i.Index)
	}
	return 0
}

func (s *peerAddr) get() netip.AddrPort {
	port := binary.BigEndian.Uint16(s[2:])
	if binary.NativeEndian.Uint16(s[:]) == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(s[4:8])), port)
	}
	ip := netip.AddrFrom16([16]byte(s[8:24]))
	if scope := binary.NativeEndian.Uint32(s[24:]); scope != 0 && ip.IsLinkLocalUnicast() {
		ip = ip.WithZone(strconv.FormatUint(uint64(scope), 10))
	}
	return netip.AddrPortFrom(ip, port)
}

func (s *peerAddr) size() uint32 {
	if binary.NativeEndian.Uint16(s[:]) == unix.AF_INET {
		return unix.SizeofSockaddrInet4
	}
	return unix.SizeofSockaddrInet6
}

// udpBound makes a UDP socket bound to a. Before the binding, prepare may set options.
func udpBound(a netip.AddrPort, prepare func(fd int) error) (int, error) {
	family := unix.AF_INET
	if !a.Addr().Is4() {
		family = unix.AF_INET6
	}
	fd, err := sysSocket(family)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if a.Addr().Is6() && a.Addr().IsUnspecified() {
		err = sysOption(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	if err == nil && prepare != nil {
		err = prepare(fd)
	}
	if err != nil {
		sysClose(fd)
		return -1, os.NewSyscallError("setsockopt", err)
	}
	var sa peerAddr
	sa.set(a)
	if _, _, e := syscall.RawSyscall(unix.SYS_BIND, uintptr(fd), uintptr(unsafe.Pointer(&sa)), uintptr(sa.size())); e != 0 {
		sysClose(fd)
		return -1, os.NewSyscallError("bind", e)
	}
	_ = sysOption(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1) // older kernels go without
	if a.Addr().Is4() {
		_ = dontFragment(fd, true, false) // by default the kernel sets DF, and learns of a small MTU by losing datagrams
	}
	return fd, nil
}

// enlarge asks for larger socket buffers; the kernel gives what it allows.
func enlarge(fd, bytes int) {
	for _, o := range [2][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if sysOption(fd, unix.SOL_SOCKET, o[0], bytes) != nil {
			_ = sysOption(fd, unix.SOL_SOCKET, o[1], bytes)
		}
	}
}

// control is the space for the control messages of one datagram: addresses (PKTINFO) and segment size.
type control [unix.SizeofCmsghdr*2 + 40]byte

// put appends a control message at offset at and returns the offset behind it.
func (c *control) put(at, level, kind int, data []byte) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c[at]))
	h.Level, h.Type = int32(level), int32(kind)
	h.SetLen(unix.CmsgLen(len(data)))
	copy(c[at+unix.CmsgLen(0):], data)
	return at + unix.CmsgSpace(len(data))
}

func (c *control) putSegment(at, size int) int {
	var b [2]byte
	binary.NativeEndian.PutUint16(b[:], uint16(size))
	return c.put(at, unix.IPPROTO_UDP, unix.UDP_SEGMENT, b[:])
}

// putSource makes a datagram leave from the local address ip.
func (c *control) putSource(at int, ip netip.Addr) int {
	if ip.Is4() {
		var b [unix.SizeofInet4Pktinfo]byte
		*(*[4]byte)(b[4:]) = ip.As4()
		return c.put(at, unix.IPPROTO_IP, unix.IP_PKTINFO, b[:])
	}
	var b [unix.SizeofInet6Pktinfo]byte
	*(*[16]byte)(b[:]) = ip.As16()
	return c.put(at, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO, b[:])
}

// read finds the local address and the segment size among n bytes of control messages.
func (c *control) read(n int) (local netip.Addr, segment int) {
	for at := 0; at+unix.SizeofCmsghdr <= n; {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[at]))
		size := int(h.Len)
		if size < unix.CmsgLen(0) || at+size > n {
			break
		}
		data := c[at+unix.CmsgLen(0) : at+size]
		switch {
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(data) >= 4:
			segment = int(int32(binary.NativeEndian.Uint32(data)))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			local = netip.AddrFrom4([4]byte(data[8:12]))
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			local = netip.AddrFrom16([16]byte(data[:16]))
		}
		at += unix.CmsgSpace(size - unix.CmsgLen(0))
	}
	return local, segment
}
