package relay

import "syscall"

// CanDontFragment reports whether DONT-FRAGMENT (RFC 8656 §18.9) can be done on this system.
const CanDontFragment = true

// Both families have the same number for it in Windows: IP_DONTFRAGMENT, IPV6_DONTFRAG.
const optionDontFragment = 14

// dontFragment sets or clears DF on what is sent on a socket.
func dontFragment(fd int, four, on bool) error {
	value, level := 0, syscall.IPPROTO_IPV6
	if on {
		value = 1
	}
	if four {
		level = syscall.IPPROTO_IP
	}
	return syscall.SetsockoptInt(syscall.Handle(fd), level, optionDontFragment, value)
}
