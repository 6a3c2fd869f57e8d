package doctor

import "net/netip"

// scope is how far an address can be reached from, the narrowest first.
type scope int

const (
	scopeNone scope = iota // no host can have it
	scopeLoopback
	scopeLink
	scopePrivate
	scopePublic
)

var scopeNames = map[scope]string{
	scopeNone: "not an address that a host can have", scopeLoopback: "a loopback address", scopeLink: "a link-local address",
	scopePrivate: "a private address", scopePublic: "a public address",
}

var sharedSpace = netip.MustParsePrefix("100.64.0.0/10") // of carriers: RFC 6598

func scopeOf(a netip.Addr) scope {
	a = a.Unmap()
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return scopeNone
	case a.IsLoopback():
		return scopeLoopback
	case a.IsLinkLocalUnicast():
		return scopeLink
	case a.IsPrivate() || sharedSpace.Contains(a):
		return scopePrivate
	}
	return scopePublic
}
