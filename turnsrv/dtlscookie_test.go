package turnsrv

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// withCookie is the second ClientHello that a client sends after its first one.
func withCookie(first, cookie []byte) []byte {
	b := bytes.Clone(first[:recordHeader])
	f, _, _ := cutFragment(first[recordHeader:])
	fixed, _, _ := cutHello(f.body)
	f.body = append(append(append(bytes.Clone(fixed), byte(len(cookie))), cookie...), f.body[len(fixed)+1:]...)
	f.length, f.sequence = len(f.body), 1
	b = f.append(b)
	putUint48(b[5:], 1)
	binary.BigEndian.PutUint16(b[11:], uint16(len(b)-recordHeader))
	return b
}

// halfDTLS sends a ClientHello and the one with the cookie, and goes no further.
func (s *site) halfDTLS(pc *net.UDPConn, hello []byte) {
	s.Helper()
	to := net.UDPAddrFromAddrPort(s.udp[0])
	if _, err := pc.WriteTo(hello, to); err != nil {
		s.Fatal(err)
	}
	_ = pc.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 100)
	n, _, err := pc.ReadFrom(b)
	if err != nil || !isVerifyRequest(b[:n]) {
		s.Fatalf("got %x, %v", b[:n], err)
	}
	if n >= len(hello) {
		s.Errorf("%d bytes are answered with %d", len(hello), n)
	}
	if _, err := pc.WriteTo(withCookie(hello, b[n-cookieLen:n]), to); err != nil {
		s.Fatal(err)
	}
}

// inFragments splits the handshake messages in a datagram of one record into fragments, each in a record of its own.
// Records are numbered from the datagram's number on.
func inFragments(b []byte, size int) (records [][]byte) {
	f, _, _ := cutFragment(b[recordHeader:])
	for at := 0; at < len(f.body); at += size {
		part := f
		part.offset, part.body = at, f.body[at:min(at+size, len(f.body))]
		r := part.append(bytes.Clone(b[:recordHeader]))
		putUint48(r[5:], sequenceOf(b)+uint64(len(records)))
		binary.BigEndian.PutUint16(r[11:], uint16(len(r)-recordHeader))
		records = append(records, r)
	}
	return records
}

// TestSecondHelloAsTheFirst takes the cookie out of a hello in one piece, and out of fragments of every size.
func TestSecondHelloAsTheFirst(t *testing.T) {
	first := datagramHello(t)
	second := withCookie(first, bytes.Repeat([]byte{7}, cookieLen))
	whole, _, _ := cutFragment(first[recordHeader:])
	for size := 36 + cookieLen; size <= len(second); size++ {
		var got fragment
		for i, r := range inFragments(second, size) {
			one := withoutCookie(r)
			record, rest, ok := cutRecord(one)
			if !ok || len(rest) > 0 {
				t.Fatalf("fragments of %d: %x", size, one)
			}
			f, rest, ok := cutFragment(record[recordHeader:])
			if !ok || len(rest) > 0 || f.sequence != 0 || f.offset != len(got.body) || sequenceOf(one) != 2*(1+uint64(i)) {
				t.Fatalf("fragments of %d, number %d: %+v", size, i, f)
			}
			f.body = append(got.body, f.body...)
			got = f
		}
		if got.length != whole.length || !bytes.Equal(got.body, whole.body) {
			t.Fatalf("fragments of %d: got %x, want %x", size, got.body, whole.body)
		}
	}
	// All fragments in one datagram, and one behind a record that is none of it.
	if got := withoutCookie(bytes.Join(inFragments(second, 100), nil)); len(got) == 0 || len(got) >= len(second)+100 {
		t.Errorf("got %x", got)
	}
	for what, b := range map[string][]byte{"nothing": nil, "a first hello": first, "a cut one": second[:len(second)-1],
		"data": record(recordApplication, 1, second), "an alert": record(21, 0, []byte{1, 0})} {
		if got := withoutCookie(b); len(got) != 0 {
			t.Errorf("%s: %x", what, got)
		}
	}
}

func TestRenumber(t *testing.T) {
	first, secret := record(22, 0, []byte{1, 2, 3}), record(22, 1, []byte{4, 5})
	putUint48(first[5:], 1<<40)
	b := append(bytes.Clone(first), secret...)
	renumber(b)
	if got := sequenceOf(b); got != 1<<41+1 {
		t.Errorf("got %x", got)
	}
	if !bytes.Equal(b[len(first):], secret) || !bytes.Equal(b[recordHeader:len(first)], first[recordHeader:]) {
		t.Errorf("changed too much: %x", b)
	}
	for n := range len(b) {
		renumber(b[:n])
	}
}

// TestCookieIsBound has a cookie hold for one client's address, one listener and one hello, and for a minute or two.
func TestCookieIsBound(t *testing.T) {
	c := newCookies()
	now := time.Unix(59, 0)
	c.now = func() time.Time { return now }
	src := relay.Source{Tuple: relay.Tuple{Client: netip.MustParseAddrPort("192.0.2.1:5000"), Server: netip.MustParseAddrPort("192.0.2.9:3478")}}
	first := datagramHello(t)
	h, ok := parseHello(first)
	if !ok || h.sequence != 0 || len(h.cookie) != 0 {
		t.Fatalf("parsed %+v", h)
	}
	var cookie [cookieLen]byte
	c.macs.Get().(*cookieMAC).bake(cookie[:], src, &h, c.period())
	check := func(what string, want bool, c *cookies, src relay.Source, datagram []byte) {
		t.Helper()
		h, ok := parseHello(datagram)
		if !ok || h.sequence != 1 {
			t.Fatalf("%s: parsed %+v", what, h)
		}
		if got := c.valid(src, &h); got != want {
			t.Errorf("%s: %t", what, got)
		}
	}
	second := withCookie(first, cookie[:])
	check("as it was given", true, c, src, second)
	check("the first of several fragments", true, c, src, inFragments(second, 80)[0])
	for what, change := range map[string]func(*relay.Source){
		"another port":      func(s *relay.Source) { s.Client = netip.AddrPortFrom(s.Client.Addr(), 5001) },
		"another address":   func(s *relay.Source) { s.Client = netip.MustParseAddrPort("192.0.2.2:5000") },
		"another listener":  func(s *relay.Source) { s.Server = netip.MustParseAddrPort("192.0.2.9:5349") },
		"one behind others": func(s *relay.Source) { s.Client, s.Server = s.Server, s.Client },
	} {
		other := src
		change(&other)
		check(what, false, c, other, second)
	}
	fixed := len(h.fixed)
	for i := range second[recordHeader+handshakeHeader:][:fixed+1+cookieLen] {
		if i == sessionAt || i == fixed { // lengths: it would be another hello altogether
			continue
		}
		b := bytes.Clone(second)
		b[recordHeader+handshakeHeader+i] ^= 1
		check("a changed byte", false, c, src, b)
	}
	check("another process", false, newCookies(), src, second)
	check("shorter", false, c, src, withCookie(first, cookie[:cookieLen-1]))
	for at, want := range map[int64]bool{60: true, 119: true, 120: false, 59 + 256*60: false} {
		now = time.Unix(at, 0)
		check("later", want, c, src, second)
	}
}

// shredder is a client's socket that sends its ClientHellos in fragments.
type shredder struct {
	net.PacketConn
	size     int
	together bool // in one datagram
	sent     uint64
}

func (s *shredder) WriteTo(b []byte, to net.Addr) (int, error) {
	h, ok := parseHello(b)
	if !ok {
		if isPlaintext(b) {
			b = bytes.Clone(b)
			eachPlaintext(b, func(n uint64) uint64 { return n + s.sent })
		}
		return s.PacketConn.WriteTo(b, to)
	}
	b = bytes.Clone(b)
	putUint48(b[5:], h.record+s.sent)
	records := inFragments(b, s.size)
	s.sent += uint64(len(records) - 1)
	if s.together {
		records = [][]byte{bytes.Join(records, nil)}
	}
	for _, r := range records {
		if _, err := s.PacketConn.WriteTo(r, to); err != nil {
			return 0, err
		}
	}
	return len(b), nil
}

func TestHelloInFragments(t *testing.T) {
	s := newSite(t, streamsConfig{})
	for _, size := range []int{36 + cookieLen, 64, 100, 150} {
		for _, together := range []bool{false, true} {
			c, err := s.dialDTLS(s.udp[0], &shredder{PacketConn: udpSocket(t), size: size, together: together})
			if err != nil {
				t.Fatalf("fragments of %d, together %t: %v", size, together, err)
			}
			s.mustAsk(c)
		}
	}
	if got := s.stats(); got.Failed() != 0 {
		t.Errorf("counted %+v", got)
	}
}

// lossy is a client's socket that loses the datagrams with certain numbers, and sends the others twice.
type lossy struct {
	net.PacketConn
	loses    map[int]bool // of those sent and those received together
	mu       sync.Mutex
	n        int
	repeated bool
}

func (l *lossy) lost() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.n++
	return l.loses[l.n-1]
}

func (l *lossy) WriteTo(b []byte, to net.Addr) (int, error) {
	if l.lost() {
		return len(b), nil
	}
	if l.repeated {
		_, _ = l.PacketConn.WriteTo(b, to)
	}
	return l.PacketConn.WriteTo(b, to)
}

func (l *lossy) ReadFrom(b []byte) (int, net.Addr, error) {
	for {
		n, from, err := l.PacketConn.ReadFrom(b)
		if err != nil || !l.lost() {
			return n, from, err
		}
	}
}

// TestHandshakeOverLossyLines loses each of the first datagrams in turn, the answers of the server among them, and has
// all of them arrive twice.
func TestHandshakeOverLossyLines(t *testing.T) {
	s := newSite(t, streamsConfig{})
	var all sync.WaitGroup
	const datagrams = 6 // of a handshake
	for i := range datagrams + 1 {
		all.Go(func() {
			line := &lossy{PacketConn: udpSocket(t), loses: map[int]bool{i: i < datagrams}, repeated: i == datagrams}
			c, err := s.dialDTLS(s.udp[0], line)
			if err == nil {
				err = ask(c, 1)
			}
			if err != nil {
				t.Errorf("without datagram %d: %v", i, err)
			}
		})
	}
	all.Wait()
}

// TestHelloAgain has a half-open client send its second hello again, and another one begin anew on its port.
func TestHelloAgain(t *testing.T) {
	s := newSite(t, streamsConfig{HandshakeTimeout: time.Minute})
	pc := udpSocket(t)
	hello := datagramHello(t)
	for range 3 {
		s.halfDTLS(pc, hello)
		b := make([]byte, maxDatagram)
		_ = pc.SetReadDeadline(time.Now().Add(patience))
		if _, _, err := pc.ReadFrom(b); err != nil { // what comes next, the first time
			t.Fatal(err)
		}
		for err := error(nil); err == nil; _, _, err = pc.ReadFrom(b) {
			_ = pc.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		}
	}
	if got := s.stats(); got.Accepted != 1 || got.HalfOpen != 1 {
		t.Errorf("one hello made %+v", got)
	}
	s.halfDTLS(pc, datagramHello(t))
	until(t, "the new one is in the place of the old one", func() bool { got := s.stats(); return got.Accepted == 2 && got.Open == 1 })
}

func TestOnlyHelloBegins(t *testing.T) {
	hello := datagramHello(t)
	change := func(at int, to byte) []byte {
		b := bytes.Clone(hello)
		b[at] = to
		return b
	}
	for what, b := range map[string][]byte{
		"nothing": nil, "header only": hello[:recordHeader], "cut": hello[:len(hello)-1], "application data": change(0, 23),
		"TLS": change(1, 3), "epoch 1": change(4, 1), "ServerHello": change(13, 2), "a later fragment": change(21, 1),
		"record of all bits": change(11, 0xff), "fragment of all bits": change(22, 0xff), "a long session id": change(25+34, 33),
		"cut in its cookie": inFragments(withCookie(hello, make([]byte, cookieLen)), 50)[0],
	} {
		if _, ok := parseHello(b); ok {
			t.Errorf("%s is taken for a hello", what)
		}
	}
	s := newSite(t, streamsConfig{})
	c := udpSocket(t)
	for _, b := range [][]byte{change(0, 23), change(4, 1), change(13, 2), change(18, 2), hello[:40]} {
		_, _ = c.WriteTo(b, net.UDPAddrFromAddrPort(s.udp[0]))
	}
	s.halfDTLS(c, hello)
	until(t, "the hello has come", func() bool { return s.stats().Accepted == 1 })
	if got := s.stats(); got.Hellos != 1 {
		t.Errorf("counted %+v", got)
	}
}

// FuzzDatagram throws bytes at the parsers of DTLS datagrams and at a whole server.
func FuzzDatagram(f *testing.F) {
	hello := datagramHello(f)
	f.Add(hello)
	f.Add(withCookie(hello, make([]byte, cookieLen)))
	f.Add(bytes.Join(inFragments(withCookie(hello, make([]byte, cookieLen)), 60), nil))
	f.Add(record(recordApplication, 1, []byte("data")))
	f.Add(append(record(21, 0, []byte{1, 0}), hello...))
	s := newSite(f, streamsConfig{DTLSStrangers: 16, HandshakeTimeout: 100 * time.Millisecond})
	c := udpSocket(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := controlBytes(b); n < 0 || n > len(b) {
			t.Fatalf("%d of %d bytes", n, len(b))
		}
		if h, ok := parseHello(b); ok {
			if len(b) <= len(cookieMAC{}.out) {
				t.Fatalf("%d bytes are answered with %d", len(b), len(cookieMAC{}.out))
			}
			_ = h.random()
		}
		if got := withoutCookie(b); len(got) > len(b) {
			t.Fatalf("%x became %x", b, got)
		}
		offersProtocol(b)
		renumber(bytes.Clone(b))
		l := newLink(relay.Source{}, &hello0, &s.guard)
		l.push(b)
		_, _ = c.WriteTo(b, net.UDPAddrFromAddrPort(s.udp[0]))
		if open, _, _ := s.dtls.places.Size(); open > 16 {
			t.Fatalf("%d are open", open)
		}
	})
}

// hello0 is the least that newLink needs.
var hello0 = hello{cookie: make([]byte, cookieLen)}
