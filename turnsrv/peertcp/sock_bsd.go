//go:build unix && !linux

package peertcp

import "net"

// Where it is not Linux, who shares a port has to say so before it is bound.
const exclusiveLater = true

func prepare(*net.TCPConn) {}
