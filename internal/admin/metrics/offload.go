package metrics

import "github.com/crolang-p2p/crolang-aio/internal/adminapi"

// offload sends what the kernel relays, where it does.
func (s sink) offload(c *collector, o adminapi.Offload) {
	s.flag(c.offloadOn, o.On)
	if !o.On {
		return
	}
	s.counter(c.offloaded, o.Taken, "taken")
	s.causes(c.offloaded, o.Left)
	for _, w := range o.Ways {
		s.gauge(c.offloadWays, 1, w.In, w.Out, w.Mode, w.State)
	}
}
