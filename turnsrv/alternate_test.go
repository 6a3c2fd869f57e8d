package turnsrv

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// Clients on UDP and TCP are sent to the other server. On TLS and DTLS they stay, since that one has another name. A server
// that would send them to itself says so.
func TestAlternateByTransport(t *testing.T) {
	var settings Settings
	s := startServer(t, func(c *Config) {
		c.Settings.Alternate = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.7:3478")}
		settings = c.Settings
	})
	for transport, code := range map[string]int{"udp": 300, "tcp": 300, "tls": 0, "dtls": 0} {
		for _, addr := range []string{s.plain, s.tls} {
			if _, err := s.client(t, transport, addr, transport).Allocate(within(t), nil); turnclient.Code(err) != code || code == 0 && err != nil {
				t.Errorf("%s at %s: %v, want %d", transport, addr, err, code)
			}
		}
	}
	settings.Alternate = []netip.AddrPort{netip.MustParseAddrPort(s.tls)}
	if _, err := s.Prepare(settings); err == nil || !strings.Contains(err.Error(), "is this server") {
		t.Errorf("sent to itself: %v", err)
	}
	settings.Alternate = nil
	change, err := s.Prepare(settings)
	if err != nil {
		t.Fatal(err)
	}
	change.Apply()
	if _, err := s.client(t, "udp", s.plain, "again").Allocate(within(t), nil); err != nil {
		t.Errorf("after the reload: %v", err)
	}
}
