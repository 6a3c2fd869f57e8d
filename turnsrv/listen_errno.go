package turnsrv

import (
	"errors"
	"syscall"
)

func isInUse(err error) bool      { return errors.Is(err, syscall.EADDRINUSE) }
func isPrivileged(err error) bool { return errors.Is(err, syscall.EACCES) }
func isNotLocal(err error) bool   { return errors.Is(err, syscall.EADDRNOTAVAIL) }

// isMissingFamily says whether the machine has no IPv6 at all: its wildcard cannot be bound.
func isMissingFamily(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EPROTONOSUPPORT) || isNotLocal(err)
}

// isExhausted says whether there are no descriptors, or no memory for sockets, at the moment.
func isExhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) ||
		errors.Is(err, syscall.ENOMEM)
}
