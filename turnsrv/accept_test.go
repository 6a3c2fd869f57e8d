package turnsrv

import (
	"crypto/tls"
	"slices"
	"testing"
)

// TestTLSProtocols has the ALPN names of RFC 7443, none, and others, which are no reason to refuse a client.
func TestTLSProtocols(t *testing.T) {
	s := newSite(t, streamsConfig{})
	for _, test := range []struct {
		offered []string
		want    string
	}{
		{nil, ""},
		{[]string{"stun.turn"}, "stun.turn"},
		{[]string{"webrtc", "stun.turn"}, "stun.turn"},
		{[]string{"stun.nat-discovery"}, "stun.nat-discovery"},
		{[]string{"webrtc", "h2"}, ""},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			c, err := s.dialTLS(s.tcp[0], "", &tls.Config{NextProtos: slices.Clone(test.offered), MaxVersion: version})
			if err != nil {
				t.Fatalf("%v: %v", test.offered, err)
			}
			if got := c.ConnectionState(); got.NegotiatedProtocol != test.want || got.Version != version {
				t.Errorf("%v: got %q, version %x", test.offered, got.NegotiatedProtocol, got.Version)
			}
			s.mustAsk(c)
		}
	}
}

func TestTLSVersions(t *testing.T) {
	s := newSite(t, streamsConfig{})
	for _, cfg := range []*tls.Config{
		{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}},
	} {
		if c, err := s.dialTLS(s.tcp[0], "", cfg); err == nil {
			t.Errorf("served with %x %x", c.ConnectionState().Version, c.ConnectionState().CipherSuite)
		}
	}
	if got := s.stats(); got.Failed() != 2 || got.Open != 0 {
		until(t, "both are gone", func() bool { got = s.stats(); return got.Failed() == 2 && got.Open == 0 })
	}
}
