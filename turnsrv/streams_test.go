package turnsrv

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
	"github.com/crolang-p2p/crolang-aio/internal/logging/logtest"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

const patience = 5 * time.Second

// The first bytes of transaction ids that mean something to echo.
const (
	openRelay    = 200
	releaseRelay = 201
)

// echo answers each STUN message with itself and takes every client for authenticated. A message with one of the ids above
// opens or releases the client's relay first, and is not answered where that fails.
type echo struct{ plane *relay.Plane }

func (e *echo) HandleSTUN(src relay.Source, msg []byte) {
	src.MarkAuthenticated()
	switch msg[8] {
	case openRelay:
		if _, err := e.plane.Open(src, relay.OpenOptions{Family: 4}); err != nil {
			return
		}
	case releaseRelay:
		src.Relay().Close()
	}
	src.Send(msg)
}

// question is a Binding request.
func question(id byte) []byte {
	return []byte{0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42, id, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}
}

// selfSigned makes a certificate.
func selfSigned(t testing.TB, key any, public any) *tls.Certificate {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

var ecdsaPair = sync.OnceValue(func() *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	return k
})

func rsaCertificate(t testing.TB) *tls.Certificate {
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return selfSigned(t, k, k.Public())
}

// site is running streams over a running data plane.
type site struct {
	testing.TB
	*streams
	tcp, udp []netip.AddrPort
	log      *logtest.Buffer
	stop     context.CancelFunc
	ended    chan struct{}
}

// newSite serves on two TCP and two UDP ports of each address. At the second TCP port HTTP is served too if cfg has somebody
// to do it.
func newSite(t testing.TB, cfg streamsConfig, on ...string) *site {
	t.Helper()
	s := &site{TB: t, log: &logtest.Buffer{}, ended: make(chan struct{})}
	handler := &echo{}
	plane, err := relay.New(relay.Config{
		Handler: handler, IPv4: relay.Family{Bind: netip.MustParseAddr("127.0.0.1")}, PortMin: 30000, PortMax: 31999, Workers: 2,
		DTLS:         func(src relay.Source, b []byte) { s.datagram(src, b) },
		FrameTimeout: time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	handler.plane = plane
	if w, ok := cfg.Plane.(interface {
		around(streamServer) streamServer
	}); ok {
		cfg.Plane = w.around(plane)
	} else {
		cfg.Plane = plane
	}
	cfg.Logger = slog.New(slog.NewTextHandler(s.log, nil))
	if cfg.Certificate == nil {
		c := selfSigned(t, ecdsaPair(), ecdsaPair().Public())
		cfg.Certificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c, nil }
	}
	if !cfg.TCP && !cfg.TLS && !cfg.DTLS {
		cfg.TCP, cfg.TLS, cfg.DTLS = true, true, true
	}
	if s.streams, err = newStreams(cfg); err != nil {
		t.Fatal(err)
	}
	if len(on) == 0 {
		on = []string{"127.0.0.1"}
	}
	for _, ip := range on {
		for i := range 2 {
			stream := s.listen
			if i == 1 && cfg.HTTP != nil {
				stream = s.listenShared
			}
			for network, bind := range map[string]func(netip.AddrPort) (netip.AddrPort, error){"TCP": stream, "UDP": plane.ListenUDP} {
				all, err := bindEach(network, netip.AddrPortFrom(netip.MustParseAddr(ip), 0), bind)
				if err != nil {
					t.Fatal(err)
				}
				if network == "TCP" {
					s.tcp = append(s.tcp, all...)
				} else {
					s.udp = append(s.udp, all...)
				}
			}
		}
	}
	s.serveHTTP(true)
	s.start(plane)
	return s
}

// start runs the streams, and the data plane a little longer.
func (s *site) start(plane *relay.Plane) {
	ctx, stop := context.WithCancel(context.Background())
	planeCtx, stopPlane := context.WithCancel(context.Background())
	var planeEnded sync.WaitGroup
	planeEnded.Go(func() {
		if err := plane.Run(planeCtx); err != nil {
			s.Error(err)
		}
	})
	go func() {
		defer close(s.ended)
		if err := s.Run(ctx); err != nil {
			s.Error(err)
		}
		stopPlane()
		planeEnded.Wait()
	}()
	s.stop = stop
	s.Cleanup(s.end)
}

func (s *site) end() {
	s.Helper()
	s.stop()
	select {
	case <-s.ended:
	case <-time.After(patience):
		buf := make([]byte, 1<<20)
		s.Fatalf("Run does not end: %s", buf[:runtime.Stack(buf, true)])
	}
}

func (s *site) dialTCP(to netip.AddrPort, from string) *net.TCPConn {
	s.Helper()
	c, err := dialFrom(to, from)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	return c
}

func dialFrom(to netip.AddrPort, from string) (*net.TCPConn, error) {
	d := net.Dialer{Timeout: patience}
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

func (s *site) dialTLS(to netip.AddrPort, from string, cfg *tls.Config) (*tls.Conn, error) {
	s.Helper()
	if cfg == nil {
		cfg = &tls.Config{}
	}
	cfg.InsecureSkipVerify = true
	c := tls.Client(s.dialTCP(to, from), cfg)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c, c.HandshakeContext(ctx)
}

// dialDTLS does a handshake from pc, or from a socket of its own where that is nil.
func (s *site) dialDTLS(to netip.AddrPort, pc net.PacketConn, options ...dtls.ClientOption) (*dtls.Conn, error) {
	s.Helper()
	if pc == nil {
		pc = udpSocket(s)
	}
	options = append(options, dtls.WithInsecureSkipVerify(true))
	c, err := dtls.ClientWithOptions(pc, net.UDPAddrFromAddrPort(to), options...)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c, c.HandshakeContext(ctx)
}

func udpSocket(t testing.TB) *net.UDPConn {
	t.Helper()
	pc, err := net.ListenUDP("udp", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = pc.Close() })
	return pc
}

// ask sends a request on a connection and waits for the answer.
func ask(c net.Conn, id byte) error {
	want := question(id)
	if _, err := c.Write(want); err != nil {
		return err
	}
	_ = c.SetReadDeadline(time.Now().Add(patience))
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("got %x", got)
	}
	return nil
}

func (s *site) mustAsk(c net.Conn) {
	s.Helper()
	if err := ask(c, 1); err != nil {
		s.Fatalf("%s: %v", c.LocalAddr(), err)
	}
}

// relayed dials from an address and gets a relay.
func (s *site) relayed(from string) net.Conn {
	s.Helper()
	c := s.dialTCP(s.tcp[0], from)
	if err := ask(c, openRelay); err != nil {
		s.Fatal(err)
	}
	return c
}

// closed waits until the server has closed c, and says how: io.EOF or a reset.
func closed(c net.Conn, within time.Duration) error {
	_ = c.SetReadDeadline(time.Now().Add(within))
	_, err := io.Copy(io.Discard, c)
	switch {
	case err == nil:
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return errors.New("the connection is still open")
	}
	return err
}

func (s *site) mustBeReset(c net.Conn, within time.Duration) {
	s.Helper()
	if err := closed(c, within); !errors.Is(err, syscall.ECONNRESET) {
		s.Errorf("got %v, want a reset", err)
	}
}

// mustBeRefused dials and is reset at once, maybe so early that dialing tells.
func (s *site) mustBeRefused(to netip.AddrPort, from string) {
	s.Helper()
	c, err := dialFrom(to, from)
	if err == nil {
		defer c.Close()
		err = closed(c, patience)
	}
	if !errors.Is(err, syscall.ECONNRESET) {
		s.Errorf("got %v, want a reset", err)
	}
}

// until waits for something to become true.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(3 * patience); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// TestEveryTransportOnEveryPort has plain and encrypted clients on each port, in both families.
func TestEveryTransportOnEveryPort(t *testing.T) {
	s := newSite(t, streamsConfig{}, "127.0.0.1", "::1")
	for _, a := range s.tcp {
		s.mustAsk(s.dialTCP(a, ""))
		c, err := s.dialTLS(a, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		s.mustAsk(c)
	}
	for _, a := range s.udp {
		c, err := net.Dial("udp", a.String())
		if err != nil {
			t.Fatal(err)
		}
		s.mustAsk(c)
		_ = c.Close()
		d, err := s.dialDTLS(a, nil)
		if err != nil {
			t.Fatal(err)
		}
		s.mustAsk(d)
	}
	if got := s.stats(); got.Open != 12 || got.Accepted != 12 || got.HalfOpen != 0 || got.Failed() != 0 {
		t.Errorf("counted %+v", got)
	}
}

// TestTransportsThatAreOff has clients of every kind at listeners that serve one.
func TestTransportsThatAreOff(t *testing.T) {
	plain := newSite(t, streamsConfig{TCP: true})
	plain.mustAsk(plain.dialTCP(plain.tcp[0], ""))
	if _, err := plain.dialTLS(plain.tcp[0], "", nil); err == nil {
		t.Error("TLS is served where it is off")
	}
	secure := newSite(t, streamsConfig{TLS: true})
	if _, err := secure.dialTLS(secure.tcp[0], "", nil); err != nil {
		t.Error(err)
	}
	c := secure.dialTCP(secure.tcp[0], "")
	_, _ = c.Write(question(1))
	secure.mustBeReset(c, patience)
	for _, b := range []string{"\x14\x03\x01", "\x80\x2e\x01", "\xff", "\x90"} {
		c := plain.dialTCP(plain.tcp[0], "")
		_, _ = io.WriteString(c, b)
		plain.mustBeReset(c, patience)
	}
	if _, err := newStreams(streamsConfig{TLS: true}); err == nil {
		t.Error("TLS without a certificate")
	}
}

func TestBindErrors(t *testing.T) {
	s := newSite(t, streamsConfig{TCP: true})
	_, err := bindEach("TCP", s.tcp[0], s.listen)
	want := fmt.Sprintf("TCP port %d is in use on 127.0.0.1: is another instance running?", s.tcp[0].Port())
	if err == nil || !strings.HasPrefix(err.Error(), want) || !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want %s", err, want)
	}
	elsewhere := netip.MustParseAddrPort("192.0.2.77:40000")
	if _, err = bindEach("TCP", elsewhere, s.listen); err == nil ||
		!strings.HasPrefix(err.Error(), "TCP 192.0.2.77:40000: this machine does not have the address 192.0.2.77") {
		t.Error(err)
	}
	denied := os.NewSyscallError("bind", syscall.EACCES)
	if got := listen.Error("UDP", netip.MustParseAddrPort("0.0.0.0:443"), denied).Error(); !strings.HasPrefix(got,
		"UDP port 443 is privileged: run with CAP_NET_BIND_SERVICE or choose a port above 1023") {
		t.Error(got)
	}
	if got := listen.Error("UDP", netip.MustParseAddrPort("0.0.0.0:4430"), denied).Error(); got != "cannot listen on UDP 0.0.0.0:4430: bind: permission denied" {
		t.Error(got)
	}
}

// TestWildcard binds both families with one address, and with IPv4 alone where there is no IPv6.
func TestWildcard(t *testing.T) {
	s := newSite(t, streamsConfig{}, "::")
	port := s.tcp[0].Port()
	for _, ip := range []string{"127.0.0.1", "::1"} {
		s.mustAsk(s.dialTCP(netip.AddrPortFrom(netip.MustParseAddr(ip), port), ""))
	}
	var asked []netip.AddrPort
	all, err := bindEach("TCP", netip.MustParseAddrPort("[::]:3478"), func(a netip.AddrPort) (netip.AddrPort, error) {
		asked = append(asked, a)
		if a.Addr().Is6() {
			return a, os.NewSyscallError("socket", syscall.EAFNOSUPPORT)
		}
		return a, nil
	})
	if err != nil || len(all) != 1 || all[0].String() != "0.0.0.0:3478" || len(asked) != 2 {
		t.Errorf("got %v %v, asked for %v", all, err, asked)
	}
}
