package turnsrv

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/webguard"
)

// greeting is what the web server of these tests says to everything.
const greeting = "hello, "

// newShared serves TURN at its first TCP port, TURN and HTTP at its second.
func newShared(t *testing.T, cfg streamsConfig) *site {
	t.Helper()
	inlet := webguard.NewInlet()
	g, err := webguard.New(webguard.Config{
		Key: "test", Listener: inlet, HeaderTimeout: patience / 5,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, greeting+r.URL.Path) }),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	cfg.HTTP = inlet.Offer
	s := newSite(t, cfg)
	t.Cleanup(func() {
		s.end()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// get makes one request on c, in pieces of so many bytes.
func get(c net.Conn, path string, pieces int) error {
	_ = c.SetDeadline(time.Now().Add(patience))
	for b := []byte("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); len(b) > 0; {
		n := min(pieces, len(b))
		if _, err := c.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && string(body) != greeting+path {
		err = errors.New("not an answer of the web server: " + string(body))
	}
	return err
}

// TestSharedPort has every ALPN that clients send, and none, and both protocols behind each.
func TestSharedPort(t *testing.T) {
	s := newShared(t, streamsConfig{})
	shared, alone := s.tcp[1], s.tcp[0]
	for _, c := range []struct {
		to         netip.AddrPort
		offered    string
		negotiated string
		turn, http bool
	}{
		{shared, "", "", true, true},
		{shared, "stun.turn", "stun.turn", true, false},
		{shared, "stun.nat-discovery", "stun.nat-discovery", true, false},
		{shared, "http/1.1", "http/1.1", false, true},
		{shared, "h2 http/1.1", "http/1.1", false, true}, // browsers, curl
		{shared, "h2", "", true, true},
		{shared, "http/1.1 stun.turn", "stun.turn", true, false},
		{shared, "acme-tls/1", "acme-tls/1", false, false},
		{shared, "acme-tls/1 http/1.1", "http/1.1", false, true},
		{alone, "", "", true, false},
		{alone, "h2 http/1.1", "", true, false},
		{alone, "stun.turn http/1.1", "stun.turn", true, false},
		{alone, "acme-tls/1", "acme-tls/1", false, false},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			dial := func() *tls.Conn {
				t.Helper()
				conn, err := s.dialTLS(c.to, "", &tls.Config{NextProtos: strings.Fields(c.offered), MinVersion: version, MaxVersion: version})
				if err != nil {
					t.Fatalf("%q: %v", c.offered, err)
				}
				if got := conn.ConnectionState().NegotiatedProtocol; got != c.negotiated {
					t.Errorf("offered %q, got %q", c.offered, got)
				}
				return conn
			}
			if err := ask(dial(), 1); (err == nil) != c.turn {
				t.Errorf("%v %q: TURN: %v", c.to == shared, c.offered, err)
			}
			for _, pieces := range []int{1, 1000} {
				if err := get(dial(), "/some/path", pieces); (err == nil) != c.http {
					t.Errorf("%v %q: HTTP in pieces of %d: %v", c.to == shared, c.offered, pieces, err)
				}
			}
		}
	}
}

// TestSpoken knows every method from its first bytes, and takes nothing else for HTTP.
func TestSpoken(t *testing.T) {
	for text, want := range map[string]language{
		"": tooLittle, "G": tooLittle, "GET": tooLittle, "GET ": ofHTTP, "GET / HTTP/1.1": ofHTTP, "OPTIONS ": ofHTTP, "OPTIONS": tooLittle,
		"P": tooLittle, "PO": tooLittle, "PRI * ": ofHTTP, "PR": tooLittle, "PROXY ": ofTURN, "get ": ofTURN, "GETX": ofTURN, "GE\x00": ofTURN,
		"\x00": ofTURN, "\x01\x01": ofTURN, "\x40\x00\x00\x04": ofTURN, "\x47\x45\x00\x04": ofTURN, "\x16": ofTURN, "\r\n": ofTURN,
		"FROBNICATE ": ofTURN,
	} {
		if got := spoken([]byte(text)); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	for _, m := range methods {
		if len(m) > longestMethod {
			t.Errorf("%q is longer than is looked at", m)
		}
	}
}

// TestSharedMixes has clients change their mind, and ones that were read ahead for lose nothing.
func TestSharedMixes(t *testing.T) {
	s := newShared(t, streamsConfig{})
	dial := func(alpn ...string) *tls.Conn {
		t.Helper()
		c, err := s.dialTLS(s.tcp[1], "", &tls.Config{NextProtos: alpn})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	gone := func(what string, c net.Conn) {
		t.Helper()
		_ = c.SetDeadline(time.Now().Add(patience))
		if _, err := io.Copy(io.Discard, c); errors.Is(err, errTimeout(err)) {
			t.Errorf("%s: the connection stays", what)
		}
	}
	// HTTP, then TURN, then a request again: the connection is one of HTTP and nothing else.
	c := dial()
	if err := get(c, "/a", 1000); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write(question(7)); err != nil {
		t.Fatal(err)
	}
	if err := get(c, "/b", 1000); err == nil {
		t.Error("TURN among HTTP, and it goes on")
	}
	gone("HTTP, then TURN", c)
	// TURN, then HTTP.
	c = dial()
	s.mustAsk(c)
	if err := get(c, "/a", 1000); err == nil {
		t.Error("HTTP among TURN is answered")
	}
	gone("TURN, then HTTP", c)
	// Several messages at once, of which the first byte decides.
	c = dial()
	if _, err := c.Write(append(question(1), question(2)...)); err != nil {
		t.Fatal(err)
	}
	want := append(question(1), question(2)...)
	got := make([]byte, len(want))
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Errorf("two messages in one record: %q %v", got, err)
	}
	// Byte by byte.
	c = dial()
	for _, b := range question(3) {
		if _, err := c.Write([]byte{b}); err != nil {
			t.Fatal(err)
		}
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.ReadFull(c, got[:20]); err != nil || !bytes.Equal(got[:20], question(3)) {
		t.Errorf("byte by byte: %q %v", got[:20], err)
	}
	// Pipelined requests.
	c = dial("http/1.1")
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(c); err != nil || !strings.Contains(string(all), greeting+"/1") || !strings.HasSuffix(string(all), greeting+"/2") {
		t.Errorf("pipelined: %q %v", all, err)
	}
	// Half a header.
	c = dial()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost:"); err != nil {
		t.Fatal(err)
	}
	gone("half a header", c)
	// HTTP/2 by prior knowledge.
	c = dial()
	if _, err := io.WriteString(c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	gone("HTTP/2", c)
	s.mustAsk(dial())
}

// errTimeout is err if it is a deadline that has passed.
func errTimeout(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return err
	}
	return errors.New("another one")
}

// TestSharedFirstWord lets nobody wait without end before his first byte.
func TestSharedFirstWord(t *testing.T) {
	s := newShared(t, streamsConfig{FirstWord: 100 * time.Millisecond})
	for _, first := range []string{"", "G", "OPTION"} {
		c, err := s.dialTLS(s.tcp[1], "", nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, first); err != nil {
			t.Fatal(err)
		}
		s.mustBeReset(c, patience)
	}
	until(t, "they are counted as silent", func() bool { return s.stats().Silent == 3 })
	until(t, "their places are free", func() bool { return s.stats().Open == 0 })
	if got := s.stats(); got.HTTP != 0 {
		t.Errorf("%+v", got)
	}
}

// TestSharedPlaces has those who speak HTTP take no place from TURN.
func TestSharedPlaces(t *testing.T) {
	s := newShared(t, streamsConfig{})
	var all []*tls.Conn
	for range 30 {
		c, err := s.dialTLS(s.tcp[1], "", &tls.Config{NextProtos: []string{"http/1.1"}})
		if err != nil {
			t.Fatal(err)
		}
		if err := get(c, "/", 1000); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	until(t, "no place is theirs", func() bool { return s.stats().Open == 0 })
	for i, c := range all {
		if err := get(c, "/", 1000); err != nil {
			t.Errorf("connection %d: %v", i, err)
		}
	}
	if got := s.stats(); got.HTTP != 30 || got.Displaced != 0 || got.Failed()+got.Refused() != 0 {
		t.Errorf("%+v", got)
	}
}

// TestSharedSwitchedOff has HTTP end as at other ports once nothing is served.
func TestSharedSwitchedOff(t *testing.T) {
	s := newShared(t, streamsConfig{})
	for _, on := range []bool{false, true, false} {
		s.serveHTTP(on)
		for _, alpn := range []string{"", "http/1.1"} {
			c, err := s.dialTLS(s.tcp[1], "", &tls.Config{NextProtos: strings.Fields(alpn)})
			if err != nil {
				t.Fatal(err)
			}
			if got := c.ConnectionState().NegotiatedProtocol == "http/1.1"; got != (on && alpn != "") {
				t.Errorf("on %v, %q: negotiated %v", on, alpn, got)
			}
			if err := get(c, "/", 1000); (err == nil) != on {
				t.Errorf("on %v, %q: %v", on, alpn, err)
			}
		}
	}
}

// TestSharedEnd does not wait for those who have said nothing, nor for somebody to take a client.
func TestSharedEnd(t *testing.T) {
	s := newSite(t, streamsConfig{HTTP: webguard.NewInlet().Offer}) // nobody accepts there
	for _, alpn := range []string{"", "http/1.1"} {
		c, err := s.dialTLS(s.tcp[1], "", &tls.Config{NextProtos: strings.Fields(alpn)})
		if err != nil {
			t.Fatal(err)
		}
		if alpn != "" {
			if _, err := io.WriteString(c, "GET / HTTP/1.1\r\n"); err != nil {
				t.Fatal(err)
			}
		}
	}
	until(t, "both have a place", func() bool { return s.stats().Open == 2 })
	s.end()
	if got := s.stats(); got.Open != 0 {
		t.Errorf("%+v", got)
	}
}
