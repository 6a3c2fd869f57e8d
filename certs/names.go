package certs

import (
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// maxMachineAddrs bounds what a machine with hundreds of container networks puts into its certificate: DTLS sends it in
// datagrams.
const maxMachineAddrs = 32

// names are those in a self-signed certificate.
type names struct {
	dns   []string
	addrs []netip.Addr // asked for: without one of these it is made anew
	// machine6 are put in, but are no reason to make it anew: IPv6 addresses that change every day would change the
	// certificate with them.
	machine6 []netip.Addr
}

// namesFor returns localhost, the public host, hosts and the machine's addresses.
func namesFor(publicHost string, hosts []string, machine func() ([]netip.Addr, error)) (names, error) {
	n := names{
		dns:   []string{"localhost"},
		addrs: []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1}), netip.IPv6Loopback()},
	}
	for _, h := range append([]string{publicHost}, hosts...) {
		if h == "" {
			continue
		}
		if err := n.add(h); err != nil {
			return names{}, err
		}
	}
	addrs, err := machine()
	if err != nil {
		return names{}, fmt.Errorf("list the machine's addresses for its certificate: %w", err)
	}
	for _, a := range addrs[:min(len(addrs), maxMachineAddrs)] {
		a = a.Unmap().WithZone("")
		switch {
		case a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.IsLinkLocalUnicast():
		case a.Is4() && !slices.Contains(n.addrs, a):
			n.addrs = append(n.addrs, a)
		case a.Is6() && !slices.Contains(n.allAddrs(), a):
			n.machine6 = append(n.machine6, a)
		}
	}
	return n, nil
}

func (n *names) add(host string) error {
	text := strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if a, err := netip.ParseAddr(text); err == nil {
		if a = a.Unmap().WithZone(""); !slices.Contains(n.addrs, a) {
			n.addrs = append(n.addrs, a)
		}
		return nil
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if !validName(name) {
		return fmt.Errorf("%w: %q; write a name in ASCII (xn--… for others), or an address, without a port", ErrName, host)
	}
	if !slices.Contains(n.dns, name) {
		n.dns = append(n.dns, name)
	}
	return nil
}

// validName accepts letters, digits, hyphens and, since they occur, underscores; the first label may be a star.
func validName(name string) bool {
	if len(name) == 0 || len(name) > 253 {
		return false
	}
	for i, label := range strings.Split(name, ".") {
		if label == "*" && i == 0 && len(name) > 1 {
			continue
		}
		if len(label) == 0 || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		for _, c := range []byte(label) {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return false
			}
		}
	}
	return true
}

func (n *names) allAddrs() []netip.Addr { return slices.Concat(n.addrs, n.machine6) }

// missing returns a name that c should have and does not, or nothing.
func (n *names) missing(c *x509.Certificate) string {
	for _, name := range n.dns {
		if !slices.ContainsFunc(c.DNSNames, func(s string) bool { return strings.EqualFold(s, name) }) {
			return name
		}
	}
	for _, a := range n.addrs {
		if !slices.ContainsFunc(c.IPAddresses, func(ip net.IP) bool { return ip.Equal(a.AsSlice()) }) {
			return a.String()
		}
	}
	return ""
}

func interfaceAddrs() ([]netip.Addr, error) {
	list, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var out []netip.Addr
	for _, a := range list {
		if n, ok := a.(*net.IPNet); ok {
			if ip, ok := netip.AddrFromSlice(n.IP); ok {
				out = append(out, ip)
			}
		}
	}
	return out, nil
}
