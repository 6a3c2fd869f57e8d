package turnsrv

import (
	"fmt"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// Trouble is something that is wrong with the set-up, and what to do about it.
type Trouble struct{ Detail, Remedy string }

// RelayPortTroubles are what was wrong with the relay ports when the server started.
func (s *Server) RelayPortTroubles() []Trouble { return s.portTroubles }

// tryRelayPorts looks whether relay ports can be bound, before a client finds out.
func (s *Server) tryRelayPorts() {
	for _, t := range s.plane.TryPorts() {
		trouble, ok := troubleOf(t)
		if ok {
			s.portTroubles = append(s.portTroubles, trouble)
			s.log.Warn("relay ports cannot be bound", "key", "turn.relay_ports", "family", fmt.Sprint("IPv", t.Family),
				"detail", trouble.Detail, "remedy", trouble.Remedy)
		}
	}
}

// troubleOf is what a trial of relay ports has found. That a few of many are taken is usual, and no trouble.
func troubleOf(t relay.PortTrial) (Trouble, bool) {
	of := fmt.Sprintf("of the relay ports %d-%d that were tried at the start, ", t.First, t.Last)
	switch {
	case t.Err != nil:
		return Trouble{"no relay can be opened: " + t.Err.Error(), "give public.ipv4 or public.ipv6 an address of this machine or of the router before it, or \"auto\""}, true
	case t.Forbidden > 0:
		return Trouble{
			fmt.Sprintf("%s%d of %d may not be bound by this process", of, t.Forbidden, t.Tried),
			"begin turn.relay_ports at 1024 or above, or grant the capability CAP_NET_BIND_SERVICE",
		}, true
	case t.Taken*20 >= t.Tried && t.Taken > 0:
		return Trouble{
			fmt.Sprintf("%s%d of %d are taken by others", of, t.Taken, t.Tried),
			"end what holds them (ss -lunp), or choose other turn.relay_ports",
		}, true
	}
	return Trouble{}, false
}
