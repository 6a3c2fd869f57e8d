package relay

import (
	"encoding/binary"
	"net/netip"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// keepErrors has the kernel keep ICMP messages about what is sent on a socket. It does so for whatever names the
// socket's address as the source, whether or not that was sent: what others make up is caught by permissions at most.
func keepErrors(fd int, four bool) error {
	if four {
		return sysOption(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	}
	return sysOption(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 1)
}

// ofICMP reports whether a call on a socket may have failed because of an ICMP message that has come in, and not
// for a reason of its own. The kernel has an error for each type and code.
func ofICMP(err syscall.Errno) bool {
	switch err {
	case 0, unix.EAGAIN, unix.EINTR, unix.ENOBUFS, unix.ENOMEM, unix.EINVAL, unix.EPERM:
		return false
	}
	return true
}

// tellErrors tells r's client of the ICMP messages that its socket has, up to icmpMost of them. If there are more, the
// socket stays in error, and the poller says so again. found reports whether there were any.
func (t *tx) tellErrors(r *Relay, fd int) (found bool) {
	for range icmpMost {
		e, ok := nextError(fd)
		if !ok {
			return found
		}
		found = true
		t.tell(r, &e)
	}
	return found
}

// nextError takes the oldest message out of a socket's error queue, or reports false if there is none.
func nextError(fd int) (e peerError, ok bool) {
	var name [unix.SizeofSockaddrInet6]byte
	var control [128]byte
	m := unix.Msghdr{Name: &name[0], Namelen: uint32(len(name)), Control: &control[0]}
	m.SetControllen(len(control))
	_, _, err := syscall.RawSyscall(unix.SYS_RECVMSG, uintptr(fd), uintptr(unsafe.Pointer(&m)), unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if err != 0 {
		return e, false
	}
	return parseError(name[:min(int(m.Namelen), len(name))], control[:min(int(m.Controllen), len(control))]), true
}

// parseError reads an entry of an error queue: the address that a datagram was sent to, and the control messages with
// what became of it (struct sock_extended_err).
func parseError(name, control []byte) (e peerError) {
	peer := parseSockaddr(name)
	if !peer.IsValid() {
		return e
	}
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return e
		}
		control = rest
		origin := -1
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_RECVERR && peer.Addr().Is4():
			origin = unix.SO_EE_ORIGIN_ICMP
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_RECVERR && peer.Addr().Is6():
			origin = unix.SO_EE_ORIGIN_ICMP6
		}
		if len(data) >= 16 && int(data[4]) == origin {
			e = peerError{peer, stunmsg.ICMP{Type: data[5], Code: data[6]}}
			e.MTU = e.data(binary.NativeEndian.Uint32(data[8:]))
			return e
		}
	}
	return e
}

// parseSockaddr reads a struct sockaddr_in or sockaddr_in6, without its zone, which no client can name. Of anything else
// it makes the zero value.
func parseSockaddr(b []byte) netip.AddrPort {
	if len(b) < unix.SizeofSockaddrInet4 {
		return netip.AddrPort{}
	}
	port := binary.BigEndian.Uint16(b[2:])
	switch family := binary.NativeEndian.Uint16(b); {
	case family == unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:])), port)
	case family == unix.AF_INET6 && len(b) >= unix.SizeofSockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])), port)
	}
	return netip.AddrPort{}
}
