// Package listen reads the addresses that listeners are configured with, and binds them. Every listener of the program
// reads and binds with it, so that an address means the same everywhere, and a port that is taken is reported in the
// same words.
package listen

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Address is where something listens: an address with a port, or every address of the machine with a port. Addresses
// can be compared with ==. The zero Address is every address, with a port that the system chooses.
type Address struct {
	ip   netip.Addr // not valid: every address
	port uint16
}

// Parse reads ADDRESS:PORT, [IPV6-ADDRESS]:PORT or :PORT, the last of which is every address, IPv4 and IPv6. Names are
// refused: what they stand for can change. Port 0 lets the system choose one.
func Parse(s string) (Address, error) {
	if port, ok := strings.CutPrefix(s, ":"); ok {
		if n, err := strconv.ParseUint(port, 10, 16); err == nil {
			return Address{port: uint16(n)}, nil
		}
	}
	if a, err := netip.ParseAddrPort(s); err == nil {
		return Address{a.Addr().Unmap(), a.Port()}, nil
	}
	if port, ok := strings.CutPrefix(s, "localhost:"); ok {
		return Address{}, fmt.Errorf("%s: a listener needs an address, not a name: write %s", quoted(s), quoted("127.0.0.1:"+port))
	}
	return Address{}, fmt.Errorf("%s must be ADDRESS:PORT, [IPV6-ADDRESS]:PORT or :PORT, the port being 0 to 65535", quoted(s))
}

// quoted shows what was read, for an error.
func quoted(s string) string {
	const most = 80
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return strconv.Quote(s)
}

// IP is the address, which is not valid for :PORT.
func (a Address) IP() netip.Addr { return a.ip }

// Port is the port; 0 lets the system choose.
func (a Address) Port() uint16 { return a.port }

// String is what Parse reads, in its shortest form.
func (a Address) String() string {
	if !a.ip.IsValid() {
		return ":" + strconv.Itoa(int(a.port))
	}
	return netip.AddrPortFrom(a.ip, a.port).String()
}

// AddrPort is the address as sockets have it: [::] for every address, which stands for both families.
func (a Address) AddrPort() netip.AddrPort {
	if !a.ip.IsValid() {
		return netip.AddrPortFrom(netip.IPv6Unspecified(), a.port)
	}
	return netip.AddrPortFrom(a.ip, a.port)
}

// Wildcard reports whether a stands for every address of the machine, or for every IPv4 address.
func (a Address) Wildcard() bool { return !a.ip.IsValid() || a.ip.IsUnspecified() }

// Overlaps reports whether a and b cannot both be bound for the same transport.
func (a Address) Overlaps(b Address) bool {
	if a.port != b.port || a.port == 0 {
		return false
	}
	x, y := a.AddrPort().Addr(), b.AddrPort().Addr()
	covers := func(wide, narrow netip.Addr) bool {
		return wide == narrow || wide == netip.IPv6Unspecified() || wide == netip.IPv4Unspecified() && narrow.Is4()
	}
	return covers(x, y) || covers(y, x)
}

// Is reports whether a socket that is bound to at is the one that a asks for. Port 0 asks for any port.
func (a Address) Is(at netip.AddrPort) bool {
	if a.port != 0 && a.port != at.Port() {
		return false
	}
	if !a.ip.IsValid() {
		return at.Addr().IsUnspecified()
	}
	return a.ip == at.Addr().Unmap()
}

// Exposed reports whether a listener at address, which is one that Parse reads, can be reached from other machines: it
// is not on loopback. What cannot be read counts as exposed. A listener that is exposed asks for a secret, unless its
// operator has said that it needs none.
func Exposed(address string) bool {
	a, err := Parse(address)
	return err != nil || !a.ip.IsLoopback()
}
