package main

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

const lifetime = 600 // seconds; nothing ends here, whatever is said

// answer grants what the request b asks for.
func (w *worker) answer(b []byte, from *sockaddr) {
	var m stunmsg.Message
	if m.Parse(b) != nil || !m.Type.IsRequest() {
		return
	}
	at := netip.AddrPortFrom(netip.AddrFrom4(from.Addr), port(from))
	r := stunmsg.Begin(make([]byte, 0, 128), m.Type.Success(), m.TransactionID())
	ok := true
	switch m.Type {
	case stunmsg.BindingRequest:
		r.XORAddr(stunmsg.AttrXORMappedAddress, at)
	case stunmsg.AllocateRequest:
		relayed, err := w.allocate(from)
		r.XORAddr(stunmsg.AttrXORRelayedAddress, relayed).XORAddr(stunmsg.AttrXORMappedAddress, at).Uint32(stunmsg.AttrLifetime, lifetime)
		ok = err == nil
	case stunmsg.RefreshRequest:
		r.Uint32(stunmsg.AttrLifetime, lifetime)
	case stunmsg.ChannelBindRequest:
		ok = w.bind(&m, port(from))
	case stunmsg.CreatePermissionRequest:
	default:
		ok = false
	}
	if !ok {
		r = stunmsg.Begin(nil, m.Type.Error(), m.TransactionID()).ErrorCode(400)
	}
	_ = unix.Sendto(w.fd, r.Bytes(), unix.MSG_DONTWAIT, &unix.SockaddrInet4{Addr: from.Addr, Port: int(port(from))})
}

func (w *worker) allocate(from *sockaddr) (netip.AddrPort, error) {
	if c := w.f.clients[port(from)].Load(); c != nil && c.addr == *from {
		return relayed(c.fd) // asked again
	}
	fd, err := bound(netip.AddrPortFrom(w.f.at, 0))
	if err != nil {
		return netip.AddrPort{}, err
	}
	a, err := relayed(fd)
	if err == nil {
		w.f.clients[port(from)].Store(&client{addr: *from, fd: fd})
		err = w.watch(fd, port(from))
	}
	return a, err
}

func relayed(fd int) (netip.AddrPort, error) {
	sa, err := unix.Getsockname(fd)
	if a, ok := sa.(*unix.SockaddrInet4); ok && err == nil {
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), nil
	}
	return netip.AddrPort{}, err
}

// bind binds the channel. Only then does anything pass, so the client is not changed under another thread.
func (w *worker) bind(m *stunmsg.Message, client uint16) bool {
	c := w.f.clients[client].Load()
	number, _ := m.Get(stunmsg.AttrChannelNumber)
	value, _ := m.Get(stunmsg.AttrXORPeerAddress)
	peer, err := stunmsg.XORAddr(value, m.TransactionID())
	if c == nil || err != nil || len(number) != 4 || !peer.Addr().Is4() {
		return false
	}
	next := *c
	next.channel = binary.BigEndian.Uint16(number)
	next.peer = sockaddr{Family: unix.AF_INET, Addr: peer.Addr().As4()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&next.peer.Port))[:], peer.Port())
	w.f.clients[client].Store(&next)
	return true
}
