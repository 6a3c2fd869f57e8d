//go:build !linux

package broker

import "net"

// unread is unknown here.
func unread(net.Conn) (n int, over bool) { return 0, false }
