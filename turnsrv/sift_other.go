//go:build !linux

package turnsrv

import (
	"context"
	"net"
)

// drain does nothing: connections are accepted one by one.
func (s *streams) drain(context.Context, *net.TCPListener) {}
