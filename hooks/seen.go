package hooks

import (
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// BrokerSeen returns when a Broker last called a webhook and was answered, to the second; zero if none has yet. Calls
// about the Nodes that this program makes up to test itself do not count.
func (s *Server) BrokerSeen() time.Time {
	if at := s.seen.Load(); at != 0 {
		return time.Unix(at, 0).UTC()
	}
	return time.Time{}
}

// see notes a Broker's call about a Node.
func (s *Server) see(node string) {
	if !nodeid.Synthetic(node) {
		s.seenNow()
	}
}

func (s *Server) seenNow() { s.seen.Store(s.decider.cfg.Now().Unix()) }
