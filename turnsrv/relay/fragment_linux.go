package relay

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// CanDontFragment reports whether DONT-FRAGMENT (RFC 8656 §18.9) can be done on this system.
const CanDontFragment = true

// dontFragment sets or clears DF for what is sent on a socket. On IPv6, where only the sender fragments, it keeps this
// machine from doing so. DF is set as for probes, ignoring what ICMP messages have said about the path: whoever uses
// DONT-FRAGMENT wants to find that out.
func dontFragment(fd int, four, on bool) error {
	level, option, value := unix.IPPROTO_IPV6, unix.IPV6_DONTFRAG, 0
	switch {
	case four && on:
		level, option, value = unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE
	case four:
		level, option, value = unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DONT
	case on:
		value = 1
	}
	return sysOption(fd, level, option, value)
}

// fragmentAgain is dontFragment off, for a socket that has sent with DF: the kernel still has to say what ICMP answers,
// which it does not where it never sets DF (IP_PMTUDISC_DONT). With IP_PMTUDISC_OMIT it sets none either.
func fragmentAgain(fd int, four bool) {
	if !four || sysOption(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_OMIT) != nil {
		_ = dontFragment(fd, four, false)
	}
}

// sysOption sets an option of a socket. The system call is raw, since it never blocks: an ordinary one wakes the scheduler's
// monitor, which for a new relay costs more than all else.
func sysOption(fd, level, option, value int) error {
	v := int32(value)
	_, _, err := syscall.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(unsafe.Pointer(&v)), unsafe.Sizeof(v), 0)
	if err != 0 {
		return err
	}
	return nil
}
