package turnsrv

import (
	"context"
	"crypto/tls"
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// unacknowledged is what the kernel still has of what was written to a connection.
func unacknowledged(t testing.TB, c net.Conn) (n int) {
	t.Helper()
	raw, err := c.(interface{ NetConn() net.Conn }).NetConn().(syscall.Conn).SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSharedClose does not wait for clients that do not read.
func TestSharedClose(t *testing.T) {
	taken := make(chan net.Conn, 1)
	s := newSite(t, streamsConfig{HTTP: func(_ context.Context, c net.Conn) bool { taken <- c; return true }})
	for _, abort := range []bool{false, true} {
		c, err := s.dialTLS(s.tcp[1], "", &tls.Config{NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		server := <-taken
		written := make(chan struct{})
		go func() {
			var err error
			for err == nil { // until the kernel takes no more, and then until it is closed
				_, err = server.Write(make([]byte, 1<<20))
			}
			close(written)
		}()
		before := 0
		until(t, "the kernel takes no more", func() bool {
			time.Sleep(50 * time.Millisecond)
			now := unacknowledged(t, server)
			full := now > 0 && now == before
			before = now
			return full
		})
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			if abort {
				server.(interface{ Abort() }).Abort()
			}
			server.Close()
		}()
		for range 2 {
			select {
			case <-closed:
				closed = nil
			case <-written:
				written = nil
			case <-time.After(patience):
				t.Fatal("it waits for a client that does not read")
			}
		}
		_ = c.NetConn().Close()
	}
}
