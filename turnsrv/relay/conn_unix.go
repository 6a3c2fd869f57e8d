//go:build unix

package relay

import (
	"errors"
	"io"
	"syscall"
)

// attempt carries the arguments of one write through RawConn.Write, whose function is made once per connection.
type attempt struct {
	fn  func(fd uintptr) bool
	b   []byte
	n   int
	err error
}

func (a *attempt) write(fd uintptr) bool {
	for a.n < len(a.b) {
		n, err := sysWrite(fd, a.b[a.n:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			if err != syscall.EAGAIN {
				a.err = err
			}
			break
		}
		a.n += n
	}
	return true
}

// writeNow writes what the kernel takes without waiting. Called with c.mu held.
func (c *Conn) writeNow(b []byte) (int, error) {
	a := &c.attempt
	if a.fn == nil {
		a.fn = a.write
	}
	a.b, a.n, a.err = b, 0, nil
	err := c.raw.Write(a.fn)
	if err == nil {
		err = a.err
	}
	a.b = nil
	return a.n, err
}

// receive runs the stream's reading until it ends. All of it happens within one RawConn.Read: that keeps the poller's
// memory of what has become readable between two looks, so that after a read that found less than it had room for no
// second one is needed, and no buffer is held while nothing comes.
func (s *stream) receive() error {
	var fault error
	err := s.tcp.raw.Read(func(fd uintptr) bool {
		fault = s.readable(fd)
		return fault != nil
	})
	if fault != nil {
		return fault
	}
	return err
}

// readable reads and handles what is there. nil: nothing more at the moment.
func (s *stream) readable(fd uintptr) error {
	buf := s.plane.buffers.Get().(*buffer)
	defer s.plane.buffers.Put(buf)
	for !s.ended.Load() && !s.tcp.broken.Load() {
		kept := 0
		if s.tls == nil {
			kept = copy(buf[:], s.rest)
		}
		n, err := sysRead(fd, buf[kept:])
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return nil
		case err != nil:
			return err
		case n == 0:
			return io.EOF
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
		// On until EAGAIN, also after a short read: the poller tells of data and end together only once.
	}
	return errStop
}
