package relay

import (
	"errors"
	"io"
	"net"
	"syscall"
	"time"
)

// finish closes the connection and its relay.
func (s *stream) finish(err error) error {
	s.mu.Lock()
	s.gone = true
	cause := s.cause
	if cause != "" {
		err = s.err
	}
	s.mu.Unlock()
	if cause == "" && s.tcp != nil {
		if why, fault := s.tcp.writeError(); fault != nil {
			cause, err = why, fault
		}
	}
	if cause == "" {
		cause, err = whyEnded(err)
	}
	if r := s.awaited.Load(); r != nil {
		r.left(s)
	}
	if r := s.relay.Load(); r != nil {
		s.plane.clientGone(r, s, cause)
	}
	_ = s.conn.Close()
	return err
}

// whyEnded says in plain words why reading ended. What the client did of its own accord is no error.
func whyEnded(err error) (string, error) {
	switch {
	case err == nil || errors.Is(err, io.EOF):
		return "the client closed the connection", nil
	case errors.Is(err, syscall.ECONNRESET):
		return "the client reset the connection", err
	case errors.Is(err, syscall.ETIMEDOUT):
		return "nothing came from the client, not even acknowledgements, until the system gave up: its network is away", err
	case errors.Is(err, net.ErrClosed):
		return "the connection gave way to others", err
	}
	return err.Error(), err
}

// end makes the serving goroutine end the stream, with err. It does not wait for that.
func (s *stream) end(cause string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || s.cause != "" {
		return
	}
	s.cause, s.err = cause, err
	s.ended.Store(true)
	_ = s.conn.SetReadDeadline(time.Unix(1, 0))
}

func (p *Plane) endStreams() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.streams {
		s.end("the server ends", nil)
	}
}

// overdue names the stream's deadline that has passed, if any; now is the Plane's coarse time.
func (s *stream) overdue(now int64) string {
	c := &s.plane.cfg
	since, relays, frame := s.unfinished.Load(), s.relay.Load() != nil, c.FrameTimeout
	if relays {
		frame = max(frame, c.AwayTimeout)
	}
	switch {
	case since != 0 && now-since > int64(frame):
		if s.tcp != nil && s.tcp.unread() > 0 {
			return "" // it is we who are late
		}
		return "the client was silent for " + seconds(now-since) + " in the middle of a frame"
	case !s.authenticated.Load() && now-s.opened > int64(c.AuthTimeout):
		return "no authenticated request came within " + seconds(now-s.opened)
	case !relays && now-s.heard.Load() > int64(c.IdleTimeout):
		return "the client was silent for " + seconds(now-s.heard.Load()) + ", without an allocation"
	}
	return ""
}

func seconds(nanos int64) string {
	d := time.Duration(nanos)
	if d < 10*time.Second {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
