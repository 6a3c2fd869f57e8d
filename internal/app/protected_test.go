package app

import (
	"net/netip"
	"testing"
)

// What relays ask for each datagram is not made anew for each.
func TestProtectedListenersAreRemembered(t *testing.T) {
	calls := 0
	at := netip.MustParseAddrPort("127.0.0.1:8083")
	ask := remembered(func() []netip.AddrPort {
		calls++
		return []netip.AddrPort{at}
	})
	if n := testing.AllocsPerRun(1000, func() {
		if got := ask(); len(got) != 1 || got[0] != at {
			t.Errorf("got %v", got)
		}
	}); n > 0 || calls > 10 {
		t.Errorf("%v allocations for each, asked %d times", n, calls)
	}
}
