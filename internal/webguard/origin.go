package webguard

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// hostCheck refuses what a browser sends for a page of somebody else: a Host that only foreign DNS can have led here
// (rebinding), and an Origin that is not the page's own.
type hostCheck struct {
	names map[string]bool
	addrs map[netip.Addr]bool
}

func newHostCheck(hosts []string) hostCheck {
	h := hostCheck{names: map[string]bool{"localhost": true}, addrs: map[netip.Addr]bool{}}
	for _, host := range hosts {
		if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
			h.addrs[addr.Unmap()] = true
		} else if host != "" {
			h.names[canonicalName(host)] = true
		}
	}
	return h
}

// ok tells whether r's Host is ours, and that no page of another origin asks: by Origin, where there is one, and by what a
// browser says of a request that carries none, such as that for an image.
func (h *hostCheck) ok(r *http.Request) bool {
	host, port := splitHost(r.Host)
	if !h.own(host, r) || foreign(r) {
		return false
	}
	origins, present := r.Header["Origin"]
	if !present {
		return true
	}
	if len(origins) != 1 {
		return false
	}
	origin, err := url.Parse(origins[0])
	if err != nil || origin.Host == "" || (origin.Scheme != "http" && origin.Scheme != "https") {
		return false
	}
	originHost, originPort := splitHost(origin.Host)
	if originPort == "" && port != "" { // a default port is left out of an Origin, but may stand in Host
		originPort = map[string]string{"http": "80", "https": "443"}[origin.Scheme]
	}
	return canonicalName(originHost) == canonicalName(host) && originPort == port
}

// foreign tells whether a browser says that a page of another origin asks. A link that leads here is none of that: it
// reads nothing back, and a GET changes nothing.
func foreign(r *http.Request) bool {
	switch r.Header.Get("Sec-Fetch-Site") {
	case "", "same-origin", "none":
		return false
	}
	link := r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
	return !link || r.Method != http.MethodGet && r.Method != http.MethodHead
}

// own tells whether host is loopback, the address that the connection came to, or a configured one.
func (h *hostCheck) own(host string, r *http.Request) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return h.names[canonicalName(host)]
	}
	addr = addr.Unmap()
	if addr.IsLoopback() || h.addrs[addr] {
		return true
	}
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return ok && local.AddrPort().Addr().Unmap() == addr
}

func canonicalName(host string) string { return strings.ToLower(strings.TrimSuffix(host, ".")) }

// splitHost parts a Host header. The port is empty where none is given, the host comes without brackets.
func splitHost(hostport string) (host, port string) {
	if host, port, err := net.SplitHostPort(hostport); err == nil {
		return host, port
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]"), ""
}
