package publicaddr

import (
	"cmp"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// MaxTURN is the most TURN URLs that clients are told: each costs a client an allocation, and twenty connections of one
// Node at once should fit into the default of turn.limits.allocations_per_node.
const MaxTURN = 6

// Listener is a listener of the TURN server that is up.
type Listener struct {
	Transport string // udp, tcp, tls, dtls
	Addr      netip.AddrPort
	Outside   uint16 // the port by which clients reach it; 0: that of Addr
}

// ICEURLs returns the URLs that clients are told, built from the listeners that are up, in the order in which clients do
// best: STUN, then TURN over UDP, TCP and, if tls is set, TLS and DTLS (RFC 7064, RFC 7065), IPv4 before IPv6. Of more than
// MaxTURN every transport keeps as many as the others, TLS before DTLS.
func (p Public) ICEURLs(listeners []Listener, tls bool) (stun, turn []string) {
	var groups [4][]string
	for i, transport := range []string{"udp", "tcp", "tls", "dtls"} {
		if i > 1 && !tls {
			break
		}
		for _, l := range listeners {
			if l.Transport != transport {
				continue
			}
			at := net.JoinHostPort(p.Name(l.Addr.Addr()), strconv.Itoa(int(l.port())))
			url := []string{"turn:" + at + "?transport=udp", "turn:" + at + "?transport=tcp", "turns:" + at + "?transport=tcp", "turns:" + at + "?transport=udp"}[i]
			if !slices.Contains(groups[i], url) {
				groups[i] = append(groups[i], url)
			}
			if s := "stun:" + at; i == 0 && !slices.Contains(stun, s) {
				stun = append(stun, s)
			}
		}
	}
	for i, n := range shares(groups[:], MaxTURN) {
		turn = append(turn, groups[i][:n]...)
	}
	return stun, turn
}

// HTTPS is the URL of the TLS listeners for a browser, without a slash at its end: that of the one at 443 outside, which may
// be left out of it, else of the first that others reach, else of any. Empty: there is none.
func (p Public) HTTPS(listeners []Listener) string {
	var best *Listener
	rank := func(l *Listener) int {
		switch {
		case l == nil:
			return 0
		case l.port() == 443:
			return 3
		case !l.Addr.Addr().IsLoopback():
			return 2
		}
		return 1
	}
	for i := range listeners {
		if l := &listeners[i]; l.Transport == "tls" && rank(l) > rank(best) {
			best = l
		}
	}
	if best == nil {
		return ""
	}
	host := p.Name(best.Addr.Addr())
	if best.port() != 443 {
		return "https://" + net.JoinHostPort(host, strconv.Itoa(int(best.port())))
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	return "https://" + host
}

// port is the one by which clients reach a listener.
func (l *Listener) port() uint16 { return cmp.Or(l.Outside, l.Addr.Port()) }

// shares says how many of each group make up most in all: one of each in turn, the first groups first.
func shares(groups [][]string, most int) []int {
	take := make([]int, len(groups))
	for more := true; more; {
		more = false
		for i, g := range groups {
			if most > 0 && take[i] < len(g) {
				take[i]++
				most--
				more = true
			}
		}
	}
	return take
}
