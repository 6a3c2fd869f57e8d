package adminapi

import (
	"net/netip"
	"testing"
)

func TestAddressesOfAllocations(t *testing.T) {
	four, six := netip.MustParseAddrPort("192.0.2.1:50000"), netip.MustParseAddrPort("[2001:db8::1]:50001")
	for want, a := range map[string]Allocation{
		"192.0.2.1:50000":                                 {Relayed: four},
		"192.0.2.1:50000 and [2001:db8::1]:50001":         {Relayed: four, Also: six},
		"192.0.2.1:50000 for TCP":                         {Relayed: four, Relays: "tcp"},
		"192.0.2.1:50000 and [2001:db8::1]:50001 for TCP": {Relayed: four, Also: six, Relays: "tcp"},
	} {
		if got := a.Addresses(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
