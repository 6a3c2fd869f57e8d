//go:build unix

package peertcp

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Supported reports whether this system can connect from a port on which it listens.
const Supported = true

func network(a netip.Addr) string {
	if a.Is4() {
		return "tcp4"
	}
	return "tcp6"
}

// sharing is the Control of a socket: SO_REUSEADDR, and with port also SO_REUSEPORT.
func sharing(port bool) func(_, _ string, raw syscall.RawConn) error {
	return func(_, _ string, raw syscall.RawConn) error {
		var fault error
		err := raw.Control(func(fd uintptr) {
			fault = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
			if fault == nil && port {
				fault = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
			}
		})
		return errors.Join(err, fault)
	}
}

// listen binds a port that nobody else has: only when that has been so, sockets that connect from it may share it. ok is
// false without an error if somebody else has it.
func listen(a netip.AddrPort) (l *net.TCPListener, ok bool, err error) {
	lc := net.ListenConfig{Control: sharing(exclusiveLater), KeepAliveConfig: net.KeepAliveConfig{Enable: true}}
	lc.SetMultipathTCP(false)
	any, err := lc.Listen(context.Background(), network(a.Addr()), a.String())
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, false, nil
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return nil, false, ErrForbidden
	case err != nil:
		return nil, false, err
	}
	l = any.(*net.TCPListener)
	raw, err := l.SyscallConn()
	if err == nil {
		var fault error
		err = raw.Control(func(fd uintptr) {
			fault = errors.Join(unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1), unix.Listen(int(fd), backlog))
		})
		err = errors.Join(err, fault)
	}
	if err != nil {
		l.Close()
		return nil, false, err
	}
	return l, true, nil
}

// dial connects from a local address that is listened on.
func dial(ctx context.Context, from, to netip.AddrPort) (*net.TCPConn, error) {
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(from), Control: sharing(true), KeepAliveConfig: net.KeepAliveConfig{Enable: true}}
	c, err := d.DialContext(ctx, network(from.Addr()), to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// descriptor is c's descriptor: the lowest number that was free, so at least as many are open.
func descriptor(c syscall.Conn) (n int) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { n = int(fd) })
	}
	return n
}

// read waits for input. If there is some, or the peer has ended, the caller puts the piece back into buffers.
func read(raw syscall.RawConn, _ *net.TCPConn) (piece *[Piece]byte, n int, err error) {
	var fault error
	err = raw.Read(func(fd uintptr) bool {
		piece = buffers.Get().(*[Piece]byte)
		for {
			if n, fault = syscall.Read(int(fd), piece[:]); !errors.Is(fault, syscall.EINTR) {
				break
			}
		}
		if errors.Is(fault, syscall.EAGAIN) {
			buffers.Put(piece)
			piece = nil
			return false
		}
		return true
	})
	switch {
	case err != nil:
	case fault != nil:
		err = fault
	case n == 0:
		err = io.EOF
	}
	return piece, n, err
}
