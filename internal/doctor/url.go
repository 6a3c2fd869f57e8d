package doctor

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// iceURL is a STUN or TURN URL (RFC 7064, RFC 7065).
type iceURL struct {
	text      string
	host      string // a name, or an address without brackets
	port      uint16
	transport string // udp, tcp, tls or dtls
	turn      bool
}

var errUserinfo = errors.New("a STUN or TURN URL has no user or password in it: give them with --username and --password-file")

// CheckURL says what is wrong with a STUN or TURN URL, and whether it is one that needs a credential.
func CheckURL(text string) (turn bool, err error) {
	u, err := parseURL(text)
	return u.turn, err
}

func parseURL(text string) (iceURL, error) {
	scheme, rest, ok := strings.Cut(text, ":")
	if strings.Contains(text, "@") {
		return iceURL{}, errUserinfo // not quoted: it may hold a password
	}
	u := iceURL{text: text, transport: "udp", port: 3478}
	secure := false
	switch strings.ToLower(scheme) {
	case "stun":
	case "turn":
		u.turn = true
	case "stuns":
		u.transport, secure = "tcp", true
	case "turns":
		u.transport, secure, u.turn = "tcp", true, true
	default:
		ok = false
	}
	if !ok {
		return u, fmt.Errorf("%q is no URL of a STUN or TURN server, such as turn:turn.example.org:3478?transport=udp", text)
	}
	rest, query, hasQuery := strings.Cut(strings.TrimPrefix(rest, "//"), "?")
	if hasQuery {
		name, value, _ := strings.Cut(query, "=")
		if name != "transport" || value != "udp" && value != "tcp" {
			return u, fmt.Errorf("%q: behind the ? only transport=udp or transport=tcp may stand", text)
		}
		u.transport = value
	}
	if secure {
		u.port, u.transport = 5349, map[string]string{"udp": "dtls", "tcp": "tls"}[u.transport]
	}
	return u, u.setHost(rest)
}

// setHost reads host, host:port, [v6] or [v6]:port.
func (u *iceURL) setHost(s string) error {
	host, port := s, ""
	if h, p, err := net.SplitHostPort(s); err == nil {
		host, port = h, p
	} else if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		host = s[1 : len(s)-1]
	} else if strings.Contains(s, ":") {
		return fmt.Errorf("%q: an IPv6 address stands in [ ], and a port is a number", u.text)
	}
	if port != "" {
		n, err := strconv.ParseUint(port, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q: the port of a URL must be 1 to 65535", u.text)
		}
		u.port = uint16(n)
	}
	if host == "" || strings.ContainsAny(host, " /%?#") {
		return fmt.Errorf("%q has no host", u.text)
	}
	u.host = host
	return nil
}

// secure reports whether the URL asks for TLS or DTLS.
func (u iceURL) secure() bool { return u.transport == "tls" || u.transport == "dtls" }

// packets reports whether the transport is one of datagrams.
func (u iceURL) packets() bool { return u.transport == "udp" || u.transport == "dtls" }

// network is what the firewall has to let through.
func (u iceURL) network() string {
	if u.packets() {
		return "UDP"
	}
	return "TCP"
}

// name is the host if that is a name, for TLS; else empty.
func (u iceURL) name() string {
	if _, err := netip.ParseAddr(u.host); err == nil {
		return ""
	}
	return u.host
}

// transportNames are for texts.
var transportNames = map[string]string{"udp": "UDP", "tcp": "TCP", "tls": "TLS", "dtls": "DTLS"}
