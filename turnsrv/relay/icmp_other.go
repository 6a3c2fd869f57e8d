//go:build !linux

package relay

import "syscall"

// Other systems do not keep ICMP messages for sockets that are not connected.

func keepErrors(int, bool) error { return nil }

func ofICMP(syscall.Errno) bool { return false }

func (*tx) tellErrors(*Relay, int) bool { return false }
