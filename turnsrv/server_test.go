package turnsrv

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/control"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/peers"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// nobody is a Directory that knows of no Node.
type nobody struct{}

func (nobody) Banned(string) bool        { return false }
func (nobody) Connected(string) bool     { return false }
func (nobody) Opened(_, _ string)        {}
func (nobody) Ended(_, _ string)         {}
func (nobody) Refused(_, _ string)       {}
func (nobody) Moved(_, _ string)         {}
func (nobody) Observed(_, _ string)      {}
func (nobody) SeenAt(string, netip.Addr) {}
func (nobody) AuthorizedSince(string, string, time.Time) bool {
	return false
}
func (nobody) SeenPartner(string, netip.Addr, time.Time) bool { return false }

// testServer is a running Server with one plain and one TLS listener on loopback.
type testServer struct {
	*Server
	keys       *credential.Keyring
	plain, tls string
	stop       func() error // ends Run and returns its error; once
}

func testCertificate(t testing.TB) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert := &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }
}

func startServer(t testing.TB, edit func(*Config)) *testServer {
	t.Helper()
	keys, err := credential.NewKeyring("a test secret that is long enough", nil)
	if err != nil {
		t.Fatal(err)
	}
	policy, err := peers.New(peers.Config{Deny: []string{peers.Recommended}, Allow: []string{"127.0.0.1", "::1"}})
	if err != nil {
		t.Fatal(err)
	}
	lo := netip.MustParseAddr("127.0.0.1")
	cfg := Config{
		Listen: []string{"127.0.0.1:0"}, ListenTLS: []string{"127.0.0.1:0"},
		Transports: []string{"udp", "tcp", "tls", "dtls"}, Realm: "crolang",
		IPv4: Family{Bind: lo}, IPv6: Family{Bind: netip.IPv6Loopback()}, PortMin: 15000, PortMax: 19999,
		Settings: Settings{Settings: control.Settings{MaxSession: time.Hour}, DrainTimeout: 50 * time.Millisecond}, Keys: keys, Peers: policy, Nodes: nobody{},
		Certificate: testCertificate(t),
	}
	if edit != nil {
		edit(&cfg)
	}
	ts := &testServer{keys: keys}
	for !ts.bind(t, cfg) {
	}
	s := ts.Server
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	ended := false
	ts.stop = func() error {
		ended = true
		cancel()
		return <-done
	}
	t.Cleanup(func() {
		if !ended {
			if err := ts.stop(); err != nil {
				t.Error(err)
			}
		}
	})
	return ts
}

// bind makes the Server. False where UDP and TCP did not get the same port, which most tests want.
func (s *testServer) bind(t testing.TB, cfg Config) bool {
	t.Helper()
	var err error
	if s.Server, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	s.plain, s.tls = "", ""
	for _, l := range s.Listeners() {
		at := &s.tls
		if l.Transport == "udp" || l.Transport == "tcp" {
			at = &s.plain
		}
		if _, old, _ := net.SplitHostPort(*at); old != "" && !strings.HasSuffix(l.Addr.String(), ":"+old) {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			return false
		}
		*at = l.Addr.String()
	}
	return true
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func (s *testServer) client(t testing.TB, transport, addr, node string) *turnclient.Client {
	t.Helper()
	cred, err := s.keys.Issue(node, time.Hour, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	// Clients try again: a flood may displace a handshake that has just begun, and pion's DTLS client then goes on with
	// a cookie that nobody knows any more until it starts anew.
	all := within(t)
	for {
		try, cancel := context.WithTimeout(all, 6*time.Second)
		c, err := turnclient.Dial(try, turnclient.Options{
			Transport: transport, Addr: addr, Username: cred.Username, Password: cred.Password,
		})
		cancel()
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		if all.Err() != nil {
			t.Fatal(err)
		}
	}
}

// Every transport is served on either port, and datagrams of many sizes go both ways.
func TestEveryTransportOnEitherPort(t *testing.T) {
	s := startServer(t, nil)
	for _, transport := range []string{"udp", "tcp", "tls", "dtls"} {
		for name, addr := range map[string]string{"plain port": s.plain, "TLS port": s.tls} {
			t.Run(transport+" on the "+name, func(t *testing.T) {
				c := s.client(t, transport, addr, transport)
				if got, err := c.Binding(within(t)); err != nil || got != c.LocalAddr() {
					t.Fatalf("Binding = %v, %v; the client is %v", got, err, c.LocalAddr())
				}
				a, err := c.Allocate(within(t), nil)
				if err != nil {
					t.Fatal(err)
				}
				sock, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
				if err != nil {
					t.Fatal(err)
				}
				defer sock.Close()
				_ = sock.SetDeadline(time.Now().Add(20 * time.Second))
				if err := c.Bind(within(t), 0x4000, sock.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
					t.Fatal(err)
				}
				buf := make([]byte, 2000)
				for _, size := range []int{0, 1, 2, 3, 4, 160, 1200} {
					want := bytes.Repeat([]byte{byte(size)}, size)
					if err := c.SendChannel(0x4000, want); err != nil {
						t.Fatal(err)
					}
					n, from, err := sock.ReadFromUDPAddrPort(buf)
					if err != nil || !bytes.Equal(buf[:n], want) || from != a.Relayed {
						t.Fatalf("%d bytes up: %d from %v, %v", size, n, from, err)
					}
					if _, err := sock.WriteToUDPAddrPort(want, a.Relayed); err != nil {
						t.Fatal(err)
					}
					d, err := c.Receive(within(t))
					if err != nil || !bytes.Equal(d.Data, want) || d.Channel != 0x4000 {
						t.Fatalf("%d bytes down: %+v, %v", size, d, err)
					}
				}
			})
		}
	}
}

func TestListenersTellWhatIsUp(t *testing.T) {
	s := startServer(t, func(c *Config) { c.Transports = []string{"tcp", "dtls"} })
	var got []string
	for _, l := range s.Listeners() {
		got = append(got, l.Transport)
	}
	if strings.Join(got, " ") != "tcp dtls" {
		t.Errorf("listeners: %v", got)
	}
	// The UDP socket is there for DTLS; plain STUN on it is not answered.
	c, err := turnclient.Dial(within(t), turnclient.Options{Transport: "udp", Addr: s.tls, Timeout: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if a, err := c.Binding(within(t)); err == nil {
		t.Errorf("STUN over UDP is answered although it is off: %v", a)
	}
	if _, err := s.client(t, "dtls", s.tls, "n").Binding(within(t)); err != nil {
		t.Error(err)
	}
}

func TestWildcardListensOnBothFamilies(t *testing.T) {
	s := startServer(t, func(c *Config) { c.Listen, c.ListenTLS = []string{":0"}, nil })
	_, port, _ := net.SplitHostPort(s.plain)
	for _, host := range []string{"127.0.0.1", "::1"} {
		for _, transport := range []string{"udp", "tcp", "tls", "dtls"} {
			c := s.client(t, transport, net.JoinHostPort(host, port), "n")
			if got, err := c.Binding(within(t)); err != nil || got != c.LocalAddr() {
				t.Errorf("%s over %s: %v, %v", host, transport, got, err)
			}
		}
	}
}

// An allocation ends with its connection, and everything is given back.
func TestAllocationEndsWithItsConnection(t *testing.T) {
	s := startServer(t, nil)
	for _, transport := range []string{"tcp", "tls", "dtls"} {
		c := s.client(t, transport, s.plain, "n")
		if _, err := c.Allocate(within(t), nil); err != nil {
			t.Fatal(err)
		}
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		eventually(t, transport+": the allocation ends", func() bool { return s.Live() == 0 })
	}
}

func TestPortsAreUsableToTheLast(t *testing.T) {
	s := startServer(t, func(c *Config) { c.PortMin, c.PortMax = 19000, 19019 })
	var all []*turnclient.Client
	for {
		c := s.client(t, "udp", s.plain, "n")
		_, err := c.Allocate(within(t), nil)
		if turnclient.Code(err) == 508 {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if all = append(all, c); len(all) > 20 {
			t.Fatal("more allocations than ports")
		}
	}
	if len(all) < 19 { // another program may hold one
		t.Errorf("%d of 20 ports were usable", len(all))
	}
	if _, err := all[0].Refresh(within(t), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client(t, "tcp", s.plain, "n").Allocate(within(t), nil); err != nil {
		t.Errorf("a freed port cannot be taken at once: %v", err)
	}
}

func TestDrainEndsAtOnceWhereNothingIsAllocated(t *testing.T) {
	s := startServer(t, func(c *Config) { c.Settings.DrainTimeout = time.Hour })
	c := s.client(t, "tcp", s.plain, "n")
	if _, err := c.Binding(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	<-c.Ended()
}

// At the end new allocations are refused, live ones go on relaying, and Run returns when the last is given back.
func TestDrainWaitsForLiveAllocations(t *testing.T) {
	s := startServer(t, func(c *Config) { c.Settings.DrainTimeout = time.Hour })
	c := s.client(t, "udp", s.plain, "live")
	if _, err := c.Allocate(within(t), nil); err != nil {
		t.Fatal(err)
	}
	late := s.client(t, "udp", s.plain, "late")
	done := make(chan error, 1)
	go func() { done <- s.stop() }()
	eventually(t, "new allocations are refused", func() bool {
		_, err := late.Allocate(within(t), nil)
		_, _ = late.Refresh(within(t), 0)
		return turnclient.Code(err) == 508
	})
	if _, err := c.Refresh(within(t), time.Minute); err != nil {
		t.Errorf("Refresh while draining: %v", err)
	}
	select {
	case err := <-done:
		t.Fatalf("ended with a live allocation: %v", err)
	default:
	}
	if _, err := c.Refresh(within(t), 0); err != nil {
		t.Error(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A stop with live clients on every transport closes them all, and nothing is left running.
func TestStopLeavesNothingBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	s := startServer(t, func(c *Config) { c.Settings.DrainTimeout = time.Millisecond })
	var all []*turnclient.Client
	for _, transport := range []string{"udp", "tcp", "tls", "dtls"} {
		c := s.client(t, transport, s.tls, "n")
		if _, err := c.Allocate(within(t), nil); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	for _, c := range all {
		_ = c.Close()
	}
	if s.Live() != 0 {
		t.Errorf("%d allocations are live after the end", s.Live())
	}
	eventually(t, "goroutines end", func() bool { return runtime.NumGoroutine() <= before+1 })
}

func TestSecondInstanceIsToldSo(t *testing.T) {
	s := startServer(t, nil)
	cfg := s.cfg
	cfg.Listen, cfg.ListenTLS = []string{s.plain}, nil
	_, err := New(cfg)
	if err == nil || !strings.Contains(err.Error(), "in use") || strings.Contains(err.Error(), "\n") {
		t.Errorf("err = %v", err)
	}
}

// A relay never reaches this process's own listeners, whatever the policy allows.
func TestOwnListenersAreNoPeers(t *testing.T) {
	other := netip.MustParseAddrPort("127.0.0.1:8083")
	s := startServer(t, func(c *Config) { c.Protected = func() []netip.AddrPort { return []netip.AddrPort{other} } })
	c := s.client(t, "udp", s.plain, "n")
	if _, err := c.Allocate(within(t), nil); err != nil {
		t.Fatal(err)
	}
	for _, peer := range []netip.AddrPort{netip.MustParseAddrPort(s.plain), netip.MustParseAddrPort(s.tls), other} {
		if err := c.Permit(within(t), peer); turnclient.Code(err) != 403 {
			t.Errorf("CreatePermission for %v: %v", peer, err)
		}
		if err := c.Bind(within(t), 0x4000, peer); turnclient.Code(err) != 403 {
			t.Errorf("ChannelBind to %v: %v", peer, err)
		}
	}
	// The permission for another port there is for the address; a Send to the listener must not be relayed by it.
	if err := c.Permit(within(t), netip.MustParseAddrPort("127.0.0.1:9")); err != nil {
		t.Fatal(err)
	}
	id := turnclient.NewID()
	probe := stunmsg.Begin(nil, stunmsg.BindingRequest, id[:]).Bytes()
	if err := c.Send(netip.MustParseAddrPort(s.plain), probe); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Refresh(within(t), time.Minute); err != nil {
		t.Fatal(err)
	}
	if n := s.Stats().Bindings; n != 0 {
		t.Errorf("the server was reached through its own relay: %d Binding requests", n)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Errorf("not within 30 s: %s", what)
}
