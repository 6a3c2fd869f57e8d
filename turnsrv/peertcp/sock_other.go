//go:build !unix

package peertcp

import (
	"context"
	"io"
	"net"
	"net/netip"
	"syscall"
)

// Supported reports whether this system can connect from a port on which it listens. Here SO_REUSEADDR would let anybody
// take the port over.
const Supported = false

func listen(netip.AddrPort) (*net.TCPListener, bool, error) { return nil, false, ErrUnsupported }

func dial(context.Context, netip.AddrPort, netip.AddrPort) (*net.TCPConn, error) {
	return nil, ErrUnsupported
}

func descriptor(syscall.Conn) int { return 0 }

func prepare(*net.TCPConn) {}

func read(syscall.RawConn, *net.TCPConn) (*[Piece]byte, int, error) { return nil, 0, io.EOF }
