//go:build linux && !portable

package relay

import (
	"testing"

	"golang.org/x/sys/unix"
)

// A bell rings once each time that it is armed, however much comes, and at once for what is there.
func TestBell(t *testing.T) {
	set, err := newEpoll()
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(set)
	b, err := newBell(set, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer b.file.Close()
	var pipe [2]int
	if err := unix.Pipe2(pipe[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pipe[0])
	defer unix.Close(pipe[1])
	if err := watch(set, pipe[0], 1); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 8)
	arrives := func() { _, err = unix.Write(pipe[1], buf[:1]) }
	for _, step := range []struct {
		name  string
		do    func()
		rings int
	}{
		{"nothing yet", func() {}, 0},
		{"something comes, not armed", arrives, 0},
		{"armed, and something is there", b.arm, 1},
		{"more comes", arrives, 0},
		{"armed again", b.arm, 1},
		{"all is read", func() { _, err = unix.Read(pipe[0], buf) }, 0},
		{"armed, nothing is there", b.arm, 0},
		{"something comes", arrives, 1},
		{"and more", arrives, 0},
	} {
		step.do()
		if err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		var events [2]unix.EpollEvent
		n, err := unix.EpollWait(b.epoll, events[:], 0)
		if err != nil || n != step.rings {
			t.Errorf("%s: the bell rings %d times, want %d (%v)", step.name, n, step.rings, err)
		}
	}
}
