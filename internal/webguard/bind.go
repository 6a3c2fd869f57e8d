package webguard

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// The reasons for which New cannot bind, for errors.Is.
var (
	ErrPortInUse  = errors.New("the port is in use")
	ErrPrivileged = errors.New("the port needs privileges")
	ErrNotLocal   = errors.New("the address is not one of this machine")
)

// bindError says in one line what could not be bound, why, and what to do about it.
func bindError(key, address string, err error) error {
	var op *net.OpError
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s: cannot listen on %s: %w by another process: end that one, or choose another port", key, address, ErrPortInUse)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return fmt.Errorf("%s: cannot listen on %s: %w: choose one above 1023, or grant CAP_NET_BIND_SERVICE", key, address, ErrPrivileged)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s: cannot listen on %s: %w: use one that is, or only :PORT", key, address, ErrNotLocal)
	case errors.As(err, &op):
		err = op.Err // without the address, which is named already
	}
	return fmt.Errorf("%s: cannot listen on %s: %w", key, address, err)
}

// network keeps an IPv4 wildcard to IPv4: net.Listen would open IPv6 as well, which nobody asked for.
func network(listen string) string {
	if ap, err := netip.ParseAddrPort(listen); err == nil && ap.Addr().Is4() {
		return "tcp4"
	}
	return "tcp"
}
