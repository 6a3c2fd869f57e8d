package publicaddr

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

const resolveTimeout = 3 * time.Second

// String lists the advertised addresses for a person.
func (p Public) String() string {
	var all []string
	for _, ip := range p.Advertised() {
		all = append(all, ip.String())
	}
	return strings.Join(all, " and ")
}

// resolve looks up what a public host stands for. It returns nothing if there is nothing to look up.
func resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if host == "auto" {
		return nil, nil
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if e, ok := errors.AsType[*net.DNSError](err); ok {
		err = errors.New(e.Err)
	}
	return found, err
}

// situation is what judge goes by beside the settings.
type situation struct {
	exposed   bool   // a TURN listener is on more than loopback
	container string // see Container
	seen      Seen
	host      []netip.Addr // what public.host resolves to
	errHost   error
	local     func(netip.Addr) bool
}

// judge returns what looks wrong with the addresses that clients are told.
func judge(set Settings, p Public, s situation) (all []findings.Finding) {
	add := func(id, remedy, format string, args ...any) {
		all = append(all, findings.Finding{ID: "public." + id, Detail: fmt.Sprintf(format, args...), Remedy: remedy})
	}
	bind, told := p.IPv4.Bind, p.IPv4.Advertise
	inContainer := s.container != "" && bind.IsPrivate() && (bind.As4()[0] == 172 || bind.As4()[0] == 10)
	switch {
	case !told.IsValid() || !s.exposed:
	case told.IsLoopback():
		add("private", "connect the machine to a network, or set public.ipv4", "clients are told %s, which only this machine reaches", told)
	case IsPrivate(told) && inContainer:
		add("container", "set public.ipv4 to the host's address and publish the ports of turn.listen and turn.relay_ports, or run the container with --network host",
			"this runs in %s, and clients are told its address %s, which they cannot reach", s.container, told)
	case IsPrivate(told):
		add("private", "set public.ipv4 to the address outside, or public.stun to have it found; nothing where every client is inside",
			"clients are told %s, a private address that those on the Internet cannot reach", told)
	case bind != told && IsPrivate(bind):
		add("nat", fmt.Sprintf("let the router, or the container's host, forward turn.listen and the UDP ports %d-%d to %s",
			set.PortMin, set.PortMax, bind), "this is behind NAT: relays on %s are told to clients as %s", bind, told)
	}
	if m := s.seen.Mapped; m.IsValid() && set.IPv4 != "auto" && set.IPv4 != "off" && m != told {
		add("differs", fmt.Sprintf("set public.ipv4 to %s, or to \"auto\"", m), "public.ipv4 is %s, but the servers of public.stun see this machine at %s", told, m)
	}
	if len(s.seen.others) > 0 {
		add("many", "set public.ipv4 to the one that reaches this machine", "the servers of public.stun see this machine at %s and at %v", s.seen.Mapped, s.seen.others)
	}
	if len(s.seen.silent) > 0 {
		add("stun", "check the name, and that UDP may leave this machine; the last known address stays",
			"%s of public.stun: %s", strings.Join(s.seen.silent, ", "), s.seen.because)
	}
	judgeHost(add, set.Host, p, s)
	return all
}

// judgeHost adds what looks wrong with public.host.
func judgeHost(add func(id, remedy, format string, args ...any), host string, p Public, s situation) {
	isHere := func(ip netip.Addr) bool {
		ip = ip.Unmap()
		return ip == p.IPv4.Advertise || ip == p.IPv6.Advertise || s.local(ip)
	}
	switch {
	case s.errHost != nil:
		add("host", "correct the name, or its record in the DNS", "public.host %s cannot be resolved (%v): clients do not find this server", host, s.errHost)
	case len(s.host) == 1 && s.host[0].String() == host && !isHere(s.host[0]):
		add("host", "set public.ipv4 to the address outside, or public.host to a name or an address of this server",
			"public.host is %s, and this server is at %s", host, p)
	case len(s.host) > 0 && !slices.ContainsFunc(s.host, isHere):
		add("host", "correct the record in the DNS, or public.ipv4", "public.host %s is at %v, and this server is at %s", host, s.host, p)
	}
}
