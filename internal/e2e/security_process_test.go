//go:build linux

package e2e

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

const onLoopback = `allow = ["127.0.0.1"]`

// A: no length makes a core spin.
func TestCaseAand01LengthsThatWrap(t *testing.T) {
	s := serve(t)
	before := s.traces(t)
	for _, length := range []uint16{0xffec, 0xfff0, 0xfffc, 0xfffd, 0xffff} {
		for _, head := range [][]byte{{0, 1}, {0, 3}, {0x40, 0}, {0x4f, 0xff}} {
			frame := append(append(head, byte(length>>8), byte(length)), 0x21, 0x12, 0xa4, 0x42)
			frame = append(frame, make([]byte, 28)...)
			for _, transport := range transports {
				c := must(turnclient.Dial(patiently(t), turnclient.Options{Transport: transport, Addr: s.address(transport)}))(t)
				must(c.Conn().Write(frame))(t)
				if transport == "tcp" || transport == "tls" {
					select {
					case <-c.Ended():
					case <-time.After(20 * time.Second):
						t.Errorf("%x over %s: the connection stays open", frame[:4], transport)
					}
				}
				_ = c.Close()
			}
		}
	}
	s.unharmed(t, before)
}

// B: empty DTLS records end their association.
func TestCaseBand02EmptyRecords(t *testing.T) {
	s := serve(t)
	before := s.traces(t)
	c := s.client(t, "dtls", "n")
	must(c.Allocate(patiently(t), nil))(t)
	for range 10_000 {
		if _, err := c.Conn().Write(nil); err != nil {
			break
		}
	}
	eventually(t, "the allocation has ended", 20*time.Second, func() bool {
		return strings.Contains(s.get(t, "http://"+s.admin+"/api/allocations", nil).body, `[]`)
	})
	_ = c.Close()
	s.unharmed(t, before)
}

// firstFlight is the first datagram of a DTLS client.
func firstFlight(t *testing.T) []byte {
	t.Helper()
	l := must(net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}))(t)
	defer l.Close()
	go func() {
		_, _ = turnclient.Dial(t.Context(), turnclient.Options{Transport: "dtls", Addr: l.LocalAddr().String()})
	}()
	buf := make([]byte, 2000)
	_ = l.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, _, err := l.ReadFrom(buf)
	if err != nil {
		t.Fatal(err)
	}
	return buf[:n]
}

// C: 2 000 ClientHellos that nothing follows are forgotten within 15 s, and an honest handshake succeeds meanwhile.
func TestCaseCand03HellosThatNothingFollows(t *testing.T) {
	s := serve(t)
	hello := firstFlight(t)
	before := s.traces(t)
	to := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(s.tls))
	var flood []*net.UDPConn
	for range 2000 {
		c := must(net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}))(t)
		must(c.WriteTo(hello, to))(t)
		flood = append(flood, c)
	}
	begun := time.Now()
	honest := s.client(t, "dtls", "honest")
	must(honest.Allocate(patiently(t), nil))(t)
	t.Logf("an honest client has its allocation after %s", time.Since(begun).Round(time.Millisecond))
	eventually(t, "the goroutines of the others are gone", 20*time.Second, func() bool {
		return int(s.metric(t, "go_goroutines")) <= before.goroutines+20
	})
	must(honest.Refresh(patiently(t), 0))(t)
	_ = honest.Close()
	for _, c := range flood {
		_ = c.Close()
	}
	s.unharmed(t, before)
}

// D: when files run out, the listener survives, and so does whoever is served.
func TestCaseDand04DescriptorsRunOut(t *testing.T) {
	s := serve(t, "allow = []", onLoopback, "[turn.limits]", "[turn.limits]\nconnections_per_ip = 0")
	before := s.traces(t)
	live := s.client(t, "tcp", "live")
	must(live.Allocate(patiently(t), nil))(t)
	sock, peer := udpPeer(t)
	if err := live.Bind(patiently(t), 0x4000, peer); err != nil {
		t.Fatal(err)
	}
	low := &unix.Rlimit{Cur: uint64(s.files() + 20), Max: 20_000}
	if err := unix.Prlimit(s.cmd.Process.Pid, unix.RLIMIT_NOFILE, low, nil); err != nil {
		t.Skipf("cannot lower the limit of another process: %v", err)
	}
	var crowd []net.Conn
	for range 100 { // the kernel takes what the server cannot
		c, err := net.DialTimeout("tcp", s.turn, time.Second)
		if err != nil {
			break
		}
		must(c.Write([]byte{0, 1, 0, 0}))(t) // half a header: it waits for the rest
		crowd = append(crowd, c)
	}
	eventually(t, "there are no files left, and it is said", 20*time.Second, func() bool {
		return strings.Contains(s.logs(), "cannot accept connections")
	})
	relays(t, live, sock, "while there are no files")
	for _, c := range crowd {
		_ = c.Close()
	}
	relays(t, live, sock, "afterwards")
	must(live.Refresh(patiently(t), 0))(t)
	_ = live.Close()
	s.unharmed(t, before)
}

// D: clients that take all they can get leave webhooks and commands what these need.
func TestCaseDand04FilesAreSpared(t *testing.T) {
	s := serveWith(t, func(s *server) { s.env = append(s.env, "FILES=256") },
		"[turn.limits]", "[turn.limits]\nconnections_per_ip = 0\nallocations_per_node = 0")
	before := s.traces(t)
	user, password := s.credentials(t, "greedy")
	var greedy []*turnclient.Client
	dial := func(transport string) *turnclient.Client {
		c := must(turnclient.Dial(patiently(t), turnclient.Options{
			Transport: transport, Addr: s.turn, Username: user, Password: password, Timeout: 30 * time.Second,
		}))(t)
		greedy = append(greedy, c)
		return c
	}
	for {
		if _, err := dial("udp").Allocate(patiently(t), nil); err != nil {
			break
		}
		if len(greedy) > 256 {
			t.Fatal("more relays than files")
		}
	}
	var crowd []net.Conn
	for range 300 { // each says half a header, and waits
		c, err := net.DialTimeout("tcp", s.turn, 10*time.Second)
		if err != nil {
			continue // reset at once: there is no room for it
		}
		_, _ = c.Write([]byte{0, 1, 0, 0})
		crowd = append(crowd, c)
	}
	for range 20 { // at the same time, on connections of their own
		alone := &http.Client{Transport: &http.Transport{}, Timeout: 10 * time.Second}
		for _, url := range []string{"http://" + s.admin + "/readyz", "http://" + s.hooks + "/"} {
			res := must(alone.Get(url))(t) //nolint:noctx // it has a time limit
			defer res.Body.Close()
			if res.StatusCode >= 500 {
				t.Errorf("%s: %s", url, res.Status)
			}
		}
	}
	if code, text := s.ask(t, "POST", "/api/bans", `{"node":"greedy"}`); code != http.StatusCreated {
		t.Errorf("ban: %d %s", code, text)
	}
	for _, c := range crowd {
		_ = c.Close()
	}
	for _, c := range greedy {
		_ = c.Close()
	}
	honest := s.client(t, "udp", "honest")
	must(honest.Allocate(patiently(t), nil))(t)
	must(honest.Refresh(patiently(t), 0))(t)
	_ = honest.Close()
	s.unharmed(t, before)
}

func udpPeer(t *testing.T) (*net.UDPConn, netip.AddrPort) {
	t.Helper()
	c := must(net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}))(t)
	t.Cleanup(func() { _ = c.Close() })
	return c, c.LocalAddr().(*net.UDPAddr).AddrPort()
}

// relays fails the test where a datagram does not go to the peer on channel 0x4000 and back.
func relays(t *testing.T, c *turnclient.Client, peer *net.UDPConn, text string) {
	t.Helper()
	if err := c.SendChannel(0x4000, []byte(text)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2000)
	_ = peer.SetReadDeadline(time.Now().Add(20 * time.Second))
	n, from, err := peer.ReadFromUDPAddrPort(buf)
	if err != nil || string(buf[:n]) != text {
		t.Fatalf("the peer got %q, %v", buf[:n], err)
	}
	must(peer.WriteToUDPAddrPort(buf[:n], from))(t)
	if d, err := c.Receive(patiently(t)); err != nil || string(d.Data) != text {
		t.Fatalf("the client got %+v, %v", d, err)
	}
}

// E: an empty XOR-PEER-ADDRESS in a Send indication.
func TestCaseEEmptyPeerAddress(t *testing.T) {
	s := serve(t)
	before := s.traces(t)
	for _, transport := range transports {
		c := s.client(t, transport, "n")
		must(c.Allocate(patiently(t), nil))(t)
		for size := range 21 {
			id := turnclient.NewID()
			must(c.Conn().Write(stunmsg.Begin(nil, stunmsg.SendIndication, id[:]).
				Attr(stunmsg.AttrXORPeerAddress, make([]byte, size)).Attr(stunmsg.AttrData, []byte("x")).Bytes()))(t)
		}
		must(c.Refresh(patiently(t), 0))(t)
		_ = c.Close()
	}
	s.unharmed(t, before)
}

// F: lengths that no allocation could satisfy, sent to Redis.
func TestCaseFRedisLengths(t *testing.T) {
	for name, edits := range map[string][]string{
		"without a password": nil, "with a password": {"enabled = true", "enabled = true\npassword = \"a-password-of-some-length\""},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, edits...)
			before := s.traces(t)
			for _, text := range []string{
				"*1\r\n$9223372036854775000\r\n", "*1\r\n$9223372036854775807\r\n", "*1\r\n$-9223372036854775808\r\n", "*1\r\n$-1\r\n",
				"*9223372036854775000\r\n", "*-9223372036854775808\r\n", "*2147483647\r\n$1\r\nx\r\n", "*1\r\n$4294967295\r\nx\r\n", "*1\r\n*1\r\n*1\r\n",
				"$9223372036854775000\r\n", "*1\r\n$536870912\r\n", "\x00\xff\r\n", strings.Repeat("*1\r\n", 10_000), strings.Repeat("x", 100_000),
			} {
				for range 5 {
					c := must(net.Dial("tcp", s.redis))(t)
					_, _ = io.WriteString(c, text)
					_ = c.Close()
				}
			}
			c := must(net.Dial("tcp", s.redis))(t)
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			must(io.WriteString(c, "*1\r\n$4\r\nPING\r\n"))(t)
			if got := must(bufio.NewReader(c).ReadString('\n'))(t); !strings.HasPrefix(got, "+PONG") && !strings.HasPrefix(got, "-NOAUTH") {
				t.Errorf("PING is answered with %q", got)
			}
			_ = c.Close()
			s.unharmed(t, before)
		})
	}
}

// Case 5: silence, part of a handshake, a byte a second and an unfinished frame are cut off, each by a deadline of its own.
func TestCase05DeadlinesOfStreams(t *testing.T) {
	s := serve(t)
	before := s.traces(t)
	var hello strings.Builder
	_ = tls.Client(writeOnly{nil, &hello}, &tls.Config{ServerName: "x", MinVersion: tls.VersionTLS12}).Handshake()
	part := hello.String()[:hello.Len()/2]
	slow := func(c net.Conn, text string) {
		for i := range text {
			if _, err := io.WriteString(c, text[i:i+1]); err != nil {
				return
			}
			time.Sleep(time.Second)
		}
	}
	bound := 25 * time.Second // 5 s for a handshake and 10 s for a frame
	done := make(chan string)
	for name, speak := range map[string]func(net.Conn){
		"silence":           func(net.Conn) {},
		"half a hello":      func(c net.Conn) { _, _ = io.WriteString(c, part) },
		"a whole hello":     func(c net.Conn) { _, _ = io.WriteString(c, hello.String()) },
		"a hello in drops":  func(c net.Conn) { slow(c, hello.String()[:60]) },
		"a frame in drops":  func(c net.Conn) { slow(c, "\x00\x01\x00\x40\x21\x12\xa4\x42"+strings.Repeat("x", 60)) },
		"half a header":     func(c net.Conn) { _, _ = io.WriteString(c, "\x00\x01") },
		"a header alone":    func(c net.Conn) { _, _ = io.WriteString(c, "\x40\x00\x04\x00") },
		"a hello, a fatal ": func(c net.Conn) { _, _ = io.WriteString(c, "\x16\x03\x01\xff\xff\x01") },
	} {
		c := must(net.Dial("tcp", s.tls))(t)
		defer c.Close()
		go speak(c)
		go func() {
			begun := time.Now()
			_ = c.SetReadDeadline(begun.Add(bound))
			_, err := io.Copy(io.Discard, c)
			took := time.Since(begun).Round(100 * time.Millisecond)
			if took >= bound {
				done <- fmt.Sprintf("ERROR %s: open after %s: %v", name, took, err)
				return
			}
			done <- fmt.Sprintf("%s: closed after %s", name, took)
		}()
	}
	for range 8 {
		if text := <-done; strings.HasPrefix(text, "ERROR") {
			t.Error(text)
		} else {
			t.Log(text)
		}
	}
	s.unharmed(t, before)
}

// writeOnly keeps what is written to it.
type writeOnly struct {
	net.Conn
	to io.Writer
}

func (w writeOnly) Write(b []byte) (int, error) { return w.to.Write(b) }
func (writeOnly) Read([]byte) (int, error)      { return 0, io.EOF }
func (writeOnly) Close() error                  { return nil }
func (writeOnly) SetDeadline(time.Time) error   { return nil }

// Case 13: no listener of the process is a peer, though the policy allows its address.
func TestCase13OwnListeners(t *testing.T) {
	s := serve(t, "allow = []", onLoopback)
	c := s.client(t, "udp", "n")
	must(c.Allocate(patiently(t), nil))(t)
	for name, addr := range map[string]string{"turn": s.turn, "tls": s.tls, "hooks": s.hooks, "admin": s.admin, "redis": s.redis} {
		peer := netip.MustParseAddrPort(addr)
		if code := turnclient.Code(c.Permit(patiently(t), peer)); code != 403 {
			t.Errorf("CreatePermission for %s: %d", name, code)
		}
		if code := turnclient.Code(c.Bind(patiently(t), 0x4000, peer)); code != 403 {
			t.Errorf("ChannelBind to %s: %d", name, code)
		}
	}
	sock, peer := udpPeer(t)
	if err := c.Bind(patiently(t), 0x4000, peer); err != nil {
		t.Fatal(err)
	}
	relays(t, c, sock, "to an allowed peer")
	must(c.Refresh(patiently(t), 0))(t)
	s.alive(t)
}

// Case 31: SIGTERM with live allocations and half-open connections on every transport closes all in time.
func TestCase31StopWithLiveClients(t *testing.T) {
	s := serve(t, `drain_timeout = "2s"`, `drain_timeout = "500ms"`)
	var all []*turnclient.Client
	for _, transport := range transports {
		for range 5 {
			c := s.client(t, transport, "n")
			must(c.Allocate(patiently(t), nil))(t)
			all = append(all, c)
		}
	}
	silent := must(net.Dial("tcp", s.tls))(t)
	defer silent.Close()
	half := must(net.Dial("tcp", s.tls))(t)
	defer half.Close()
	must(io.WriteString(half, "\x16\x03\x01"))(t)
	begun := time.Now()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("still running:\n%s", tail(s.logs()))
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("ending took %s", took)
	}
	for i, c := range all {
		if transports[i/5] == "udp" {
			continue
		}
		select {
		case <-c.Ended():
		case <-time.After(10 * time.Second):
			t.Errorf("a connection over %s is open", transports[i/5])
		}
	}
	for _, c := range []net.Conn{silent, half} {
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.Copy(io.Discard, c); err != nil && strings.Contains(err.Error(), "timeout") {
			t.Error("a half-open connection is open")
		}
	}
}
