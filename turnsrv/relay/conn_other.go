//go:build !unix

package relay

import "errors"

type attempt struct{}

// writeNow leaves it to the flusher: there is no writing without waiting here.
func (c *Conn) writeNow([]byte) (int, error) { return 0, nil }

// receive runs the stream's reading until it ends.
func (s *stream) receive() error {
	buf := s.plane.buffers.Get().(*buffer)
	defer s.plane.buffers.Put(buf)
	for !s.ended.Load() && !s.tcp.broken.Load() {
		kept := 0
		if s.tls == nil {
			kept = copy(buf[:], s.rest)
		}
		n, err := s.tcp.TCPConn.Read(buf[kept:])
		if err != nil {
			return err
		}
		if s.tls == nil {
			err = s.consume(buf[:kept+n])
		} else {
			s.tcp.input = buf[:n]
			err = s.decrypt()
			s.tcp.input = nil
		}
		if err != nil && !errors.Is(err, errNoInput) {
			return err
		}
	}
	return errStop
}
