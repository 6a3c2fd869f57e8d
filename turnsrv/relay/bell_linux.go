//go:build linux && !portable

package relay

import (
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bell wakes the worker that sleeps over a set, by way of Go's poller. If the poller watched the set itself, it would
// hear of everything that arrives, even while the worker is active, and a thread would wake for each of those events
// and find nothing to do. So another epoll instance stands between the two and passes on one event each time that it is
// armed.
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

// lookout is how long a worker has been active when it first has somebody else look at Go's poller.
const lookout = 500 * time.Microsecond

// lookOut has an idle processor, if there is one, look at Go's poller and go on doing so. The scheduler looks when it
// runs out of goroutines, which does not happen while a worker is active, and the thread that woke the worker was often
// the only one waiting at the poller. What came for another worker, or over a stream, would then wait for the runtime's
// monitor, which takes 10 ms or more. A new goroutine makes the scheduler start a thread.
func lookOut() { go func() {}() }
