package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// recommended is the entry of turn.peers.deny that stands for what should never be reached.
const recommended = "recommended"

// address is where something listens. It is stored in its shortest form, or with nothing before the colon.
func address() kind[string] {
	return kind[string]{name: "address", env: envText, parse: one(func(v any) (string, error) {
		s, ok := v.(string)
		if !ok {
			return "", wrongType(`an address such as "127.0.0.1:8083" or ":3478"`, v)
		}
		a, err := listen.Parse(s)
		return a.String(), err
	})}
}

// portRange is a range such as "49152-65535".
func portRange() kind[PortRange] {
	return kind[PortRange]{name: "port range", env: envText, parse: one(func(v any) (r PortRange, err error) {
		s, ok := v.(string)
		if !ok {
			return r, wrongType(`a range of ports such as "49152-65535"`, v)
		}
		low, high, ok := strings.Cut(s, "-")
		a, errA := strconv.ParseUint(strings.TrimSpace(low), 10, 16)
		b, errB := strconv.ParseUint(strings.TrimSpace(high), 10, 16)
		switch {
		case !ok || errA != nil || errB != nil || a == 0 || b == 0:
			return r, fmt.Errorf(`%s must be a range of ports from 1 to 65535, such as "49152-65535"`, quoted(s))
		case a > b:
			return r, fmt.Errorf("%s is the wrong way round: write %s", quoted(s), quoted(fmt.Sprintf("%d-%d", b, a)))
		}
		return PortRange{Min: uint16(a), Max: uint16(b)}, nil
	})}
}

// portTable is turn.public_ports: ports outside, by those inside.
func portTable() kind[map[uint16]uint16] {
	const want = `a table of ports such as {"3478" = 13478}`
	outer := number[int64](1, 65535)
	return kind[map[uint16]uint16]{name: "table of ports", env: envTOML, parse: func(v any) (map[uint16]uint16, []fault) {
		t, ok := v.(map[string]any)
		if !ok {
			return nil, []fault{{err: wrongType(want, v)}}
		}
		ports := make(map[uint16]uint16, len(t))
		var faults []fault
		for _, name := range slices.Sorted(maps.Keys(t)) {
			at := "." + toml.Key{name}.String()
			inner, err := strconv.ParseUint(name, 10, 16)
			if err != nil || inner == 0 {
				faults = append(faults, fault{at: at, sub: at, err: errors.New("is no port from 1 to 65535")})
			}
			n, wrong := outer.parse(t[name])
			for _, f := range wrong {
				faults = append(faults, fault{at: at, sub: at, err: f.err})
			}
			ports[uint16(inner)] = uint16(n)
		}
		return ports, faults
	}}
}

// isHost accepts a host name or an address. Its first label may be a star if star is set.
func isHost(s string, star bool) error {
	if s == "" {
		return notEmpty(s)
	}
	if a, err := netip.ParseAddr(s); err == nil {
		return isAddress(s, a)
	}
	name := strings.TrimSuffix(s, ".")
	if star {
		name = strings.TrimPrefix(name, "*.")
	}
	last := name[strings.LastIndexByte(name, '.')+1:]
	ok := name != "" && len(name) <= 253 && strings.Trim(last, "0123456789") != ""
	for label := range strings.SplitSeq(name, ".") {
		ok = ok && isLabel(label)
	}
	if !ok {
		return fmt.Errorf("%s is neither a host name in ASCII (xn--… for others) nor an address; a port does not belong here", quoted(s))
	}
	return nil
}

func isLabel(s string) bool {
	for _, c := range []byte(strings.ToLower(s)) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
			return false
		}
	}
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-'
}

// isAddress refuses addresses that no client can reach.
func isAddress(s string, a netip.Addr) error {
	if a.IsUnspecified() || a.IsMulticast() || a.Zone() != "" {
		return fmt.Errorf("%s is no address that a client can reach", quoted(s))
	}
	return nil
}

// publicHost checks public.host.
func publicHost(s string) error {
	if s == "auto" {
		return nil
	}
	return isHost(s, false)
}

// stunURL checks an entry of public.stun.
func stunURL(s string) error {
	if !strings.HasPrefix(s, "stun:") {
		return fmt.Errorf("%s must be like stun:HOST:PORT", quoted(s))
	}
	return iceURL(s)
}

// certHost checks an entry of certs.hosts.
func certHost(s string) error { return isHost(s, true) }

// certainHost checks an entry of hooks.hosts and admin.hosts.
func certainHost(s string) error { return isHost(s, false) }

// urlPath checks admin.path.
func urlPath(s string) error {
	if !strings.HasPrefix(s, "/") || strings.Contains(s, "//") || strings.Contains(s, "/.") {
		return fmt.Errorf(`%s must be a path such as "/turn/"`, quoted(s))
	}
	for _, c := range []byte(strings.ToLower(s)) {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("/-._~", rune(c)) {
			return fmt.Errorf("%s must be of letters, digits and -._~/ only", quoted(s))
		}
	}
	return nil
}

// family checks public.ipv4 and public.ipv6.
func family(what string, is func(netip.Addr) bool) func(string) error {
	return func(s string) error {
		if s == "auto" || s == "off" {
			return nil
		}
		a, err := netip.ParseAddr(s)
		if err != nil || !is(a) {
			return fmt.Errorf(`%s must be "auto", "off" or an %s address`, quoted(s), what)
		}
		return isAddress(s, a)
	}
}

func is4(a netip.Addr) bool { return a.Is4() }

func is6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() }

var errPrefix = errors.New("neither an address nor a prefix")

// prefix checks an entry of turn.peers.allow.
func prefix(s string) error {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return nil
	}
	n, err := netip.ParsePrefix(s)
	switch {
	case err != nil && s == recommended:
		return fmt.Errorf("%s is for turn.peers.deny only", quoted(s))
	case err != nil:
		return fmt.Errorf("%s is %w", quoted(s), errPrefix)
	case n != n.Masked():
		return fmt.Errorf("%s is no prefix: did you mean %s?", quoted(s), n.Masked())
	}
	return nil
}

// denied checks an entry of turn.peers.deny.
func denied(s string) error {
	if s == recommended {
		return nil
	}
	err := prefix(s)
	if errors.Is(err, errPrefix) {
		return fmt.Errorf("%w, nor %q", err, recommended)
	}
	return err
}

// webURL accepts an http or https URL, or nothing. Its error does not show the URL, which may hold a password.
func webURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || u.Fragment != "" {
		return errors.New(`must be a URL such as "https://host/path"`)
	}
	return nil
}

// iceURL accepts a URL as of RFC 7064 or RFC 7065.
func iceURL(s string) error {
	scheme, rest, _ := strings.Cut(s, ":")
	if strings.Contains(rest, "@") {
		return errors.New("a STUN or TURN URL has no user-info: set username and password")
	}
	turn := scheme == "turn" || scheme == "turns"
	if !turn && scheme != "stun" && scheme != "stuns" {
		return fmt.Errorf("the scheme of %s must be stun, stuns, turn or turns", quoted(s))
	}
	if bare, ok := strings.CutPrefix(rest, "//"); ok {
		return fmt.Errorf("%s must not have //: write %s", quoted(s), quoted(scheme+":"+bare))
	}
	at, query, hasQuery := strings.Cut(rest, "?")
	if hasQuery && (!turn || query != "transport=udp" && query != "transport=tcp") {
		return fmt.Errorf("%s: only ?transport=udp or ?transport=tcp may follow, and only in a turn: or turns: URL", quoted(s))
	}
	host, port := at, ""
	if i := strings.LastIndexByte(at, ':'); i > strings.LastIndexByte(at, ']') {
		host, port = at[:i], at[i+1:]
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("%s: the port must be 1 to 65535", quoted(s))
		}
	}
	if v6, ok := strings.CutPrefix(host, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(v6, "]"))
		if err != nil || !a.Is6() || !strings.HasSuffix(v6, "]") {
			return fmt.Errorf("%s: what is in the brackets is no IPv6 address", quoted(s))
		}
		return nil
	}
	if strings.Contains(host, ":") {
		return fmt.Errorf("%s: an IPv6 address must be in brackets", quoted(s))
	}
	if isHost(host, false) != nil {
		return fmt.Errorf("%s has no host that can be one", quoted(s))
	}
	return nil
}

// alternate accepts at most one address and port of each family, with a comma between.
func alternate(s string) error {
	_, err := parseAlternate(s)
	return err
}

// AddrPorts is a text such as Turn.Alternate, which has been checked.
func AddrPorts(s string) []netip.AddrPort {
	all, _ := parseAlternate(s)
	return all
}

func parseAlternate(s string) (all []netip.AddrPort, err error) {
	if strings.TrimSpace(s) == "" {
		return nil, nil
	}
	for _, one := range strings.Split(s, ",") {
		one = strings.TrimSpace(one)
		a, err := netip.ParseAddrPort(one)
		ip := a.Addr()
		if err != nil || a.Port() == 0 || ip.Zone() != "" || ip.Is4In6() || ip.IsUnspecified() || ip.IsMulticast() {
			return nil, fmt.Errorf("%s is no IP address and port of a server, such as \"192.0.2.20:3478\"", quoted(one))
		}
		if slices.ContainsFunc(all, func(b netip.AddrPort) bool { return b.Addr().Is4() == ip.Is4() }) {
			return nil, fmt.Errorf("%s is the second address of its family: name one", quoted(one))
		}
		all = append(all, a)
	}
	return all, nil
}
