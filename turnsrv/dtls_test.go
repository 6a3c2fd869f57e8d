package turnsrv

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// datagramHello is the first flight of a DTLS client.
func datagramHello(t testing.TB, options ...dtls.ClientOption) []byte {
	t.Helper()
	server, client := udpSocket(t), udpSocket(t)
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), server.LocalAddr().(*net.UDPAddr).AddrPort().Port())
	c, err := dtls.ClientWithOptions(client, net.UDPAddrFromAddrPort(to), append(options, dtls.WithInsecureSkipVerify(true))...)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = c.Handshake()
	}()
	buf := make([]byte, maxDatagram)
	n, _, err := server.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	<-ended
	return buf[:n]
}

// TestDatagramFlood is SECURITY case 3: 2 000 ClientHellos that nothing follows cost no place, and honest handshakes
// are done meanwhile.
func TestDatagramFlood(t *testing.T) {
	before := runtime.NumGoroutine()
	s := newSite(t, streamsConfig{HandshakeTimeout: 3 * time.Second, ConnectionsPerIP: 4})
	hello := datagramHello(t)
	var flood []*net.UDPConn
	for i := range 2000 {
		c := udpSocket(t)
		if _, err := c.WriteTo(hello, net.UDPAddrFromAddrPort(s.udp[0])); err != nil {
			t.Fatal(err)
		}
		flood = append(flood, c)
		if i%500 == 499 {
			c, err := s.dialDTLS(s.udp[0], nil)
			if err != nil {
				t.Fatalf("after %d: %v", i, err)
			}
			s.mustAsk(c)
		}
	}
	until(t, "all have come", func() bool { return s.stats().Hellos == 2004 })
	if got := s.stats(); got.Accepted != 4 || got.Open != 4 || got.HalfOpen != 0 || got.Refused()+got.Failed() != 0 {
		t.Errorf("counted %+v", got)
	}
	for _, f := range flood {
		_ = f.Close()
	}
	s.end()
	until(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}

// TestAssociationsPerAddress has an address refused only once it has proved that it is who it says.
func TestAssociationsPerAddress(t *testing.T) {
	s := newSite(t, streamsConfig{ConnectionsPerIP: 2})
	var live []*dtls.Conn
	for range 2 {
		c, err := s.dialDTLS(s.udp[0], nil)
		if err == nil {
			err = ask(c, openRelay)
		}
		if err != nil {
			t.Fatal(err)
		}
		live = append(live, c)
	}
	if _, err := s.dialDTLS(s.udp[0], nil); err == nil {
		t.Fatal("a third association is served")
	}
	s.mustAsk(live[0])
	_ = live[1].Close()
	until(t, "its place is given back", func() bool { return s.stats().Open == 1 })
	c, err := s.dialDTLS(s.udp[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mustAsk(c)
	if got := s.stats(); got.OverShare == 0 || got.Displaced != 0 {
		t.Errorf("counted %+v", got)
	}
}

// forgetful is the socket of a client that can be made to stop, without closing it and without a word to the server.
type forgetful struct {
	net.PacketConn
	stopped atomic.Bool
}

func (f *forgetful) WriteTo(b []byte, to net.Addr) (int, error) {
	if f.stopped.Load() {
		return len(b), nil
	}
	return f.PacketConn.WriteTo(b, to)
}

func (f *forgetful) Close() error { return f.SetReadDeadline(time.Unix(1, 0)) }

// TestClientBeginsAnew has a client that forgot its association begin another one on the same port, and a forger who
// only says so.
func TestClientBeginsAnew(t *testing.T) {
	s := newSite(t, streamsConfig{ConnectionsPerIP: 1, HandshakeTimeout: 2 * time.Second})
	pc := udpSocket(t)
	socket := &forgetful{PacketConn: pc}
	old, err := s.dialDTLS(s.udp[0], socket)
	if err != nil {
		t.Fatal(err)
	}
	s.mustAsk(old)
	// A hello from the client's own port whose cookie nobody sends back, and one with a cookie that is none.
	hello := datagramHello(t)
	for _, b := range [][]byte{hello, withCookie(hello, make([]byte, cookieLen))} {
		if _, err := pc.WriteTo(b, net.UDPAddrFromAddrPort(s.udp[0])); err != nil {
			t.Fatal(err)
		}
	}
	until(t, "the hellos have come", func() bool { got := s.stats(); return got.Hellos == 2 && got.StaleCookies == 1 })
	s.mustAsk(old)
	socket.stopped.Store(true)
	_ = old.Close()
	_ = pc.SetReadDeadline(time.Time{})
	c, err := s.dialDTLS(s.udp[0], &forgetful{PacketConn: pc})
	if err != nil {
		t.Fatal(err)
	}
	s.mustAsk(c)
	until(t, "the old one has ended", func() bool { return s.stats().Open == 1 })
	if got := s.stats(); got.HalfOpen != 0 || got.Refused() != 0 {
		t.Errorf("counted %+v", got)
	}
}

// TestDTLSProtocols has the ALPN names of RFC 7443, none, and others, which are no reason to refuse a client.
func TestDTLSProtocols(t *testing.T) {
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
		var options []dtls.ClientOption
		if test.offered != nil {
			options = append(options, dtls.WithSupportedProtocols(test.offered...))
		}
		c, err := s.dialDTLS(s.udp[0], nil, options...)
		if err != nil {
			t.Fatalf("%v: %v", test.offered, err)
		}
		state, _ := c.ConnectionState()
		if state.NegotiatedProtocol != test.want {
			t.Errorf("%v: got %q", test.offered, state.NegotiatedProtocol)
		}
		s.mustAsk(c)
	}
}

func TestDTLSSuites(t *testing.T) {
	pair := rsaCertificate(t)
	withRSA := newSite(t, streamsConfig{Certificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if len(h.CipherSuites) == 0 {
			return nil, errors.New("no cipher suites")
		}
		return pair, nil
	}})
	withECDSA := newSite(t, streamsConfig{})
	for _, id := range []dtls.CipherSuiteID{
		dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		dtls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, dtls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA,
		dtls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, dtls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		dtls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256, dtls.TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA,
	} {
		s, name := withECDSA, dtls.CipherSuiteName(id)
		if bytes.Contains([]byte(name), []byte("_RSA_")) {
			s = withRSA
		}
		c, err := s.dialDTLS(s.udp[0], nil, dtls.WithCipherSuites(id), dtls.WithExtendedMasterSecret(dtls.RequireExtendedMasterSecret))
		if aead := slices.Contains(cipherSuites, id); aead != (err == nil) {
			t.Errorf("%s: %v", name, err)
		} else if aead {
			s.mustAsk(c)
		}
	}
}

// TestEmptyRecords is SECURITY case 2: records with nothing in them end the association.
func TestEmptyRecords(t *testing.T) {
	s := newSite(t, streamsConfig{})
	c, err := s.dialDTLS(s.udp[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mustAsk(c)
	for range 10_000 {
		if _, err := c.Write(nil); err != nil {
			break
		}
	}
	until(t, "it is closed", func() bool { return s.stats().Open == 0 })
	if err := closed(c, patience); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	next, err := s.dialDTLS(s.udp[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mustAsk(next)
}

func TestNoDTLS(t *testing.T) {
	s := newSite(t, streamsConfig{TCP: true})
	c := udpSocket(t)
	_, _ = c.WriteTo(datagramHello(t), net.UDPAddrFromAddrPort(s.udp[0]))
	_, _ = c.WriteTo(question(1), net.UDPAddrFromAddrPort(s.udp[0]))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 100)
	if n, _, err := c.ReadFrom(b); err != nil || !bytes.Equal(b[:n], question(1)) {
		t.Errorf("got %x %v", b[:n], err)
	}
	if got := s.stats(); got.Accepted != 0 {
		t.Errorf("counted %+v", got)
	}
}

// record is a DTLS record.
func record(kind byte, epoch byte, body []byte) []byte {
	return append([]byte{kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 0, byte(len(body) >> 8), byte(len(body))}, body...)
}

// TestHandshakeBytes bounds what package dtls is given to keep, before the handshake is done and behind it.
func TestHandshakeBytes(t *testing.T) {
	s := newSite(t, streamsConfig{})
	c, err := s.dialDTLS(s.udp[0], nil)
	if err != nil {
		t.Fatal(err)
	}
	s.mustAsk(c)
	var a *association
	s.dtls.mu.Lock()
	for _, a = range s.dtls.tuples {
	}
	s.dtls.mu.Unlock()
	left := func() int {
		a.link.mu.Lock()
		defer a.link.mu.Unlock()
		return a.link.budget
	}
	before := left()
	fragment := record(22, 1, make([]byte, 4000))
	for range 100 {
		a.link.push(fragment)
	}
	for range 100 {
		a.link.push(append(record(recordApplication, 1, []byte("x")), fragment...))
	}
	if n := left(); n < 0 || n >= len(fragment) || before > controlBudget {
		t.Errorf("%d bytes are left of %d", n, before)
	}
	s.mustAsk(c) // data costs nothing
}

// TestLastWordsFitIn has the reader behind: data is dropped, and the record that may say that the client is gone is not.
func TestLastWordsFitIn(t *testing.T) {
	l := newLink(relay.Source{}, &hello0, new(guard))
	l.settle()
	for range 2 * maxQueued {
		l.push(record(recordApplication, 1, make([]byte, 100)))
	}
	if n := len(l.queue); n != maxQueued {
		t.Errorf("%d are queued", n)
	}
	goodbye := record(21, 1, make([]byte, 26))
	for range 2 * moreQueued {
		l.push(goodbye)
	}
	if n := len(l.queue); n != maxQueued+moreQueued || !bytes.Equal(l.queue[n-1].b, goodbye) {
		t.Errorf("%d are queued", n)
	}
}

func TestControlBytes(t *testing.T) {
	data, control := record(recordApplication, 1, make([]byte, 700)), record(22, 1, make([]byte, 300))
	for _, test := range []struct {
		b    []byte
		want int
	}{
		{nil, 0}, {data, 0}, {control, 313}, {slices.Concat(data, control, data, control), 626},
		{data[:10], 10}, {control[:50], 50}, {append(bytes.Clone(data), 1, 2, 3), 3}, {record(21, 0, []byte{1, 0}), 15},
	} {
		if got := controlBytes(test.b); got != test.want {
			t.Errorf("%.20x: got %d, want %d", test.b, got, test.want)
		}
	}
}
