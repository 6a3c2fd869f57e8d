package household

import (
	"net/netip"
	"testing"
)

func TestOf(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.7": "192.0.2.7/32", "::ffff:192.0.2.7": "192.0.2.7/32", "2001:db8:1:2:3::9": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64",
	} {
		if got := Of(netip.MustParseAddr(ip)); got != netip.MustParsePrefix(want) {
			t.Errorf("%s: %s, want %s", ip, got, want)
		}
	}
	if got := Of(netip.Addr{}); got.IsValid() {
		t.Errorf("of no address: %s", got)
	}
}
