package listen

import (
	"net/netip"
	"testing"
)

func TestNearby(t *testing.T) {
	for text, want := range map[string]string{
		":80": "127.0.0.1:80", "0.0.0.0:80": "127.0.0.1:80", "127.0.0.2:80": "127.0.0.2:80", "192.0.2.1:80": "192.0.2.1:80",
		"[2001:db8::1]:80": "[2001:db8::1]:80",
	} {
		a, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := a.Nearby(); !ok || got.String() != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
	both, _ := Bound(netip.MustParseAddrPort("[::]:80")).Nearby()
	if want := here(netip.IPv6Loopback()); want != (both.Addr() == netip.IPv6Loopback()) {
		t.Errorf("[::]:80: %s, and ::1 is here: %v", both, want)
	}
	if here(netip.MustParseAddr("192.0.2.1")) {
		t.Error("this machine has an address of the documentation")
	}
}
