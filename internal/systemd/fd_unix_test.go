//go:build unix

package systemd

import (
	"strings"
	"syscall"
	"testing"
)

// A TCP socket on which nobody has called listen is named as such, and not taken for a listener.
func TestSocketThatDoesNotListen(t *testing.T) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if s := adopt(fd, NameHooks); s.listener != nil || !strings.HasSuffix(s.what, ", which does not listen") {
		t.Errorf("%+v", s)
	}
}
