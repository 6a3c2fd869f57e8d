package webguard

import (
	"net/http"
	"net/netip"
	"testing"
)

func TestIPv4WildcardDoesNotOpenIPv6(t *testing.T) {
	g, err := New(Config{Key: "test.listen", Listen: "0.0.0.0:0", Handler: http.NotFoundHandler()})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	if a, err := netip.ParseAddrPort(g.Addr().String()); err != nil || !a.Addr().Is4() {
		t.Errorf("bound %v", g.Addr())
	}
}
