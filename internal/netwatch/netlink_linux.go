package netwatch

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// The groups of rtnetlink(7) that tell of addresses, routes, and rules for these.
const groups = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE |
	1<<(unix.RTNLGRP_IPV4_RULE-1) | 1<<(unix.RTNLGRP_IPV6_RULE-1)

// watch calls event for every notification of the kernel's, until ctx ends. Where there is none to be had, in a sandbox
// say, it looks every second.
func watch(ctx context.Context, event func()) {
	s, err := open()
	if err != nil {
		poll(ctx, event)
		return
	}
	defer s.Close()
	defer context.AfterFunc(ctx, func() { _ = s.Close() })()
	buf := make([]byte, 16<<10)
	for {
		// What they say does not matter: whoever asks looks for itself. ENOBUFS says that some were lost.
		if _, err := s.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
			if ctx.Err() == nil {
				poll(ctx, event)
			}
			return
		}
		event()
	}
}

// open returns a netlink socket that Go's poller reads.
func open() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}
