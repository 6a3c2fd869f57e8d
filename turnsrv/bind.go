package turnsrv

import (
	"errors"
	"fmt"
	"net/netip"
	"syscall"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// bindAll binds UDP and TCP at each address, since plain and encrypted clients are told apart on either, and enters
// what it bound under the transports that clients are told for it.
func (s *Server) bindAll(key string, addrs []string, udp, tcp string) error {
	stream := s.streams.listen
	if tcp == "tls" {
		stream = s.streams.listenShared
	}
	for _, text := range addrs {
		at, err := listen.Parse(text)
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		addr := at.AddrPort()
		free := false
		if s.has("udp") || s.has("dtls") {
			bound, err := bindEach("UDP", addr, s.plane.ListenUDP)
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			s.enter(udp, bound)
			s.packets = append(s.packets, bound...)
			free = addr.Port() == 0
			addr = netip.AddrPortFrom(addr.Addr(), bound[0].Port())
		}
		if s.has("tcp") || s.has("tls") {
			bound, err := bindEach("TCP", addr, stream)
			if err != nil && free {
				// Port 0 takes a free one, and TCP the same where it can: it need not be free there too.
				bound, err = bindEach("TCP", netip.AddrPortFrom(addr.Addr(), 0), stream)
			}
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			s.enter(tcp, bound)
		}
	}
	return nil
}

func (s *Server) enter(transport string, bound []netip.AddrPort) {
	for _, a := range bound {
		s.bound = append(s.bound, a)
		if s.has(transport) {
			s.listeners = append(s.listeners, Listener{transport, a})
		}
	}
}

// bindEach binds one configured address with bind, which takes an address of one family: the IPv6 wildcard stands for
// both families, on the same port. A machine without IPv6 gets IPv4 alone.
func bindEach(network string, addr netip.AddrPort, bind func(netip.AddrPort) (netip.AddrPort, error)) ([]netip.AddrPort, error) {
	both := addr.Addr() == netip.IPv6Unspecified()
	if both {
		addr = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
	}
	bound, err := bind(addr)
	if err != nil {
		return nil, listen.Error(network, addr, err)
	}
	out := []netip.AddrPort{bound}
	if !both {
		return out, nil
	}
	addr = netip.AddrPortFrom(netip.IPv6Unspecified(), bound.Port())
	switch bound, err = bind(addr); {
	case err == nil:
		out = append(out, bound)
	case !isMissingFamily(err):
		return out, listen.Error(network, addr, err)
	}
	return out, nil
}

// isMissingFamily reports whether the machine has no IPv6 at all: its wildcard cannot be bound.
func isMissingFamily(err error) bool {
	return errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EPROTONOSUPPORT) ||
		errors.Is(err, syscall.EADDRNOTAVAIL)
}

// isExhausted reports whether the machine is out of descriptors, or of memory for sockets, at the moment.
func isExhausted(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOBUFS) ||
		errors.Is(err, syscall.ENOMEM)
}
