package hooks

import (
	"net/http"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// BrokerSeen returns when a Broker last called a webhook and was answered, to the second; zero if none has yet. Calls
// by which this program tests itself do not count.
func (s *Server) BrokerSeen() time.Time {
	if at := s.seen.Load(); at != 0 {
		return time.Unix(at, 0).UTC()
	}
	return time.Time{}
}

// see notes a Broker's call about a Node.
func (s *Server) see(r *http.Request, node string) {
	if !trial(r, node) {
		s.seenNow()
	}
}

// trial reports whether a call is one of this program's, to test itself, and no Broker's.
func trial(r *http.Request, node string) bool {
	return nodeid.Synthetic(node) || r.UserAgent() == nodeid.DoctorAgent
}

func (s *Server) seenNow() { s.seen.Store(s.decider.cfg.Now().Unix()) }
