package listen

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
)

// TCP listens at an address that [Parse] reads. The error is one line with its remedy, as of [Error]. The caller closes
// the listener.
func TCP(address string) (*net.TCPListener, error) {
	a, err := Parse(address)
	if err != nil {
		return nil, err
	}
	network := "tcp"
	if a.ip.Is4() {
		network = "tcp4" // with "tcp", 0.0.0.0 would open IPv6 as well, which nobody asked for
	}
	l, err := net.ListenTCP(network, net.TCPAddrFromAddrPort(a.AddrPort()))
	if err != nil {
		return nil, Error("TCP", a.AddrPort(), err)
	}
	return l, nil
}

// Windows has numbers of its own for a port that is taken, and for one that the system keeps for itself.
const (
	wsaEACCES     = syscall.Errno(10013)
	wsaEADDRINUSE = syscall.Errno(10048)
)

// Error says in one line why a socket cannot be bound to at, and what to do about it; it wraps err. network is "TCP" or
// "UDP".
func Error(network string, at netip.AddrPort, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // without the address, which is named already
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, wsaEADDRINUSE):
		return fmt.Errorf("%s port %d is in use on %s: is another instance running? End the program that has it, or choose another port (%w)",
			network, at.Port(), at.Addr(), err)
	case at.Port() < 1024 && (errors.Is(err, syscall.EACCES) || errors.Is(err, syscall.EPERM) || errors.Is(err, wsaEACCES)):
		return fmt.Errorf("%s port %d is privileged: run with CAP_NET_BIND_SERVICE or choose a port above 1023 (%w)", network, at.Port(), err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%s %s: this machine does not have the address %s: listen on one of its own, or on :%d for all (%w)",
			network, at, at.Addr(), at.Port(), err)
	}
	return fmt.Errorf("cannot listen on %s %s: %w", network, at, err)
}
