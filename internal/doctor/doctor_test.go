package doctor

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

func TestGoodServer(t *testing.T) {
	ca := newAuthority(t)
	udp, tcp := turnServer(t, relays{}, nil)
	_, secure := turnServer(t, relays{}, ca.issue(t, time.Now().Add(-time.Hour), time.Now().Add(2000*time.Hour), false, true))
	got := examine(t, Config{Roots: ca.roots(), Lookup: at("127.0.0.1")},
		Target{URL: "stun:" + udp},
		Target{"turn:" + udp + "?transport=udp", user, password},
		Target{"turn:" + tcp + "?transport=tcp", user, password},
		Target{"turns:turn.test:" + portOf(secure) + "?transport=tcp", user, password})
	wantNo(t, got, Fail)
	wantNo(t, got, Warn)
	want(t, got, OK, "certificate", "valid for turn.test until", "83 days left", "issued by Test Authority")
	for _, check := range []string{"relay", "peer"} {
		n := 0
		for _, f := range got {
			if f.Check == check && strings.Contains(f.Detail, "both ways") {
				n++
			}
		}
		if n != 3 {
			t.Errorf("%d of 3 URLs relayed (%s):\n%s", n, check, text(got))
		}
	}
	last := 0 // findings come in the order of the URLs
	for _, f := range got {
		at := strings.Index(udp+tcp, portOf(strings.Split(f.URL, "?")[0]))
		if strings.HasPrefix(f.URL, "turns") {
			at = 1000
		}
		if at < last && f.URL != "stun:"+udp {
			t.Errorf("%s is out of order", f.URL)
		}
		last = max(last, at)
	}
	if out := text(got); strings.Contains(out, password) {
		t.Error("the password was printed")
	}
}

func TestUnreachable(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	nothing, err := freeports.Addr()
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	webTLS := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(webTLS.Close)
	banner := listenTCP(t, func(c net.Conn) { _, _ = c.Write([]byte("220 mail.example.org ESMTP\r\n")) })
	hole := listenTCP(t, func(net.Conn) {})
	udp, tcp := turnServer(t, relays{}, nil)
	ca := newAuthority(t)
	onTLS := ca.issue(t, time.Now().Add(-time.Hour), time.Now().Add(2000*time.Hour), false, true)
	_, secure := turnServer(t, relays{}, onTLS)
	onDTLS := dtlsServer(t, onTLS.Certificates[0])

	cases := []struct {
		name, url, check string
		texts            []string
	}{
		{"nothing listens, TCP", "turn:" + nothing + "?transport=tcp", "connect", []string{"nothing listens on TCP port " + portOf(nothing), "refused", "start the server"}},
		{"nothing listens, UDP", "turn:" + nothing, "connect", []string{"nothing listens on UDP port " + portOf(nothing)}},
		{"nothing listens, TLS", "turns:" + nothing, "connect", []string{"nothing listens on TCP port"}},
		{"nothing listens, DTLS", "turns:" + nothing + "?transport=udp", "connect", []string{"nothing listens on UDP port"}},
		{"silent UDP port", "turn:" + silent.LocalAddr().String(), "connect", []string{"no answer from", "over UDP", "open UDP port", "firewall"}},
		{"silent DTLS port", "turns:" + silent.LocalAddr().String() + "?transport=udp", "connect", []string{"no answer from", "over UDP"}},
		{"HTTP in place of TURN", "turn:" + web.Listener.Addr().String() + "?transport=tcp", "stun", []string{"HTTP server", "correct the port"}},
		{"HTTP in place of TLS", "turns:" + web.Listener.Addr().String(), "tls", []string{"no TLS", "an HTTP server answers there"}},
		{"HTTPS in place of TURN", "turns:" + webTLS.Listener.Addr().String(), "stun", []string{"HTTP server"}},
		{"another protocol", "turn:" + banner + "?transport=tcp", "stun", []string{"no STUN server", "220 mail.example.org"}},
		{"another protocol in place of TLS", "turns:" + banner, "tls", []string{"does not speak TLS"}},
		{"a port that says nothing", "turn:" + hole + "?transport=tcp", "stun", []string{"says nothing"}},
		{"a port that says nothing, TLS", "turns:" + hole, "tls", []string{"does not answer the handshake"}},
		{"TURN without TLS", "turns:" + tcp, "tls", []string{"a TURN server answers there, but without TLS", "use turn:" + tcp}},
		{"TURN without DTLS", "turns:" + udp + "?transport=udp", "tls", []string{"no DTLS", "a TURN server answers there, but without DTLS"}},
		{"TLS under a turn: URL", "turn:" + secure + "?transport=tcp", "stun", []string{"it speaks TLS", "turns:"}},
		{"DTLS under a turn: URL", "turn:" + onDTLS, "stun", []string{"it speaks DTLS only", "turns:"}},
		{"no such name", "turn:turn.invalid", "name", []string{"turn.invalid does not resolve: there is no such name"}},
		{"wrong URL", "turn:", "url", []string{"has no host"}},
	}
	cfg := Config{Parallel: len(cases), Lookup: func(context.Context, string) ([]netip.Addr, error) {
		return nil, &net.DNSError{Err: "no such host", IsNotFound: true}
	}}
	var targets []Target
	for _, c := range cases {
		targets = append(targets, Target{c.url, user, password})
	}
	all := examine(t, cfg, targets...)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := about(all, c.url)
			if len(got) != 1 {
				t.Errorf("one cause is to be named, got:\n%s", text(got))
			}
			want(t, got, Fail, c.check, c.texts...)
		})
	}
}

// listen takes connections and keeps them open until the test ends.
func listenTCP(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
			f(c)
		}
	}()
	return l.Addr().String()
}

// dtlsServer answers Binding over DTLS and nothing without.
func dtlsServer(t *testing.T, pair tls.Certificate) string {
	t.Helper()
	l, err := dtls.ListenWithOptions("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}, dtls.WithCertificates(pair))
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() { _ = l.Close(); <-ended })
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				buf := make([]byte, 2048)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					var m stunmsg.Message
					if m.Parse(buf[:n]) == nil {
						_, _ = c.Write(fake{}.answer(&m, c.RemoteAddr().(*net.UDPAddr).AddrPort()))
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

func TestCertificates(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	now := time.Now()
	cases := []struct {
		name   string
		conf   *tls.Config
		host   string
		status Status
		texts  []string
	}{
		{"expired", ca.issue(t, now.Add(-1000*time.Hour), now.Add(-72*time.Hour), false, true), "turn.test", Fail, []string{"expired 3 days ago", "renew it"}},
		{"not valid yet", ca.issue(t, now.Add(time.Hour+time.Minute), now.Add(1000*time.Hour), false, true), "turn.test", Fail, []string{"not valid before", "in 60 minutes", "clock"}},
		{"ends soon", ca.issue(t, now.Add(-1000*time.Hour), now.Add(73*time.Hour), false, true), "turn.test", Warn, []string{"ends in 3 days"}},
		{"wrong name", ca.issue(t, now.Add(-time.Hour), now.Add(1000*time.Hour), false, true), "other.test", Fail, []string{"not for other.test, but for turn.test"}},
		{"address", ca.issue(t, now.Add(-time.Hour), now.Add(1000*time.Hour), false, true), "127.0.0.1", Fail, []string{"not for 127.0.0.1"}},
		{"self-signed", ca.issue(t, now.Add(-time.Hour), now.Add(1000*time.Hour), true, false), "turn.test", Warn, []string{"self-signed", "certs.cert_file"}},
		{"unknown authority", other.issue(t, now.Add(-time.Hour), now.Add(1000*time.Hour), false, true), "turn.test", Warn, []string{"does not know", "Test Authority"}},
		{"no chain", other.issue(t, now.Add(-time.Hour), now.Add(1000*time.Hour), false, false), "turn.test", Warn, []string{"shows no chain", "fullchain.pem"}},
	}
	var targets []Target
	for _, c := range cases {
		_, secure := turnServer(t, relays{}, c.conf)
		onDTLS := dtlsServer(t, c.conf.Certificates[0])
		targets = append(targets, Target{"turns:" + c.host + ":" + portOf(secure), user, password},
			Target{URL: "stuns:" + c.host + ":" + portOf(onDTLS) + "?transport=udp"})
	}
	all := examine(t, Config{Roots: ca.roots(), Lookup: at("127.0.0.1"), Parallel: len(targets)}, targets...)
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got := about(all, targets[2*i].URL)
			want(t, got, c.status, "certificate", c.texts...)
			want(t, got, OK, "relay", "both ways") // what else there is to see is seen all the same
			want(t, about(all, targets[2*i+1].URL), c.status, "certificate", c.texts...)
		})
	}
}

func TestCredentials(t *testing.T) {
	udp, _ := turnServer(t, relays{}, nil)
	now := time.Now()
	ends := func(d time.Duration) string { return fmt.Sprintf("%d:alice", now.Add(d).Unix()) }
	url := "turn:" + udp
	for _, c := range []struct {
		name   string
		target Target
		texts  []string
	}{
		{"wrong password", Target{url, user, "wrong"}, []string{"401", "username or password is wrong", `realm "example.org"`}},
		{"unknown user", Target{url, "bob", password}, []string{"401", "username or password is wrong"}},
		{"expired", Target{url, ends(-3 * time.Hour), password}, []string{"401", "expired 3 hours ago", "get a new one"}},
		{"wrong secret", Target{url, ends(3*time.Hour + time.Minute), "wrong"}, []string{"401", "3 hours left", "not of its secret", "static-auth-secret"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := examine(t, Config{}, c.target)
			want(t, got, Fail, "allocate", c.texts...)
			if strings.Contains(text(got), c.target.Password) && c.target.Password != "wrong" {
				t.Error("the password was printed")
			}
		})
	}
	// This machine's clock an hour behind: the credential looks good here and is over there.
	behind := Config{Now: func() time.Time { return time.Now().Add(-time.Hour) }}
	got := examine(t, behind, Target{url, ends(-time.Minute), password})
	want(t, got, Warn, "clock", "minutes ahead", "NTP")
	want(t, got, Fail, "allocate", "the server's clock is", "expired there")
}

func TestErrorCodes(t *testing.T) {
	relayed := netip.MustParseAddrPort("127.0.0.1:9")
	cases := []struct {
		on     stunmsg.Type
		code   int
		status Status
		check  string
		texts  []string
	}{
		{stunmsg.AllocateRequest, 300, Fail, "allocate", []string{"300 Try Alternate"}},
		{stunmsg.AllocateRequest, 400, Fail, "allocate", []string{"malformed (400)", `"so it is"`}},
		{stunmsg.AllocateRequest, 420, Fail, "allocate", []string{"420"}},
		{stunmsg.AllocateRequest, 437, Fail, "allocate", []string{"437", "load balancer"}},
		{stunmsg.AllocateRequest, 440, Fail, "allocate", []string{"address family (440)"}},
		{stunmsg.AllocateRequest, 441, Fail, "allocate", []string{"another credential (441)"}},
		{stunmsg.AllocateRequest, 442, Fail, "allocate", []string{"no relays over UDP (442)"}},
		{stunmsg.AllocateRequest, 486, Fail, "allocate", []string{"quota", "486", "user-quota"}},
		{stunmsg.AllocateRequest, 500, Fail, "allocate", []string{"500"}},
		{stunmsg.AllocateRequest, 508, Fail, "allocate", []string{"no capacity left (508)", "turn.relay_ports"}},
		{stunmsg.AllocateRequest, 599, Fail, "allocate", []string{"error 599"}},
		{stunmsg.CreatePermissionRequest, 403, Fail, "relay", []string{"peer forbidden (403)", "allowed-peer-ip"}},
		{stunmsg.CreatePermissionRequest, 508, Fail, "relay", []string{"508"}},
		{stunmsg.BindingRequest, -1, Warn, "binding", []string{"but not to Binding", "no-stun"}},
	}
	var targets []Target
	for _, c := range cases {
		f := fake{codes: map[stunmsg.Type]int{c.on: c.code}, relayed: relayed}
		targets = append(targets, Target{"turn:" + f.serve(t), user, password})
	}
	none := Target{"turn:" + fake{relayed: netip.MustParseAddrPort("0.0.0.0:50000")}.serve(t), user, password}
	kept := Target{"turn:" + fake{relayed: relayed, lifetime: 600}.serve(t), user, password}
	all := examine(t, Config{Parallel: 99}, append(targets, none, kept)...)
	for i, c := range cases {
		t.Run(fmt.Sprintf("%s %d", c.on, c.code), func(t *testing.T) {
			want(t, about(all, targets[i].URL), c.status, c.check, c.texts...)
		})
	}
	t.Run("no address in the relayed one", func(t *testing.T) {
		want(t, about(all, none.URL), Fail, "address", "0.0.0.0", "not an address that a host can have", "external-ip")
		if said := text(about(all, none.URL)); strings.Contains(said, "relay_ports") {
			t.Errorf("something was sent there:\n%s", said)
		}
	})
	t.Run("an allocation is kept", func(t *testing.T) {
		want(t, about(all, kept.URL), Warn, "release", "keeps an allocation", "10m0s")
	})
	t.Run("no relayed address", func(t *testing.T) {
		got := examine(t, Config{}, Target{"turn:" + fake{}.serve(t), user, password})
		want(t, got, Fail, "allocate", "its answer is none", "no relayed address")
	})
	t.Run("438 for ever", func(t *testing.T) {
		got := examine(t, Config{}, Target{"turn:" + fake{always: true}.serve(t), user, password})
		want(t, got, Fail, "allocate", "every nonce stale (438)", "load balancer")
	})
	t.Run("clock in the nonce", func(t *testing.T) {
		raw := binary.BigEndian.AppendUint64(nil, uint64(time.Now().Add(-2*time.Hour-time.Minute).UnixMilli()))
		f := fake{nonce: hex.EncodeToString(append(raw, make([]byte, 32)...)), codes: map[stunmsg.Type]int{stunmsg.AllocateRequest: 401}}
		got := examine(t, Config{}, Target{"turn:" + f.serve(t), user, password})
		want(t, got, Warn, "clock", "2 hours behind")
	})
}
