package hooks

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

const (
	authenticatedTrue  = `{"authenticated":true}`
	authenticatedFalse = `{"authenticated":false}`
	authorizedTrue     = `{"authorized":true}`
	authorizedFalse    = `{"authorized":false}`
)

// authenticate answers whether a Node may come in. A ban that came while the policy was asked counts.
func (s *Server) authenticate(c *call) (refused bool, _ *errAnswer) {
	node, data, failed := c.decodeNode()
	if failed != nil {
		return false, failed
	}
	cause, refused := s.banned(node)
	if !refused {
		var ok bool
		if ok, cause = s.cfg.Policy.Authenticate(c.r.Context(), node, data, c.body); !ok {
			refused = true
		} else if ban, banned := s.banned(node); banned {
			cause, refused = ban, true
		}
	}
	if refused {
		s.cfg.Registry.AuthenticationRefused(node, "authentication refused: "+cause)
		c.out = append(c.out, authenticatedFalse...)
		return true, nil
	}
	detail := "authenticated"
	if cause != "" {
		detail += ": " + cause
	}
	s.cfg.Registry.Authenticated(node, detail)
	c.out = append(c.out, authenticatedTrue...)
	return false, nil
}

// authorize answers whether two Nodes may talk. It is on the message path: what is allowed is not noted one by one.
func (s *Server) authorize(c *call) (refused bool, _ *errAnswer) {
	from, to, failed := c.decodePair()
	if failed != nil {
		return false, failed
	}
	cause, refused := s.banned(from)
	if !refused {
		if cause, refused = s.banned(to); refused {
			cause = "that Node is " + cause
		}
	}
	if !refused {
		var ok bool
		ok, cause = s.cfg.Policy.Authorize(c.r.Context(), from, to, c.body)
		refused = !ok
	}
	if refused {
		s.cfg.Registry.AuthorizationRefused(from, "talking to "+strconv.Quote(to)+" refused: "+cause)
		c.out = append(c.out, authorizedFalse...)
		return true, nil
	}
	s.cfg.Registry.Authorized(from, to)
	c.out = append(c.out, authorizedTrue...)
	return false, nil
}

// resolve answers with an RTC configuration and a credential of the Node's own. A banned Node gets none: the Broker
// then disconnects it.
func (s *Server) resolve(c *call) (refused bool, _ *errAnswer) {
	node, _, failed := c.decodeNode()
	if failed != nil {
		return false, failed
	}
	if cause, banned := s.banned(node); banned {
		s.cfg.Registry.ConfigurationRefused(node, "RTC configuration refused: "+cause)
		return false, &errAnswer{status: http.StatusForbidden, result: ResultRefused, text: "the Node is banned"}
	}
	ice, err := s.issue(node)
	if err != nil {
		s.cfg.Registry.ConfigurationRefused(node, "RTC configuration refused: the server could not make one")
		failed := *errICE
		failed.cause = err
		return false, &failed
	}
	c.out = s.set.Load().rtc.appendAnswer(c.out, ice)
	if ice.Username != "" {
		s.cfg.Registry.Issued(node, ice.Expires)
	}
	return false, nil
}

// issue makes what a Node needs for STUN and TURN. An RTC configuration without any server is an error.
func (s *Server) issue(node string) (ICE, error) {
	ice, err := s.cfg.ICE.ICE(node)
	if err == nil && len(ice.STUN)+len(ice.TURN)+s.set.Load().rtc.extras == 0 {
		err = errNoServers
	}
	return ice, err
}

// RTCConfiguration makes the answer of the resolve webhook for a valid Node id, with a fresh credential in it, without
// the questions that a Broker's call is asked and without a note: for a test of the server by its operator.
func (s *Server) RTCConfiguration(node string) (json.RawMessage, error) {
	ice, err := s.issue(node)
	if err != nil {
		return nil, err
	}
	return s.set.Load().rtc.appendAnswer(nil, ice), nil
}

var errNoServers = fmt.Errorf("%w: neither a TURN listener nor hooks.rtc.extra_ice_servers gives an ICE server: add udp or tcp to turn.transports, or a certificate that clients verify", ErrRTC)

func (s *Server) banned(node string) (cause string, banned bool) {
	reason, banned := s.cfg.Registry.BanReason(node)
	switch {
	case !banned:
		return "", false
	case reason == "":
		return "banned by the operator", true
	}
	return "banned by the operator: " + reason, true
}
