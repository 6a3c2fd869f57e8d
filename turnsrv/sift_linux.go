package turnsrv

import (
	"context"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// maxDrained is how many connections drain takes before the accepting goroutine waits for its turn again.
const maxDrained = 256

// drain takes the connections that wait on l, and refuses those that get no place before package net makes anything of
// them. In a flood nearly all of them are refused; with several system calls for each, and a scheduler that is asked at
// every one, the kernel's queue would overflow, and the honest would be lost there with the rest.
func (s *streams) drain(ctx context.Context, l *port) {
	raw, err := l.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(listener uintptr) {
		for range maxDrained {
			fd, client, ok := acceptNow(listener)
			if !ok {
				return
			}
			s.sift(ctx, l, fd, client)
		}
	})
}

// sift starts the connection of an accepted descriptor if it gets a place, and resets it if not.
func (s *streams) sift(ctx context.Context, to *port, fd uintptr, client netip.Addr) {
	c := new(sifted)
	ours := true // the descriptor is
	defer s.guard.contain(func() {
		if ours {
			resetNow(fd)
		}
	})
	seat := s.seat(client, int(fd), c.leave)
	if seat == nil {
		resetNow(fd)
		return
	}
	ours = false
	conn, err := connOf(fd)
	if err != nil { // no descriptors are left
		s.places.Release(seat)
		return
	}
	c.conn.Store(conn)
	if c.gone.Load() {
		reset(conn)
	}
	s.start(ctx, to, conn, seat)
}

// sifted is a connection that may have to give way before package net has made one of it.
type sifted struct {
	gone atomic.Bool
	conn atomic.Pointer[net.TCPConn]
}

func (c *sifted) leave() {
	c.gone.Store(true)
	if conn := c.conn.Load(); conn != nil {
		reset(conn)
	}
}

// connOf makes a connection of a descriptor, which is closed.
func connOf(fd uintptr) (*net.TCPConn, error) {
	f := os.NewFile(fd, "")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// resetNow is reset for a descriptor, without telling Go's scheduler.
func resetNow(fd uintptr) {
	linger := unix.Linger{Onoff: 1}
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, fd, unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&linger)), unix.SizeofLinger, 0)
	_, _, _ = unix.RawSyscall(unix.SYS_CLOSE, fd, 0, 0)
}

// acceptNow accepts without waiting, and without telling Go's scheduler.
func acceptNow(listener uintptr) (fd uintptr, client netip.Addr, ok bool) {
	var name unix.RawSockaddrAny
	size := uint32(unix.SizeofSockaddrAny)
	fd, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, listener, uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size)),
		unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	if errno != 0 {
		return 0, client, false
	}
	switch name.Addr.Family {
	case unix.AF_INET:
		client = netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(&name)).Addr)
	case unix.AF_INET6:
		client = netip.AddrFrom16((*unix.RawSockaddrInet6)(unsafe.Pointer(&name)).Addr)
	}
	return fd, client, true
}
