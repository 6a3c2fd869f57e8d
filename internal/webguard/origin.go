package webguard

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// hostSet is a set of host names and addresses.
type hostSet struct {
	names map[string]bool
	addrs map[netip.Addr]bool
}

func newHostSet(hosts []string) hostSet {
	h := hostSet{names: map[string]bool{}, addrs: map[netip.Addr]bool{}}
	for _, host := range hosts {
		if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
			h.addrs[addr.Unmap()] = true
		} else if host != "" {
			h.names[canonicalName(host)] = true
		}
	}
	return h
}

func (h *hostSet) has(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return h.addrs[addr.Unmap()]
	}
	return h.names[canonicalName(host)]
}

// foreign returns why a request must be taken for one of another site's page in a browser: a Host that only foreign DNS
// can have led here, or an Origin that is not the page's own. A token cannot stand for the latter: browsers send a
// password that they remember (Basic) wherever a page asks them to.
func (g *Guard) foreign(r *http.Request, set *settings, may permission) error {
	if g.cfg.CheckHost == AnyHost || g.cfg.CheckHost == CallersHosts && set.token.need {
		return nil // a page that knows the token needs no browser's help, and none remembers it for a POST of JSON
	}
	host, port := splitHost(r.Host)
	origins, present := r.Header["Origin"]
	switch {
	case set.token.need && may != mayNothing, set.hosts.has(host), g.own.Load().has(host), ownAddress(host, r):
	case g.cfg.CheckHost == CallersHosts && !present && unclaimable(host):
	default:
		return g.errHost
	}
	if otherSite(r) || present && !set.sameOrigin(origins, host, port) {
		return g.errOrigin
	}
	return nil
}

// sameOrigin reports whether a page that asks is the listener's own: by the host that it asks for, or by one of Hosts,
// under which a proxy may show it.
func (s *settings) sameOrigin(origins []string, host, port string) bool {
	if len(origins) != 1 {
		return false
	}
	origin, err := url.Parse(origins[0])
	if err != nil || origin.Host == "" || origin.Scheme != "http" && origin.Scheme != "https" {
		return false
	}
	originHost, originPort := splitHost(origin.Host)
	if s.hosts.has(originHost) {
		return true
	}
	if originPort == "" && port != "" { // a default port is left out of an Origin, but may stand in Host
		originPort = map[string]string{"http": "80", "https": "443"}[origin.Scheme]
	}
	return canonicalName(originHost) == canonicalName(host) && originPort == port
}

// otherSite reports whether a browser says that a page of another origin asks, as it does also for requests that carry
// no Origin, such as that for an image. A link that leads here is none of that: it reads nothing back, and a GET
// changes nothing.
func otherSite(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	link := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	return !link || r.Method != http.MethodGet && r.Method != http.MethodHead
}

// ownAddress reports whether host is loopback or the address that the connection came to.
func ownAddress(host string, r *http.Request) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return canonicalName(host) == "localhost"
	}
	addr = addr.Unmap()
	if addr.IsLoopback() {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap() == addr
}

// unclaimable reports whether no stranger can have a name server answer for host: an address, a name without a dot,
// such as that of a container, or one below a top-level domain that the public DNS will not have (RFC 6761, 6762, 8375;
// ICANN's resolution of 2024 for "internal").
func unclaimable(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	name := canonicalName(host)
	last := name[strings.LastIndexByte(name, '.')+1:]
	return name != "" && last == name || last == "local" || last == "localhost" || last == "internal" || strings.HasSuffix(name, ".home.arpa")
}

func canonicalName(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// splitHost parts a Host header. The port is empty if none is given; the host comes without brackets.
func splitHost(hostport string) (host, port string) {
	if host, port, err := net.SplitHostPort(hostport); err == nil {
		return host, port
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]"), ""
}
