package relay

import (
	"github.com/crolang-p2p/crolang-aio/turnsrv/peertcp"
)

// A client's data connection (RFC 6062 §5.4): a stream that has become the other end of a connection with a peer. Its
// goroutine goes on reading, and passes on what it reads; one of package peertcp does the other direction.

// joinedBacklog is how much the kernel takes without sending it, where the client reads slowly.
const joinedBacklog = 128 << 10

// join makes the stream a data connection. It reports false if it has ended, or has a relay.
func (s *stream) join(c *peertcp.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone || s.ended.Load() || s.data != nil || s.relay.Load() != nil || s.awaited.Load() != nil {
		return false
	}
	s.data = c
	s.joined.Store(true)
	s.tcp.data.Store(true)
	s.tcp.keepInKernel(joinedBacklog)
	s.changed(true)
	return true
}

// upload passes on what the client has sent.
func (s *stream) upload(b []byte) error {
	if !s.uploading {
		s.uploading = true
		s.rest = nil
		if err := s.data.Start(downlink{s}); err != nil {
			return err
		}
	}
	return s.data.Write(b)
}

// endUpload is for a client that sends nothing more: it may still read.
func (s *stream) endUpload() error {
	s.data.End()
	return nil
}

// downlink is the way to the client.
type downlink struct{ s *stream }

// Write implements [peertcp.Client].
func (d downlink) Write(b []byte) error {
	if err := d.s.putData(b); err != nil {
		return err
	}
	return d.s.tcp.drained()
}

// putData is put for what are no frames.
func (s *stream) putData(b []byte) error {
	s.write.Lock()
	defer s.write.Unlock()
	if s.tls == nil {
		_, err := s.conn.Write(b)
		return err
	}
	buf := s.plane.buffers.Get().(*buffer)
	defer s.plane.buffers.Put(buf)
	s.tcp.gather(buf[:])
	_, err := s.tls.Write(b)
	if fault := s.tcp.release(); err == nil {
		err = fault
	}
	return err
}

// CloseWrite implements [peertcp.Client].
func (d downlink) CloseWrite() error {
	s := d.s
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.tcp.drained(); err != nil {
		return err
	}
	if s.tls != nil {
		return s.tls.CloseWrite() // which TLS has for it: answers to the client's own messages still pass
	}
	return s.tcp.CloseWrite()
}

// Abort implements [peertcp.Client].
func (d downlink) Abort() {
	_ = d.s.tcp.SetLinger(0)
	_ = d.s.tcp.TCPConn.Close()
}
