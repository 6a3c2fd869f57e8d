//go:build !linux

package turnsrv

import (
	"context"
)

// drain does nothing: connections are accepted one by one.
func (s *streams) drain(context.Context, *port) {}
