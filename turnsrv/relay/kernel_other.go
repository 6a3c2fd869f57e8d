//go:build !linux || portable

package relay

import (
	"context"
	"time"
)

// kernelFlows are never made: the portable engine has no use for a Kernel.
type kernelFlows struct{}

func newKernelFlows(*Plane) *kernelFlows { return nil }

func (*kernelFlows) bound(*Relay, *route, time.Duration) {}

func (*kernelFlows) leave(*route) {}

func (*kernelFlows) leaveAll(*Relay) {}

func (*kernelFlows) moved(*Relay) {}

func (*kernelFlows) limit() {}

func (*kernelFlows) report() [Aparts]int { return [Aparts]int{} }

func (*kernelFlows) stats(r *Relay) Stats { return r.stats() }

func (*kernelFlows) settle(context.Context) {}

func (*kernelFlows) orderly() bool { return false }
