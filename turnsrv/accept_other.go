//go:build !unix

package turnsrv

import "net"

// peekFirst waits for the first byte. conn is what to read on from, with that byte.
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

// descriptor is 0: handles are not numbered there in the order of their making.
func descriptor(*net.TCPConn) int { return 0 }

// isWaiting says whether a connection waits to be accepted, as far as that can be known.
func isWaiting(*net.TCPListener) bool { return true }

// takesBothFamilies says whether a listener on the IPv6 wildcard takes IPv4 too, as far as that can be known.
func takesBothFamilies(*net.TCPListener) bool { return false }
