//go:build linux && !portable

package relay

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bell wakes the worker that sleeps over a set, by way of Go's poller. If the poller watched the set itself, it would
// be told of all that arrives, also while the worker is at work, and a thread would wake for each of those events to
// find nothing to do. So there is another epoll instance between the two, which passes one event on each time that it
// has been armed.
type bell struct {
	epoll int
	set   int      // the set's epoll instance
	file  *os.File // owns epoll
}

func newBell(set, index int) (bell, error) {
	fd, err := newEpoll()
	if err != nil {
		return bell{}, err
	}
	if err = unix.EpollCtl(fd, unix.EPOLL_CTL_ADD, set, &unix.EpollEvent{Events: unix.EPOLLONESHOT}); err != nil {
		_ = unix.Close(fd)
		return bell{}, os.NewSyscallError("epoll_ctl", err)
	}
	return bell{fd, set, os.NewFile(uintptr(fd), fmt.Sprintf("relay sockets %d", index))}, nil
}

// newEpoll makes an epoll instance that Go's poller takes.
func newEpoll() (int, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return 0, os.NewSyscallError("epoll_create1", err)
	}
	if err = unix.SetNonblock(fd, true); err != nil {
		_ = unix.Close(fd)
		return 0, os.NewSyscallError("fcntl", err)
	}
	return fd, nil
}

// arm has the bell ring once as soon as the set has something, at once if it has something already.
func (b *bell) arm() {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLONESHOT}
	_ = epollCtl(b.epoll, unix.EPOLL_CTL_MOD, b.set, &ev) // fails only when the relay ends
}

// A worker that has been at work for lookout has somebody else look at Go's poller, and again now and then.
const lookout = 500 * time.Microsecond

// lookOut has an idle processor, where there is one, look for what Go's poller has, and go on looking. The scheduler
// looks when it runs out of goroutines, which it does not while a worker is at work; and the thread that a worker has
// woken on was often the only one that waited at the poller. What comes for another worker, or over a stream, would
// then lie there until the runtime's monitor finds it, which takes 10 ms and more. A goroutine that is new makes the
// scheduler start a thread.
func lookOut() { go func() {}() }
