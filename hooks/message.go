package hooks

import (
	"errors"
	"io"
	"net/http"

	"github.com/crolang-p2p/crolang-aio/hooks/policy"
	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

const (
	maxMessage = 64 << 10 // a longer body is no message of a Broker
	maxDrain   = 1 << 30  // what is read, and thrown away, of one body; BodyTimeout bounds it too
)

// message answers 204 before anything else, to whatever came: any other answer, or none, ends the Broker. Only then is
// the token looked at and the body read, to its end, so that the connection can be used again. If the end cannot be
// found, the connection is given up: what follows must not be taken for a request.
func (s *Server) message(c *call) {
	control := http.NewResponseController(c.w)
	_ = control.EnableFullDuplex() // else the server reads the body before it sends the header
	if c.r.Header.Get("Expect") != "" {
		c.w.WriteHeader(http.StatusContinue) // else the body would not come
	}
	c.w.WriteHeader(http.StatusNoContent)
	_ = control.Flush()

	if result := s.takeMessage(c); result != "" {
		s.observe(c, "message", result)
	}
	if _, err := io.CopyN(io.Discard, c.r.Body, maxDrain); err != nil && !errors.Is(err, io.EOF) {
		webguard.Abandon(c.r)
	}
}

// takeMessage hands a real message on. It returns the result to observe for anything else.
func (s *Server) takeMessage(c *call) string {
	switch {
	case !s.guard.Authorized(c.r):
		return ResultUnauthorized
	case c.r.Method != http.MethodPost:
		return ResultMethod
	case c.r.ContentLength > maxMessage:
		return ResultTooLarge
	}
	if c.body == nil {
		c.body = make([]byte, 0, 2048)
	}
	if err := c.read(io.LimitReader(c.r.Body, maxMessage+1)); err != nil {
		return bodyError(err).result
	}
	if len(c.body) > maxMessage {
		return ResultTooLarge
	}
	from, to, failed := c.decodeMessage()
	if failed != nil {
		return failed.result
	}
	s.decider.message(c.start, policy.Message{From: from, To: to, Body: c.body})
	s.see(c.r, from)
	return ""
}
