//go:build !unix

package turnsrv

import "net"

// peekFirst waits for the first byte. conn is what to go on reading from, that byte included.
func peekFirst(plane streamServer, c *net.TCPConn) (first byte, conn net.Conn, err error) {
	p, err := plane.NonBlocking(c)
	if err != nil {
		return 0, nil, err
	}
	b, err := p.Peek(1)
	if err != nil {
		return 0, nil, err
	}
	return b[0], p, nil
}

// isGone would report whether the client has closed its connection. That cannot be known here without reading.
func isGone(*net.TCPConn) bool { return false }

// descriptor is 0: handles are not numbered here in the order in which they are made.
func descriptor(*net.TCPConn) int { return 0 }

// isWaiting would report whether a connection waits to be accepted. That cannot be known here, so it reports true.
func isWaiting(*net.TCPListener) bool { return true }

// takesBothFamilies would report whether a listener on the IPv6 wildcard takes IPv4 too. That cannot be known here.
func takesBothFamilies(*net.TCPListener) bool { return false }
