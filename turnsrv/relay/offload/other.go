//go:build !linux || portable || !(amd64 || arm64 || riscv64)

package offload

import (
	"context"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// Kernel cannot be made on this system.
type Kernel struct{}

// New returns [ErrUnsupported].
func New(Config) (*Kernel, error) { return nil, ErrUnsupported }

// Run does nothing.
func (*Kernel) Run(context.Context) error { return nil }

// Close does nothing.
func (*Kernel) Close() error { return nil }

// Enter implements [relay.Kernel].
func (*Kernel) Enter(relay.Leg, relay.Leg, time.Duration) (flow int, ok bool) { return 0, false }

// Extend implements [relay.Kernel].
func (*Kernel) Extend(int, time.Duration) {}

// Leave implements [relay.Kernel].
func (*Kernel) Leave(int) (datagrams, bytes uint64) { return 0, 0 }

// Count implements [relay.Kernel].
func (*Kernel) Count(int) (datagrams, bytes uint64) { return 0, 0 }

// Settling implements [relay.Kernel].
func (*Kernel) Settling(flows []int) []int { return flows }

// Settled implements [relay.Kernel].
func (*Kernel) Settled(int, time.Duration, func() bool) {}

// Now implements [relay.Kernel].
func (*Kernel) Now() time.Duration { return 0 }

// Report returns nothing.
func (*Kernel) Report() Report { return Report{} }
