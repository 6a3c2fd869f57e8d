package relay

import (
	"errors"
	"syscall"
)

// errForbidden is what binding a relay returns for a port that this process will never get.
var errForbidden = errors.New("the port is not for this user")

// forbidden reports whether a refusal to bind is about the port's number: others can be bound.
func forbidden(err error) bool {
	return errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM)
}
