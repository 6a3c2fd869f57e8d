package turnsrv

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// shrink gives a listener the shortest queue.
func shrink(t *testing.T, l *net.TCPListener) {
	t.Helper()
	raw := must(l.SyscallConn())(t)
	if err := raw.Control(func(fd uintptr) { _ = unix.Listen(int(fd), 0) }); err != nil {
		t.Fatal(err)
	}
}
