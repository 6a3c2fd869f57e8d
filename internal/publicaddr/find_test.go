package publicaddr

import (
	"net/netip"
	"strings"
	"testing"
)

func addrs(listen ...string) (all []Listener) {
	for _, l := range listen {
		transport, at, _ := strings.Cut(l, " ")
		all = append(all, Listener{Transport: transport, Addr: netip.MustParseAddrPort(at)})
	}
	return all
}

func TestICEURLs(t *testing.T) {
	both := Public{
		IPv4: Family{Advertise: netip.MustParseAddr("5.9.8.7")}, IPv6: Family{Advertise: netip.MustParseAddr("2001:db8::7")},
	}
	only6 := Public{IPv6: both.IPv6}
	named := Public{Host: "turn.example.org", IPv4: both.IPv4, IPv6: both.IPv6}
	wild := addrs("udp 0.0.0.0:3478", "udp [::]:3478", "tcp 0.0.0.0:3478", "tcp [::]:3478", "tls 0.0.0.0:5349", "tls [::]:5349", "dtls 0.0.0.0:5349", "dtls [::]:5349")
	for name, c := range map[string]struct {
		p    Public
		up   []Listener
		tls  bool
		stun string
		turn string
	}{
		"both families": {both, wild, false, "stun:5.9.8.7:3478 stun:[2001:db8::7]:3478",
			"turn:5.9.8.7:3478?transport=udp turn:[2001:db8::7]:3478?transport=udp turn:5.9.8.7:3478?transport=tcp turn:[2001:db8::7]:3478?transport=tcp"},
		"at most six, each transport alike": {both, wild, true, "stun:5.9.8.7:3478 stun:[2001:db8::7]:3478",
			"turn:5.9.8.7:3478?transport=udp turn:[2001:db8::7]:3478?transport=udp turn:5.9.8.7:3478?transport=tcp turn:[2001:db8::7]:3478?transport=tcp " +
				"turns:5.9.8.7:5349?transport=tcp turns:5.9.8.7:5349?transport=udp"},
		"IPv6 alone": {only6, wild, false, "stun:[2001:db8::7]:3478", "turn:[2001:db8::7]:3478?transport=udp turn:[2001:db8::7]:3478?transport=tcp"},
		"a name has both": {named, wild, true, "stun:turn.example.org:3478",
			"turn:turn.example.org:3478?transport=udp turn:turn.example.org:3478?transport=tcp turns:turn.example.org:5349?transport=tcp turns:turn.example.org:5349?transport=udp"},
		"addresses of their own": {both, addrs("udp 10.1.1.1:1", "tcp [fd00::1]:2"), false, "stun:10.1.1.1:1",
			"turn:10.1.1.1:1?transport=udp turn:[fd00::1]:2?transport=tcp"},
		"behind NAT": {Public{Fixed: true, IPv4: both.IPv4}, addrs("udp 10.1.1.1:1", "tcp 10.1.1.1:1"), false, "stun:5.9.8.7:1",
			"turn:5.9.8.7:1?transport=udp turn:5.9.8.7:1?transport=tcp"},
		"a port that is another one outside": {named, []Listener{{"udp", netip.MustParseAddrPort("0.0.0.0:3478"), 13478}, {"tcp", netip.MustParseAddrPort("0.0.0.0:3478"), 0}},
			false, "stun:turn.example.org:13478", "turn:turn.example.org:13478?transport=udp turn:turn.example.org:3478?transport=tcp"},
		"many ports": {Public{Fixed: true, IPv4: both.IPv4}, addrs("udp 0.0.0.0:1", "udp 0.0.0.0:2", "udp 0.0.0.0:3", "udp 0.0.0.0:4", "udp 0.0.0.0:5", "udp 0.0.0.0:6",
			"udp 0.0.0.0:7", "tcp 0.0.0.0:1", "tls 0.0.0.0:2"), true, "",
			"turn:5.9.8.7:1?transport=udp turn:5.9.8.7:2?transport=udp turn:5.9.8.7:3?transport=udp turn:5.9.8.7:4?transport=udp turn:5.9.8.7:1?transport=tcp turns:5.9.8.7:2?transport=tcp"},
	} {
		stun, turn := c.p.ICEURLs(c.up, c.tls)
		if got := strings.Join(stun, " "); c.stun != "" && got != c.stun {
			t.Errorf("%s: %s\nwant %s", name, got, c.stun)
		}
		if got := strings.Join(turn, " "); got != c.turn {
			t.Errorf("%s: %s\nwant %s", name, got, c.turn)
		}
		if 20*len(turn) > 128 {
			t.Errorf("%s: twenty connections with %d URLs are more than the default quota", name, len(turn))
		}
	}
}
