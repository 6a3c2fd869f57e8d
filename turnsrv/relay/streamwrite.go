package relay

import (
	"errors"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// message sends one STUN message to the client.
func (s *stream) message(msg []byte) {
	if s.tcp == nil || !s.tcp.full(answerRoom) {
		_ = s.put(msg)
	}
}

// send writes whole frames, or for DTLS one message. If ok is false they were dropped, and why says for which cause.
func (s *stream) send(b []byte) (why Cause, ok bool) {
	switch {
	case s.tcp != nil && s.tcp.full(0):
		return QueueFull, false
	case s.tcp == nil && len(b) > maxRecord:
		return TooLarge, false
	}
	return Unsent, s.put(b) == nil
}

func (s *stream) put(b []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	if s.tls != nil {
		return s.sendRecords(b)
	}
	_, err := s.conn.Write(b)
	return err
}

// sendRecords writes every frame as a TLS record of its own, since there are clients that take a record for a message
// (coturn's is one), and all of them with one system call.
func (s *stream) sendRecords(b []byte) error {
	buf := s.plane.buffers.Get().(*buffer)
	defer s.plane.buffers.Put(buf)
	s.tcp.gather(buf[:])
	var err error
	for err == nil && len(b) > 0 {
		size := len(b)
		if n, fault := stunmsg.FrameSize(b); fault == nil {
			size = min(n, size)
		}
		_, err = s.tls.Write(b[:size])
		b = b[size:]
	}
	return errors.Join(err, s.tcp.release())
}
