package peers

import "net/netip"

// form is a way in which an IPv6 address can carry an IPv4 one. A host on the path, or the peer itself, may take that
// out again, so a denied IPv4 address is denied in every form.
type form uint8

const (
	plain      form = iota
	compatible      // ::a.b.c.d, RFC 4291 §2.5.5.1
	translated      // ::ffff:0:a.b.c.d, RFC 2765
	nat64           // 64:ff9b::a.b.c.d, RFC 6052
	sixToFour       // 2002:AABB:CCDD::, RFC 3056
	teredo          // 2001:0:server:…:client with its bits turned over, RFC 4380 §4
	isatap          // …:0:5efe:a.b.c.d and …:200:5efe:a.b.c.d, RFC 5214 §6.1
	forms
)

// IPv4-mapped addresses are not here: they are IPv4 addresses. Nor is the local prefix of NAT64, 64:ff9b:1::/48: its
// length is the operator's, an address in it can be read in four ways, and it is denied as a whole.

var formTexts = [forms]string{
	plain:      "",
	compatible: "IPv4-compatible address of a denied one: ",
	translated: "IPv4-translated address of a denied one: ",
	nat64:      "NAT64 address of a denied one: ",
	sixToFour:  "6to4 address of a denied one: ",
	teredo:     "Teredo address of a denied one: ",
	isatap:     "ISATAP address of a denied one: ",
}

// embedded is an IPv4 address within an IPv6 one.
type embedded struct {
	form form
	addr netip.Addr
}

// embeddedIn reads the IPv4 addresses in an IPv6 address into c and returns them. There are three at most: a Teredo
// address has two, and may end like an ISATAP address.
func embeddedIn(ip netip.Addr, c *[3]embedded) []embedded {
	b := ip.As16()
	n := 0
	add := func(f form, at int, turn byte) {
		c[n] = embedded{f, netip.AddrFrom4([4]byte{b[at] ^ turn, b[at+1] ^ turn, b[at+2] ^ turn, b[at+3] ^ turn})}
		n++
	}
	k := keyOf(ip)
	switch {
	case k.hi == 0 && k.lo>>32 == 0:
		add(compatible, 12, 0)
	case k.hi == 0 && k.lo>>32 == 0xffff_0000:
		add(translated, 12, 0)
	case k.hi == 0x0064_ff9b_0000_0000 && k.lo>>32 == 0:
		add(nat64, 12, 0)
	case k.hi>>48 == 0x2002:
		add(sixToFour, 2, 0)
	case k.hi>>32 == 0x2001_0000:
		add(teredo, 4, 0)
		add(teredo, 12, 0xff)
	}
	// The second bit says whether the IPv4 address claims to be globally unique.
	if uint32(k.lo>>32)&^0x0200_0000 == 0x0000_5efe {
		add(isatap, 12, 0)
	}
	return c[:n]
}
