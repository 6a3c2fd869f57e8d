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
}
