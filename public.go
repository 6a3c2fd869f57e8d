package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/crolang-p2p/crolang-aio/config"
	"github.com/crolang-p2p/crolang-aio/internal/publicaddr"
	"github.com/crolang-p2p/crolang-aio/turnsrv"
)

// public is what clients are told of this server. It never changes: where an address does, there is another one.
type public struct {
	host       string // set in the configuration; empty: each listener's own address
	fixed      bool   // the IPv4 address was set too, or is one outside of this machine
	ipv4, ipv6 turnsrv.Family
}

// known is what was found out about this machine's addresses earlier.
type known struct {
	mapped netip.Addr // the IPv4 address that STUN servers see; not valid: none was asked, or none ever answered
	bind   netip.Addr // of the IPv4 relays up to now, for while there is no route; not valid: none
}

// findPublic turns the settings of [public] into addresses. "auto" asks the machine.
func findPublic(cfg *config.Config, k known) (public, error) {
	host, ipv4, ipv6 := cfg.Public.Host, cfg.Public.IPv4, cfg.Public.IPv6
	p := public{host: host}
	if host == "auto" {
		p.host = ""
	}
	route4, ok := publicaddr.Route4()
	switch {
	case !ok && k.bind.Is4() && !k.bind.IsUnspecified():
		route4 = k.bind
	case !ok:
		route4 = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	}
	switch ipv4 {
	case "off":
	case "auto":
		p.ipv4 = turnsrv.Family{Bind: route4, Advertise: route4}
		if k.mapped.IsValid() {
			p.ipv4.Advertise, p.fixed = k.mapped, k.mapped != route4
		}
	default:
		a, err := netip.ParseAddr(ipv4)
		if err != nil || !a.Is4() {
			return p, fmt.Errorf("public.ipv4: %q is no IPv4 address", ipv4)
		}
		p.fixed = true
		p.ipv4 = turnsrv.Family{Bind: a, Advertise: a}
		switch {
		case !publicaddr.IsLocal(a):
			p.ipv4.Bind = route4 // behind NAT: the address that the router forwards to
		case a.IsLoopback() && listensEverywhere(cfg.Turn.Listen):
			// In a container whose ports are published on the host's loopback: what is forwarded comes in elsewhere.
			p.ipv4.Bind = netip.IPv4Unspecified()
		}
	}
	route6, have6 := publicaddr.Route6()
	switch ipv6 {
	case "off":
	case "auto":
		if have6 {
			p.ipv6 = turnsrv.Family{Bind: route6, Advertise: route6}
		}
	default:
		a, err := netip.ParseAddr(ipv6)
		if err != nil || !a.Is6() {
			return p, fmt.Errorf("public.ipv6: %q is no IPv6 address", ipv6)
		}
		p.ipv6 = turnsrv.Family{Bind: a, Advertise: a}
		if !publicaddr.IsLocal(a) {
			if !have6 {
				return p, fmt.Errorf("public.ipv6: %s is no address of this machine, and it has no IPv6 route: set it to \"off\"", a)
			}
			p.ipv6.Bind = route6
		}
	}
	if !p.ipv4.Bind.IsValid() && !p.ipv6.Bind.IsValid() {
		return p, errors.New("public.ipv4 and public.ipv6 are both off: there is no address for relays")
	}
	return p, nil
}

// listensEverywhere says whether any of the addresses is a wildcard.
func listensEverywhere(listen []string) bool {
	return slices.ContainsFunc(listen, func(l string) bool {
		a, err := netip.ParseAddrPort(l)
		return err != nil || a.Addr().IsUnspecified() // ":3478" is no AddrPort
	})
}

// families is the number of address families that relays are in.
func (p public) families() int { return len(p.advertised()) }

// advertised are the relayed addresses that clients are told.
func (p public) advertised() (all []netip.Addr) {
	for _, a := range []netip.Addr{p.ipv4.Advertise, p.ipv6.Advertise} {
		if a.IsValid() {
			all = append(all, a)
		}
	}
	return all
}

// name is the host in the ICE URL of a listener.
func (p public) name(listen netip.AddrPort) string {
	if p.host != "" {
		return p.host
	}
	ip := listen.Addr().Unmap()
	if p.fixed || ip.IsUnspecified() {
		ip = p.ipv4.Advertise
		if !ip.IsValid() {
			ip = p.ipv6.Advertise
		}
	}
	return ip.String()
}

// iceURLs are the URLs that clients are told, built from the listeners that are up and in the order in which clients do
// best: STUN, then TURN over UDP, TCP and, where tls is set, TLS and DTLS (RFC 7064, RFC 7065).
func iceURLs(p public, listeners []turnsrv.Listener, tls bool) (stun, turn []string) {
	for _, transport := range []string{"udp", "tcp", "tls", "dtls"} {
		for _, l := range listeners {
			if l.Transport != transport {
				continue
			}
			at := p.name(l.Addr)
			if ip, err := netip.ParseAddr(at); err == nil && ip.Is6() {
				at = "[" + at + "]"
			}
			at = fmt.Sprintf("%s:%d", at, l.Addr.Port())
			switch {
			case transport == "udp":
				stun = append(stun, "stun:"+at)
				turn = append(turn, "turn:"+at+"?transport=udp")
			case transport == "tcp":
				turn = append(turn, "turn:"+at+"?transport=tcp")
			case transport == "tls" && tls:
				turn = append(turn, "turns:"+at+"?transport=tcp")
			case transport == "dtls" && tls:
				turn = append(turn, "turns:"+at+"?transport=udp")
			}
		}
	}
	return slices.Compact(stun), slices.Compact(turn)
}
