package publicaddr

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Listener is a listener of the TURN server that is up.
type Listener struct {
	Transport string // udp, tcp, tls, dtls
	Addr      netip.AddrPort
	Outside   uint16 // the port by which clients reach it; 0: that of Addr
}

// ICEURLs returns the URLs that clients are told, built from the listeners that are up, in the order in which clients do
// best: STUN, then TURN over UDP, TCP and, if tls is set, TLS and DTLS (RFC 7064, RFC 7065).
func (p Public) ICEURLs(listeners []Listener, tls bool) (stun, turn []string) {
	for _, transport := range []string{"udp", "tcp", "tls", "dtls"} {
		for _, l := range listeners {
			if l.Transport != transport {
				continue
			}
			at := p.Name(l.Addr.Addr())
			if ip, err := netip.ParseAddr(at); err == nil && ip.Is6() {
				at = "[" + at + "]"
			}
			at = fmt.Sprintf("%s:%d", at, cmp.Or(l.Outside, l.Addr.Port()))
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
