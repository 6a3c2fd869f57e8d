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
