package app

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// echo is a peer outside of the server that sends back what it gets.
func echo(t *testing.T) (at netip.AddrPort, got func() int) {
	t.Helper()
	conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buf := make([]byte, 2048)
		for {
			size, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			mu.Lock()
			n++
			mu.Unlock()
			_, _ = conn.WriteToUDPAddrPort(buf[:size], from)
		}
	}()
	t.Cleanup(func() { conn.Close(); <-ended })
	return conn.LocalAddr().(*net.UDPAddr).AddrPort(), func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// round sends text through channel 0x4001 and waits for the echo.
func round(ctx context.Context, c *turnclient.Client, text string) error {
	if err := c.SendChannel(0x4001, []byte(text)); err != nil {
		return err
	}
	got, err := c.Receive(ctx)
	if err == nil && (got.Channel != 0x4001 || string(got.Data) != text) {
		err = fmt.Errorf("got %q on %#x, want %q", got.Data, got.Channel, text)
	}
	return err
}

const openToLoopback = "[turn.peers]\nallow = ['127.0.0.1']\n"

func TestReloadPeersEndsLivePermissions(t *testing.T) {
	s := startSite(t, openToLoopback)
	peer, heard := echo(t)
	c, other := s.client("a"), s.client("b")
	at, otherAt := s.allocate(c), s.allocate(other)
	if err := errors.Join(c.Bind(t.Context(), 0x4001, peer), round(t.Context(), c, "before")); err != nil {
		t.Fatal(err)
	}
	exchange(t, c, other, at, otherAt)

	s.reloadTo("")
	before, dropped := heard(), s.turn.Allocations()[0].Stats
	if err := errors.Join(c.SendChannel(0x4001, []byte("denied")), c.Send(peer, []byte("denied"))); err != nil {
		t.Fatal(err)
	}
	hole, err := net.DialUDP("udp4", nil, net.UDPAddrFromAddrPort(at))
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	if _, err := hole.Write([]byte("denied")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are dropped", func() bool {
		now := s.turn.Allocations()[0].Stats
		return now.Up.Dropped == dropped.Up.Dropped+2 && now.Down.Dropped == dropped.Down.Dropped+1
	})
	if heard() != before || len(c.Data()) > 0 {
		t.Errorf("%d datagrams went on, %d came", heard()-before, len(c.Data()))
	}
	if err := c.Bind(t.Context(), 0x4002, peer); turnclient.Code(err) != 403 {
		t.Errorf("a channel to a peer that is denied now: %v", err)
	}
	exchange(t, c, other, at, otherAt) // relays of this server reach each other wherever they are

	s.reloadTo(openToLoopback)
	if err := errors.Join(c.Bind(t.Context(), 0x4001, peer), round(t.Context(), c, "after")); err != nil {
		t.Error(err)
	}
}

func TestReloadLimits(t *testing.T) {
	s := startSite(t, openToLoopback)
	peer, heard := echo(t)
	c := s.client("a")
	s.allocate(c)
	if err := errors.Join(c.Bind(t.Context(), 0x4001, peer), round(t.Context(), c, "before")); err != nil {
		t.Fatal(err)
	}
	drops := func() uint64 { return s.turn.Allocations()[0].Stats.Up.Dropped }
	flood := func() {
		t.Helper()
		for range 200 {
			if err := c.SendChannel(0x4001, make([]byte, 1200)); err != nil {
				t.Fatal(err)
			}
			for len(c.Data()) > 0 {
				<-c.Data()
			}
		}
		if err := c.Permit(t.Context(), peer); err != nil { // is handled behind them
			t.Fatal(err)
		}
	}
	const most = "bits_per_second = 8\nallocations_per_node = 1\nallocation_lifetime = '90s'\nunauthenticated_per_second = 3\nconnections_per_ip = 2\n"
	s.reloadTo(openToLoopback + "[turn.limits]\n" + most)
	flood()
	if drops() < 80 { // 131070 bytes may come at once
		t.Errorf("%d dropped with a limit of 8 bits a second", drops())
	}
	if _, err := s.client("a").Allocate(t.Context(), nil); turnclient.Code(err) != 486 {
		t.Errorf("a second allocation of one Node: %v", err)
	}
	if d, err := c.Refresh(t.Context(), time.Hour); err != nil || d != 90*time.Second {
		t.Errorf("lifetime %v, %v", d, err)
	}
	limited := s.turn.Stats().Limited
	for range 20 {
		id := turnclient.NewID()
		if _, err := c.Conn().Write(stunmsg.Begin(nil, stunmsg.BindingRequest, id[:]).Bytes()); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "Binding is limited", func() bool { return s.turn.Stats().Limited >= limited+10 })
	for range 2 {
		s.dial(turnclient.Options{Transport: "tcp"})
	}
	if third, err := turnclient.Dial(t.Context(), turnclient.Options{Transport: "tcp", Addr: s.turn.Listeners()[0].Addr.String()}); err == nil {
		defer third.Close()
		select {
		case <-third.Ended():
		case <-time.After(10 * time.Second):
			t.Error("a third connection stays")
		}
	}
	if l := s.report.status().Limits; l["turn.limits.bits_per_second"] != 8 || l["turn.limits.connections_per_ip"] != 2 {
		t.Errorf("%v", l)
	}

	s.reloadTo(openToLoopback)
	before, passed := drops(), heard()
	flood()
	if drops() != before {
		t.Errorf("%d dropped without a limit", drops()-before)
	}
	eventually(t, "they arrive", func() bool { return heard() >= passed+100 })
	s.allocate(s.client("a"))
}

func TestReloadMovesNewAllocations(t *testing.T) {
	s := startSite(t, "")
	old := s.client("a")
	atOld := s.allocate(old)
	s.reloadTo("[public]\nipv4 = '127.0.0.2'\n")
	moved := s.client("b")
	atMoved := s.allocate(moved)
	if atOld.Addr() != netip.MustParseAddr("127.0.0.1") || atMoved.Addr() != netip.MustParseAddr("127.0.0.2") {
		t.Fatal(atOld, atMoved)
	}
	exchange(t, old, moved, atOld, atMoved)
	s.reloadTo("[public]\nipv4 = 'off'\nipv6 = '::1'\n")
	if _, err := s.client("c").Allocate(t.Context(), func(w *stunmsg.Builder) {
		w.Attr(stunmsg.AttrRequestedAddressFamily, []byte{stunmsg.FamilyIPv4, 0, 0, 0})
	}); turnclient.Code(err) != 440 {
		t.Errorf("an IPv4 relay while they are off: %v", err)
	}
	if at := s.allocate(s.client("d")); at.Addr() != netip.IPv6Loopback() {
		t.Error(at)
	}
	exchange(t, old, moved, atOld, atMoved)
}

func TestReloadDrainTimeout(t *testing.T) {
	s := startSite(t, "drain_timeout = '1h'\n")
	s.allocate(s.client("a"))
	s.reloadTo("drain_timeout = '5m'\n")
	s.turn.Drain()
	if p, ok := s.turn.Draining(); !ok || p.Left > 5*time.Minute || p.Left < 4*time.Minute || p.Allocations != 1 {
		t.Errorf("%+v", p)
	}
	s.turn.CloseNode("a", "the test ends")
}

// Reloads, one after the other, while allocations come and go and data flows.
func TestReloadUnderTraffic(t *testing.T) {
	s := startSite(t, openToLoopback)
	peer, _ := echo(t)
	ctx, stop := context.WithCancel(t.Context())
	var g errgroup.Group
	rounds := make([]int, 4)
	for i := range rounds {
		c := s.client(fmt.Sprint("n", i))
		s.allocate(c)
		if err := c.Bind(t.Context(), 0x4001, peer); err != nil {
			t.Fatal(err)
		}
		g.Go(func() error {
			for ctx.Err() == nil {
				if err := round(t.Context(), c, "x"); err != nil {
					return err
				}
				if rounds[i]++; rounds[i]%10 == 0 {
					if err := c.Bind(t.Context(), 0x4001, peer); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	for i := range 20 {
		s.reloadTo(openToLoopback + fmt.Sprintf("[public]\nipv4 = '127.0.0.%d'\n[turn]\nsoftware = 's%d'\n[turn.limits]\nbits_per_second = %d\n"+
			"[log]\nformat = '%s'\n[hooks]\ntoken = 'token-%d'\n", 1+i%3, i, i%2*1_000_000_000, []string{"text", "json"}[i%2], i))
		s.post("/authenticate-node", `{"id":"Alice"}`, "token")
	}
	stop()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	if slices.Contains(rounds, 0) {
		t.Errorf("rounds: %v", rounds)
	}
}

// putPair writes a certificate for 127.0.0.1 with this serial number, in the place of any that is there.
func putPair(t *testing.T, dir string, serial int64, edit func(*x509.Certificate)) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(90 * 24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	if edit != nil {
		edit(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}, "cert.pem": {Type: "CERTIFICATE", Bytes: der}} {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(file+".new", pem.EncodeToMemory(block), 0o600), os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
}

func withCerts(dir string) string {
	return "[certs]\ncert_file = '" + filepath.Join(dir, "cert.pem") + "'\nkey_file = '" + filepath.Join(dir, "key.pem") + "'\n"
}

// serialOf is the serial number of the certificate that a new client is shown.
func (s *site) serialOf() int64 {
	s.t.Helper()
	for _, l := range s.turn.Listeners() {
		if l.Transport != "tls" {
			continue
		}
		c, err := tls.Dial("tcp", l.Addr.String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			s.t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	s.t.Fatal("no TLS listener")
	return 0
}

// A certificate is replaced under 100 live TLS allocations: by another file of the same name, then by another name.
func TestCertificateReplacedUnderLiveAllocations(t *testing.T) {
	const n = 100
	dir, other := t.TempDir(), t.TempDir()
	putPair(t, dir, 1, nil)
	config := "[turn]\nlisten_tls = ['127.0.0.1:0']\nrelay_ports = '26000-26199'\n" + openToLoopback
	s := startSite(t, config+withCerts(dir))
	peer, _ := echo(t)
	clients := make([]*turnclient.Client, n)
	var g errgroup.Group
	g.SetLimit(10)
	for i := range clients {
		cred, err := s.keys.Issue(fmt.Sprint("n", i), time.Hour, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		clients[i] = s.dial(turnclient.Options{Transport: "tls", Username: cred.Username, Password: cred.Password})
		g.Go(func() error {
			_, err := clients[i].Allocate(t.Context(), nil)
			return errors.Join(err, clients[i].Bind(t.Context(), 0x4001, peer))
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	opened := s.turn.Allocations()
	flows := func(when string) {
		t.Helper()
		for i, c := range clients {
			g.Go(func() error { return round(t.Context(), c, fmt.Sprint(when, i)) })
		}
		if err := g.Wait(); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
	}
	flows("before")
	for _, c := range []struct {
		serial int64
		text   string
		put    string
	}{{2, config + withCerts(dir), dir}, {3, config + withCerts(other), other}} {
		putPair(t, c.put, c.serial, nil)
		s.reloadTo(c.text)
		if got := s.serialOf(); got != c.serial {
			t.Errorf("new clients are shown certificate %d, want %d", got, c.serial)
		}
		flows(fmt.Sprint("after ", c.serial))
		for i, a := range s.turn.Allocations() {
			if i >= n || a.ID != opened[i].ID || a.Relayed != opened[i].Relayed {
				t.Fatalf("allocation %d is %+v", i, a)
			}
		}
	}
	if live := s.turn.Live(); live != n {
		t.Errorf("%d allocations are live, of %d", live, n)
	}
	if strings.Contains(s.log.String(), `"level":"ERROR"`) {
		t.Error(s.log.String())
	}
}

// Where a router or a container changes a port, clients are told the outer one.
func TestPublicPorts(t *testing.T) {
	s := startSite(t, "[turn]\ntransports = ['udp', 'tcp']\n")
	ports := map[uint16]bool{} // TCP has the port of UDP, unless another process has that one
	for _, l := range s.turn.Listeners() {
		ports[l.Addr.Port()] = true
	}
	port := s.turn.Listeners()[0].Addr.Port()
	told := func() string { return strings.Join(s.report.status().URLs, " ") }
	inner := fmt.Sprintf("stun:127.0.0.1:%d", port)
	if got := told(); !strings.Contains(got, inner) {
		t.Fatal(got)
	}
	var outer []string
	for p := range ports {
		outer = append(outer, fmt.Sprintf("%d = 13478", p))
	}
	s.reloadTo("[turn]\ntransports = ['udp', 'tcp']\npublic_ports = {" + strings.Join(outer, ", ") + "}\n")
	want := "stun:127.0.0.1:13478 turn:127.0.0.1:13478?transport=udp turn:127.0.0.1:13478?transport=tcp"
	if got := told(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if _, body := s.post("/resolve-rtc-configuration", `{"id":"n"}`, ""); !strings.Contains(body, "turn:127.0.0.1:13478?transport=tcp") {
		t.Error(body)
	}
	s.reloadTo("[turn]\ntransports = ['udp', 'tcp']\n")
	if got := told(); !strings.Contains(got, inner) {
		t.Error(got)
	}
}
