package hooks

import (
	"net/http"
	"net/netip"

	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

const (
	authenticatedTrue  = `{"authenticated":true}`
	authenticatedFalse = `{"authenticated":false}`
	authorizedTrue     = `{"authorized":true}`
	authorizedFalse    = `{"authorized":false}`
)

// authenticate answers whether a Node may come in.
func (s *Server) authenticate(c *call) *errAnswer {
	node, data, failed := c.decodeNode()
	if failed != nil {
		return failed
	}
	answer := s.decider.authenticate(c.r.Context(), c.start, policy.Request{Node: node, Data: data, Body: c.body})
	s.see(c.r, node)
	c.out = append(c.out, either(answer, authenticatedTrue, authenticatedFalse)...)
	return nil
}

// authorize answers whether two Nodes may talk.
func (s *Server) authorize(c *call) *errAnswer {
	from, to, failed := c.decodePair()
	if failed != nil {
		return failed
	}
	answer := s.decider.authorize(c.r.Context(), c.start, from, to, c.body)
	s.see(c.r, from)
	c.out = append(c.out, either(answer, authorizedTrue, authorizedFalse)...)
	return nil
}

func either(answer policy.Answer, yes, no string) string {
	if answer.OK() {
		return yes
	}
	return no
}

var (
	errBanned = &errAnswer{status: http.StatusForbidden, text: "the Node is banned"}
	errICE    = &errAnswer{status: http.StatusInternalServerError, text: "no RTC configuration can be given"}
)

// resolve answers with an RTC configuration and a credential of the Node's own. After any other answer the Broker
// disconnects the Node.
func (s *Server) resolve(c *call) *errAnswer {
	node, _, failed := c.decodeNode()
	if failed != nil {
		return failed
	}
	ice, answer := s.decider.configuration(c.start, node, netip.Addr{}, !trial(c.r, node), c.r.UserAgent() == nodeid.DoctorAgent)
	s.see(c.r, node)
	switch answer.Verdict {
	case policy.Yes:
		c.out = s.decider.rtc.Load().appendAnswer(c.out, ice)
		return nil
	case policy.Failed:
		return errICE
	case policy.No:
	}
	return errBanned
}
