package relay

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

func selfSigned(t testing.TB) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// streamServer accepts on loopback and serves TCP or TLS.
type streamServer struct {
	*world
	transport Transport
	addr      netip.AddrPort
	cert      tls.Certificate
	errs      chan error
}

func (w *world) streams(tr Transport) *streamServer { w.Helper(); return w.streamsOn(tr, loopback4) }

func (w *world) streamsOn(tr Transport, ip netip.Addr) *streamServer {
	w.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(ip, 0).String())
	if err != nil {
		w.Fatal(err)
	}
	s := &streamServer{world: w, transport: tr, addr: l.Addr().(*net.TCPAddr).AddrPort(), errs: make(chan error, 64)}
	if tr == TLS {
		s.cert = selfSigned(w)
	}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Add(1)
			go func() { defer wg.Done(); s.errs <- s.serve(c.(*net.TCPConn)) }()
		}
	}()
	w.Cleanup(func() { w.stop(); _ = l.Close(); wg.Wait() })
	return s
}

func (s *streamServer) serve(tcp *net.TCPConn) error {
	t := Tuple{s.transport, tcp.RemoteAddr().(*net.TCPAddr).AddrPort(), s.addr}
	if s.transport == TCP {
		return s.ServeStream(context.Background(), tcp, t, nil)
	}
	c, err := s.NonBlocking(tcp)
	if err != nil {
		return err
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Peek(3); err != nil {
		return err
	}
	tc := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{s.cert}, DynamicRecordSizingDisabled: true})
	if err := tc.Handshake(); err != nil {
		_ = c.Close()
		return err
	}
	return s.ServeStream(context.Background(), tc, t, nil)
}

type streamClient struct {
	testing.TB
	net.Conn
	tcp *net.TCPConn
	src Source
}

func (s *streamServer) dial() *streamClient {
	s.Helper()
	c, err := net.Dial("tcp", s.addr.String())
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	sc := &streamClient{TB: s, Conn: c, tcp: c.(*net.TCPConn)}
	if s.transport == TLS {
		sc.Conn = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
	}
	return sc
}

// client dials and lets the server see a message.
func (s *streamServer) client() *streamClient {
	s.Helper()
	c := s.dial()
	msg := binding()
	c.put(msg)
	c.expect(msg)
	for {
		select {
		case c.src = <-s.control.seen:
			if c.src.Client == c.LocalAddr().(*net.TCPAddr).AddrPort() {
				return c
			}
		case <-time.After(patience):
			s.Fatal("the handler was not called")
		}
	}
}

func (c *streamClient) put(b []byte) {
	c.Helper()
	if _, err := c.Write(b); err != nil {
		c.Fatal(err)
	}
}

func (c *streamClient) frame() []byte {
	c.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 4)
	if _, err := io.ReadFull(c, b); err != nil {
		c.Fatal(err)
	}
	n, err := stunmsg.FrameSize(b)
	if err != nil {
		c.Fatal(err)
	}
	frame := make([]byte, n)
	copy(frame, b)
	b = frame
	if _, err := io.ReadFull(c, b[4:]); err != nil {
		c.Fatal(err)
	}
	return b
}

func (c *streamClient) expect(want []byte) {
	c.Helper()
	if got := c.frame(); !bytes.Equal(got, want) {
		c.Fatalf("got %d bytes %.40x, want %d bytes %.40x", len(got), got, len(want), want)
	}
}

// closed checks that the server closes the connection.
func (c *streamClient) closed() {
	c.Helper()
	_ = c.SetReadDeadline(time.Now().Add(patience))
	_, err := io.Copy(io.Discard, c)
	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		c.Fatal("the connection was not closed")
	}
}

func padded(b []byte) []byte { return append(b, make([]byte, (4-len(b)%4)%4)...) }

func bothStreams(t *testing.T, f func(t *testing.T, s *streamServer), change ...func(*Config)) {
	t.Run("TCP", func(t *testing.T) { f(t, newWorld(t, change...).streams(TCP)) })
	t.Run("TLS", func(t *testing.T) { f(t, newWorld(t, change...).streams(TLS)) })
}

func TestStream(t *testing.T) {
	bothStreams(t, func(t *testing.T, s *streamServer) {
		c, peer := s.client(), newEndpoint(t, loopback4)
		c.src.MarkAuthenticated()
		r, err := s.Open(c.src, OpenOptions{Family: 4})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open(c.src, OpenOptions{Family: 4}); !errors.Is(err, ErrInUse) {
			t.Errorf("a second relay: %v", err)
		}
		r.permit(loopback4, ScopeAny)
		r.bind(0x4000, peer.addr, ScopeAny)
		other := newEndpoint(t, loopback4)
		sizes := []int{0, 1, 2, 3, 4, 5, 1199, 1200, 1200, 1200, 9000, 65507}
		var all []byte
		for i, n := range sizes {
			all = append(all, padded(channelData(0x4000, bytes.Repeat([]byte{byte(i)}, n)))...)
		}
		msg := binding()
		all = append(all, sendIndication(other.addr, []byte("hello"))...)
		all = append(all, msg...)
		// In one piece, then byte by byte.
		c.put(all)
		for i, n := range sizes {
			peer.expect(r.Addr(), bytes.Repeat([]byte{byte(i)}, n))
		}
		other.expect(r.Addr(), []byte("hello"))
		c.expect(msg)
		small := all[:48]
		for i := range small {
			c.put(small[i : i+1])
		}
		for i, n := range sizes[:6] {
			peer.expect(r.Addr(), bytes.Repeat([]byte{byte(i)}, n))
		}
		for i, n := range sizes {
			peer.to(r.Addr(), bytes.Repeat([]byte{byte(i)}, n))
			c.expect(padded(channelData(0x4000, bytes.Repeat([]byte{byte(i)}, n))))
		}
		other.to(r.Addr(), []byte("hallo"))
		if from, b := dataOf(t, c.frame()); from != other.addr || string(b) != "hallo" {
			t.Errorf("%q from %s", b, from)
		}
		counted(t, r, func(s Stats) bool {
			return s.Up.Dropped+s.Down.Dropped == 0 && s.Up.Datagrams == 19 && s.Down.Datagrams == 13
		})
	})
}

func TestStreamEnds(t *testing.T) {
	gone := make(chan string, 10)
	bothStreams(t, func(t *testing.T, s *streamServer) {
		c := s.client()
		r, err := s.Open(c.src, OpenOptions{Family: 4})
		if err != nil {
			t.Fatal(err)
		}
		if s.transport == TLS {
			_ = c.tcp.CloseWrite()
		}
		_ = c.Close()
		if err := <-s.errs; s.transport == TCP && err != nil {
			t.Errorf("ServeStream: %v", err)
		}
		if cause := <-gone; cause == "" {
			t.Error("no cause")
		}
		if s.RelayAt(r.Addr()) != nil {
			t.Error("the relay outlives its stream")
		}
		if _, err := s.Open(c.src, OpenOptions{Family: 4}); !errors.Is(err, ErrClosed) {
			t.Errorf("Open after the end: %v", err)
		}
		c.src.Send(binding()) // does nothing
	}, func(c *Config) { c.OnClientGone = func(_ *Relay, cause string) { gone <- cause } })
}

func TestStreamGarbage(t *testing.T) {
	cookie := "\x21\x12\xa4\x42"
	for name, b := range map[string]string{
		"http":             "POST / HTTP/1.1\r\n\r\n",
		"zeros":            strings.Repeat("\x00", 32),
		"endless STUN":     "\x00\x01\xff\xec" + cookie + strings.Repeat("x", 30),
		"endless data":     "\x40\x00\xff\xff" + strings.Repeat("x", 30),
		"data near 64 KiB": "\x40\x00\xff\xfc" + strings.Repeat("x", 30),
		"large and early":  "\x40\x00\x20\x00" + strings.Repeat("x", 30),
		"beyond channels":  "\x80\x00\x00\x04xxxx",
		"odd length":       "\x00\x01\x00\x03" + cookie + strings.Repeat("x", 30),
		"no cookie":        "\x00\x01\x00\x00" + strings.Repeat("x", 16),
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			bothStreams(t, func(t *testing.T, s *streamServer) {
				c := s.client()
				c.put([]byte(b))
				c.closed()
				if err := <-s.errs; !errors.Is(err, stunmsg.ErrFrame) {
					t.Errorf("ServeStream: %v", err)
				}
				s.client() // others are served
			})
		})
	}
}

func TestStreamDeadlines(t *testing.T) {
	for _, c := range []struct {
		name, cause string
		change      func(*Config)
		behave      func(*streamServer, *streamClient)
	}{
		{"authenticated", "no authenticated request came within", func(c *Config) { c.AuthTimeout = 50 * time.Millisecond }, nil},
		{"idle", "the client was silent for", func(c *Config) { c.IdleTimeout = 50 * time.Millisecond }, func(_ *streamServer, c *streamClient) {
			c.src.MarkAuthenticated()
		}},
		{"frame", "in the middle of a frame", func(c *Config) { c.FrameTimeout, c.AwayTimeout = 50*time.Millisecond, 100*time.Millisecond }, func(s *streamServer, c *streamClient) {
			c.src.MarkAuthenticated()
			if _, err := s.Open(c.src, OpenOptions{Family: 4}); err != nil {
				c.Fatal(err)
			}
			msg := channelData(0x4000, make([]byte, 40))
			for _, b := range msg { // never whole in time
				if _, err := c.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			bothStreams(t, func(t *testing.T, s *streamServer) {
				cl := s.client()
				if c.behave != nil {
					c.behave(s, cl)
				}
				cl.closed()
				if err := <-s.errs; err == nil || !strings.Contains(err.Error(), c.cause) {
					t.Errorf("ServeStream: %v, want %q", err, c.cause)
				}
			}, c.change)
		})
	}
}

func TestStreamKeptWithRelay(t *testing.T) {
	bothStreams(t, func(t *testing.T, s *streamServer) {
		c := s.client()
		c.src.MarkAuthenticated()
		if _, err := s.Open(c.src, OpenOptions{Family: 4}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(150 * time.Millisecond) // several times each deadline
		msg := binding()
		c.put(msg)
		c.expect(msg)
	}, func(c *Config) {
		c.AuthTimeout, c.IdleTimeout, c.FrameTimeout = 30*time.Millisecond, 30*time.Millisecond, 30*time.Millisecond
	})
}

// A client that does not read loses its data and in the end its connection, and slows down nobody.
func TestStreamBackpressure(t *testing.T) {
	bothStreams(t, func(t *testing.T, s *streamServer) {
		stuck, peer := s.client(), newEndpoint(t, loopback4)
		r, err := s.Open(stuck.src, OpenOptions{Family: 4})
		if err != nil {
			t.Fatal(err)
		}
		r.permit(loopback4, ScopeAny)
		fine, friend := s.world.client(s.udp4), newEndpoint(t, loopback4)
		f := fine.open(OpenOptions{})
		f.permit(loopback4, ScopeAny)
		f.bind(0x4000, friend.addr, ScopeAny)
		data := make([]byte, 1200)
		for i := 0; r.Stats().Down.Dropped < 100; i++ {
			peer.to(r.Addr(), data)
			if i%50 == 0 {
				fine.send(channelData(0x4000, []byte{byte(i)}))
				friend.expect(f.Addr(), []byte{byte(i)})
			}
			if i > 200_000 {
				t.Fatal("nothing is ever dropped")
			}
		}
		// There is always more: what the kernel has taken in the end is nobody's business.
		for begun := time.Now(); ; peer.to(r.Addr(), data) {
			select {
			case err := <-s.errs:
				if err == nil {
					t.Error("the stream ended without a reason")
				}
			case <-time.After(time.Millisecond):
				if time.Since(begun) < patience {
					continue
				}
				t.Error("the stream is not closed")
			}
			break
		}
		within(t, "the relay's end", func() bool { return s.RelayAt(r.Addr()) == nil })
	}, func(c *Config) { c.WriteTimeout, c.AwayTimeout = 100*time.Millisecond, 300*time.Millisecond })
}

// A client that reads late gets whole frames in order.
func TestStreamBacklog(t *testing.T) {
	bothStreams(t, func(t *testing.T, s *streamServer) {
		c, peer := s.client(), newEndpoint(t, loopback4)
		r, err := s.Open(c.src, OpenOptions{Family: 4})
		if err != nil {
			t.Fatal(err)
		}
		r.permit(loopback4, ScopeAny)
		r.bind(0x4000, peer.addr, ScopeAny)
		sent := 0
		for ; r.Stats().Down.Dropped == 0 && sent < 200_000; sent++ {
			peer.to(r.Addr(), append([]byte{byte(sent >> 16), byte(sent >> 8), byte(sent)}, make([]byte, 997)...))
			if sent%20 == 0 { // so that the socket's buffer is not what drops
				within(t, "the count", func() bool {
					d := r.Stats().Down
					return d.Datagrams+d.Dropped == uint64(sent)+1
				})
			}
		}
		last := -1
		want := r.Stats().Down.Datagrams
		for range want {
			b := c.frame()
			n := int(b[4])<<16 | int(b[5])<<8 | int(b[6])
			if n <= last || len(b) != 1004 {
				t.Fatalf("frame %d of %d bytes after %d", n, len(b), last)
			}
			last = n
		}
	}, func(c *Config) { c.WriteTimeout, c.AwayTimeout, c.IdleTimeout = time.Second, time.Second, time.Hour })
}

func TestServeStreamRefusesStrangers(t *testing.T) {
	w := newWorld(t)
	a, b := net.Pipe()
	defer b.Close()
	if err := w.ServeStream(context.Background(), a, Tuple{}, nil); err == nil {
		t.Error("a pipe was served")
	}
}

func TestServeStreamContext(t *testing.T) {
	bothStreams(t, func(t *testing.T, s *streamServer) {
		c := s.client()
		s.stop()
		c.closed()
		if err := <-s.errs; err != nil {
			t.Errorf("ServeStream: %v", err)
		}
	})
}

// ChannelData of a number that is not bound, of RFC 5766's range too, is dropped and counted; the stream goes on.
func TestUnboundChannelsCloseNoStream(t *testing.T) {
	bothStreams(t, func(t *testing.T, s *streamServer) {
		c, peer := s.client(), newEndpoint(t, loopback4)
		send := func() (n int) {
			for _, number := range []uint16{0x4000, 0x4fff, 0x5000, 0x6abc, 0x7fff} {
				for _, size := range []int{0, 1, 1200, 4000} {
					c.put(padded(channelData(number, make([]byte, size))))
					n++
				}
			}
			msg := binding()
			c.put(msg)
			c.expect(msg)
			return n
		}
		send() // before there is a relay
		c.src.MarkAuthenticated()
		r, err := s.Open(c.src, OpenOptions{Family: 4})
		if err != nil {
			t.Fatal(err)
		}
		n := uint64(send())
		c.put(padded(channelData(0x7fff, make([]byte, 65000))))
		counted(t, r, func(s Stats) bool { return s.Up.Drops[NoChannel] == n+1 })
		r.bind(0x7fff, peer.addr, ScopeAny)
		c.put(padded(channelData(0x7fff, []byte("bound"))))
		peer.expect(r.Addr(), []byte("bound"))
		peer.to(r.Addr(), []byte("and back"))
		c.expect(padded(channelData(0x7fff, []byte("and back"))))
	})
}
