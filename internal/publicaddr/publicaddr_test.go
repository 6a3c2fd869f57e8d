package publicaddr

import (
	"net/netip"
	"testing"
)

func TestRoutesAreLocal(t *testing.T) {
	found := 0
	for name, f := range map[string]func() (netip.Addr, bool){"IPv4": Route4, "IPv6": Route6} {
		if a, ok := f(); ok {
			found++
			if !IsLocal(a) {
				t.Errorf("%s: %v is no address of this machine", name, a)
			}
		}
	}
	t.Logf("%d default routes", found)
	if IsLocal(netip.MustParseAddr("192.0.2.1")) {
		t.Error("a documentation address counts as local")
	}
	if !IsLocal(netip.MustParseAddr("127.0.0.1")) {
		t.Error("loopback does not count as local")
	}
}
