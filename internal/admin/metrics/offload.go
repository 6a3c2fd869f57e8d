package metrics

import "github.com/crolang-p2p/crolang-aio/internal/adminapi"

// offload sends what the kernel relays, where it does.
func (s sink) offload(c *collector, o adminapi.Offload) {
	able := len(o.Interfaces) == 0
	for _, i := range o.Interfaces {
		able = able || len(i.Modes) > 0
	}
	s.flag(c.offloadOn, o.On && o.Reason == "" && able)
	if !o.On {
		return
	}
	s.counter(c.offloaded, o.Taken, "taken")
	s.causes(c.offloaded, o.Left)
	for why, n := range o.Apart {
		s.gauge(c.offloadApart, float64(n), why)
	}
	for _, w := range o.Ways {
		s.gauge(c.offloadWays, 1, w.In, w.Out, w.Mode, w.State)
	}
}
