package turnsrv

import (
	"context"
	"fmt"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay/offload"
)

// Offload says whether channels are relayed in the kernel.
type Offload string

// Of OffloadAuto and OffloadRequire, only the second makes [New] fail where the kernel cannot.
const (
	OffloadOff     Offload = "off"
	OffloadAuto    Offload = "auto"
	OffloadRequire Offload = "require"
)

// OffloadReport is what the kernel relays.
type OffloadReport struct {
	On     bool
	Reason string // why it is not on, or relays nothing; otherwise empty
	// Apart is how many channels there are that the sockets relay, by why.
	Apart map[string]int
	offload.Report
}

// loadOffload returns what relays in the kernel, or nil if nothing does.
func (s *Server) loadOffload() (relay.Kernel, error) {
	if s.cfg.Offload == "" || s.cfg.Offload == OffloadOff {
		return nil, nil //nolint:nilnil // nothing is no error here
	}
	k, err := offload.New(offload.Config{Logger: s.log})
	switch {
	case err == nil:
		s.offload = k
		s.log.Info("the kernel is ready to relay: it begins where channels come in")
		return k, nil
	case s.cfg.Offload == OffloadRequire:
		return nil, fmt.Errorf("turn.offload is \"require\": %w", err)
	}
	s.noOffload = err.Error()
	s.log.Warn("not relaying in the kernel: the sockets do all of it", "error", err)
	return nil, nil //nolint:nilnil // as above
}

// runOffload keeps the kernel's part going until ctx ends.
func (s *Server) runOffload(ctx context.Context) error {
	if s.offload == nil {
		return nil
	}
	return s.offload.Run(ctx)
}

func (s *Server) closeOffload() error {
	if s.offload == nil {
		return nil
	}
	return s.offload.Close()
}

// Offload returns what the kernel has relayed so far, and why not more.
func (s *Server) Offload() OffloadReport {
	if s.offload == nil {
		out := OffloadReport{Reason: s.noOffload}
		if out.Reason == "" {
			out.Reason = "turn.offload is off"
		}
		return out
	}
	out := OffloadReport{On: true, Report: s.offload.Report(), Apart: make(map[string]int)}
	for why, n := range s.plane.Apart() {
		if relay.Apart(why) != relay.Taken && n > 0 {
			out.Apart[relay.Apart(why).String()] = n
		}
	}
	if s.plane.Limited() {
		out.Reason = "turn.limits.bits_per_second or turn.limits.total_bits_per_second is set, which only the sockets keep to"
	}
	return out
}
