package turnsrv

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
)

// header makes a PROXY header of TCP.
func header(t testing.TB, version byte, from, to string, tlvs ...proxyproto.TLV) []byte {
	t.Helper()
	h := proxyproto.HeaderProxyFromAddrs(version, net.TCPAddrFromAddrPort(netip.MustParseAddrPort(from)), net.TCPAddrFromAddrPort(netip.MustParseAddrPort(to)))
	if err := h.SetTLVs(tlvs); err != nil {
		t.Fatal(err)
	}
	b, err := h.Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const localV2 = beginsV2 + "\x20\x00\x00\x00"

// headers that are in order, and the client that they are of; "": none.
func goodHeaders(t testing.TB) map[string]string {
	t.Helper()
	large := proxyproto.TLV{Type: 0xe0, Value: bytes.Repeat([]byte{7}, 4<<10-12-3)}
	return map[string]string{
		string(header(t, 1, "192.0.2.7:1234", "198.51.100.1:443")):        "192.0.2.7:1234",
		string(header(t, 1, "[2001:db8::7]:1234", "[2001:db8::1]:443")):   "[2001:db8::7]:1234",
		string(header(t, 2, "192.0.2.7:1234", "198.51.100.1:443")):        "192.0.2.7:1234",
		string(header(t, 2, "[2001:db8::7]:1234", "[2001:db8::1]:443")):   "[2001:db8::7]:1234",
		string(header(t, 2, "192.0.2.7:1234", "198.51.100.1:443", large)): "192.0.2.7:1234",
		"PROXY TCP6 ::ffff:192.0.2.7 ::1 1 2\r\n":                         "192.0.2.7:1",
		"PROXY TCP6 192.0.2.7 2001:db8::1 1 2\r\n":                        "192.0.2.7:1", // nginx
		"PROXY UNKNOWN\r\n":                             "",
		"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n": "",
		localV2: "",
		beginsV2 + "\x20\x11\x00\x0c" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00": "", // HAProxy's check
		beginsV2 + "\x21\x00\x00\x03abc":                         "",
		beginsV2 + "\x21\x31\x00\xd8" + strings.Repeat("/", 216): "",
	}
}

// headers that are none.
var badHeaders = []string{
	"PROXY TCP4 192.0.2.7 198.51.100.1 1234\r\n", "PROXY TCP4 192.0.2.7 198.51.100.1 1234 99999\r\n", "PROXY TCP4 ::1 ::2 1 2\r\n",
	"PROXY TCP4 0.0.0.0 198.51.100.1 1 2\r\n", "PROXY TCP4 224.0.0.1 198.51.100.1 1 2\r\n", "PROXY TCP6 fe80::1%eth0 ::2 1 2\r\n",
	"PROXY  TCP4 192.0.2.7 198.51.100.1 1 2\r\n", "PROXY \r\n", "PROXY " + strings.Repeat("x", 200),
	beginsV2 + "\x21\x12\x00\x0c" + "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00", // UDP
	beginsV2 + "\x21\x11\x00\x04abcd",                                                  // too short for its addresses
	beginsV2 + "\x31\x11\x00\x0c",                                                      // version 3
	beginsV2 + "\x21\x11\xff\xff",                                                      // longer than anybody's
	beginsV2 + "\x22\x11\x00\x0cabcdabcd1234",                                          // a command unheard of
}

// TestHeaders reads each header whole, and knows at every byte how much there is to come.
func TestHeaders(t *testing.T) {
	for text, want := range goodHeaders(t) {
		for n := range len(text) {
			size, err := headerSize([]byte(text[:n]))
			if err != nil || size != 0 && size <= n {
				t.Fatalf("%q: of %d bytes: %d %v", text, n, size, err)
			}
		}
		size, err := headerSize([]byte(text + "GET / HTTP/1.1\r\n\r\n"))
		if err != nil || size != len(text) {
			t.Fatalf("%q: %d %v", text, size, err)
		}
		client, _, err := parseHeader([]byte(text))
		if got := client.String(); err != nil || client.IsValid() != (want != "") || want != "" && got != want {
			t.Errorf("%q: %s %v, want %q", text, got, err, want)
		}
	}
	for _, text := range badHeaders {
		size, err := headerSize([]byte(text))
		if err == nil && size <= len(text) {
			_, _, err = parseHeader([]byte(text[:size]))
		}
		if !errors.Is(err, errHeader) && size <= len(text) {
			t.Errorf("%.60q: %v", text, err)
		}
	}
	for _, text := range []string{"GET / HTTP/1.1", "POST / HTTP", "PROXYING", "\r\n\r\nGET", "P\x00", "\x00\x01", "\x16\x03"} {
		if size, err := headerSize([]byte(text)); !errors.Is(err, errNoHeader) || size != 0 {
			t.Errorf("%q: %d %v", text, size, err)
		}
	}
}

// FuzzHeader has no bytes of a proxy, or of who plays one, panic, and takes exactly as much for the header as the library
// reads of it.
func FuzzHeader(f *testing.F) {
	for text := range goodHeaders(f) {
		f.Add([]byte(text + "GET / HTTP/1.1\r\n\r\n"))
	}
	for _, text := range badHeaders {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		size, err := headerSize(b)
		if err != nil && size != 0 || err == nil && size > longestV2 {
			t.Fatalf("%d %v", size, err)
		}
		if err != nil || size == 0 || size > len(b) {
			return
		}
		client, server, err := parseHeader(b[:size])
		switch {
		case err != nil && (!errors.Is(err, errHeader) || client.IsValid()):
			t.Fatalf("%v %v", client, err)
		case err != nil:
			return
		case client.IsValid() && (client.Addr().Is4In6() || client.Addr().IsUnspecified() || !server.IsValid()):
			t.Fatalf("%v %v", client, server)
		}
		in := bufio.NewReaderSize(bytes.NewReader(b), 8<<10)
		h, err := proxyproto.Read(in)
		if err != nil {
			return // what we take and the library does not
		}
		if rest, _ := io.ReadAll(in); len(rest) != len(b)-size {
			t.Errorf("the header has %d bytes, and the library read %d", size, len(b)-len(rest))
		}
		if from, _, ok := h.TCPAddrs(); ok && !h.Command.IsLocal() && unmapped(from) != client {
			t.Errorf("%v, and the library has %v", client, from)
		}
	})
}

// TestProxied has TURN and HTTP behind proxies on TCP and TLS: what counts is the client's own address.
func TestProxied(t *testing.T) {
	s := newShared(t, streamsConfig{})
	s.believe([]netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")})
	begin := func(text, from string, pieces int) net.Conn {
		t.Helper()
		c := s.dialTCP(s.tcp[1], from)
		for b := []byte(text); len(b) > 0; {
			n := min(pieces, len(b))
			if _, err := c.Write(b[:n]); err != nil {
				t.Fatal(err)
			}
			b = b[n:]
		}
		return c
	}
	secure := func(c net.Conn) net.Conn {
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	for text := range goodHeaders(t) {
		for _, pieces := range []int{1, 5000} {
			s.mustAsk(begin(text, "127.0.0.2", pieces))
			s.mustAsk(secure(begin(text, "127.0.0.2", pieces)))
			if err := get(secure(begin(text, "127.0.0.2", pieces)), "/", 1000); err != nil {
				t.Errorf("%.60q: %v", text, err)
			}
		}
	}
	// With what is behind it in one piece.
	c := begin(string(header(t, 2, "192.0.2.8:1", "198.51.100.1:443"))+string(question(9)), "127.0.0.2", 5000)
	got := make([]byte, 20)
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, question(9)) {
		t.Errorf("%q %v", got, err)
	}
	s.mustAsk(begin("", "127.0.0.2", 1)) // without one it is the proxy's own
	s.mustAsk(begin("", "", 1))
	if n := s.stats().Failed(); n != 0 {
		t.Errorf("%+v", s.stats())
	}
	// From elsewhere, malformed, twice.
	for text := range goodHeaders(t) {
		s.mustBeReset(begin(text, "127.0.0.3", 5000), patience)
	}
	until(t, "they are counted", func() bool { return s.stats().ForeignProxy == uint64(len(goodHeaders(t))) })
	bad := uint64(0)
	for _, text := range badHeaders {
		if strings.HasPrefix(text, beginsV2+"\x31") { // too short to tell
			continue
		}
		s.mustBeReset(begin(text, "127.0.0.2", 5000), patience)
		bad++
	}
	until(t, "they are counted", func() bool { return s.stats().MalformedProxy == bad })
	twice := string(header(t, 2, "192.0.2.7:1234", "198.51.100.1:443"))
	s.mustBeReset(begin(twice+twice, "127.0.0.2", 5000), patience)
	s.mustBeReset(begin("PROXY UNK", "127.0.0.2", 5000), 2*patience) // and never the rest
	until(t, "they are counted", func() bool { return s.stats().Silent == 1 })
	s.believe(nil)
	s.mustBeReset(begin(twice, "127.0.0.2", 5000), patience)
}

// TestProxiedLimits counts clients behind one proxy by their own addresses, and not by the proxy's.
func TestProxiedLimits(t *testing.T) {
	s := newShared(t, streamsConfig{ConnectionsPerIP: 4})
	s.believe([]netip.Prefix{netip.MustParsePrefix("127.0.0.2/32")})
	from := func(client string) net.Conn {
		t.Helper()
		c := s.dialTCP(s.tcp[0], "127.0.0.2")
		if _, err := c.Write(header(t, 2, client, "198.51.100.1:443")); err != nil {
			t.Fatal(err)
		}
		return c
	}
	for i := range 12 { // three times as many as one address may have
		s.mustAsk(from(fmt.Sprintf("192.0.2.%d:1", 1+i/4)))
	}
	fifth := from("192.0.2.1:1")
	s.mustBeReset(fifth, patience)
	until(t, "it is counted", func() bool { return s.stats().OverShare == 1 })
	s.mustAsk(from("192.0.2.9:1"))
	s.mustAsk(s.dialTCP(s.tcp[0], "127.0.0.2"))
}
