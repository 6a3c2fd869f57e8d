package app

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/crolang-p2p/crolang-aio/config"
)

const shared = "[turn]\nlisten_tls = ['127.0.0.1:0']\n"

// tlsPort is the TURN server's TLS listener.
func (s *site) tlsPort() netip.AddrPort {
	s.t.Helper()
	for _, l := range s.turn.Listeners() {
		if l.Transport == "tls" {
			return l.Addr
		}
	}
	s.t.Fatal("no TLS listener")
	return netip.AddrPort{}
}

// over asks for something over TLS, and returns the status, the header and the body.
func (s *site) over(method, path, token, body string, header ...string) (int, http.Header, string) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "https://"+s.tlsPort().String()+path, strings.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	client := http.Client{
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true, ForceAttemptHTTP2: true},
		Timeout:   patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	resp, err := client.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(data)
}

// dialSecure opens a connection over TLS, without ALPN.
func (s *site) dialSecure() *tls.Conn {
	s.t.Helper()
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", s.tlsPort().String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// TestHTTPSServes has every part alone, all of them, and none: what is not served is 404, and says nothing.
func TestHTTPSServes(t *testing.T) {
	asks := map[string][]struct {
		method, path, body string
		token              bool
		status             int
	}{
		"broker": {
			{"GET", "/socket.io/?EIO=4&transport=polling", "", false, 400},
			{"GET", "/socket.io/x?EIO=4&transport=polling", "", false, 400},
		},
		"hooks": {
			{"POST", "/authenticate-node", `{"id":"a"}`, false, 401},
			{"POST", "/resolve-rtc-configuration", `{"nodeId":"a"}`, true, 200},
			{"POST", "/authenticated-socket-msg", `{}`, false, 204},
		},
		"admin": {
			{"GET", "/healthz", "", false, 200}, {"GET", "/", "", false, 200}, {"GET", "/api/status", "", false, 401},
			{"GET", "/api/status", "", true, 200}, {"GET", "/metrics", "", false, 401}, {"GET", "/metrics", "", true, 200},
		},
	}
	for _, serve := range [][]string{{"broker"}, {"hooks"}, {"admin"}, {"broker", "hooks", "admin"}} {
		t.Run(strings.Join(serve, "+"), func(t *testing.T) {
			s := startSite(t, shared+"[https]\nserve = ['"+strings.Join(serve, "', '")+"']\n")
			hold := s.now.Load()
			for part, all := range asks {
				on := hold.cfg.HTTPS.Serves(part)
				token := map[string]string{"hooks": hold.secrets.hooks, "admin": hold.secrets.admin}[part]
				if on && part != "broker" && token == "" {
					t.Errorf("%s has no token", part)
				}
				for _, a := range all {
					given := ""
					if a.token {
						given = token
					}
					status, header, body := s.over(a.method, a.path, given, a.body)
					switch {
					case on && status != a.status:
						t.Errorf("%s %s: %d %s, want %d", a.method, a.path, status, body, a.status)
					case !on && (status != 404 || body != "" || len(header) > 3):
						t.Errorf("%s %s is not served: %d %v %q", a.method, a.path, status, header, body)
					}
				}
			}
			for _, path := range []string{"/nothing", "/api", "/api/x", "/socket.io", "/..", "//", "/.well-known/x"} {
				if status, header, body := s.over("GET", path, "", ""); status != 404 || body != "" || len(header) > 3 {
					t.Errorf("%s: %d %v %q", path, status, header, body)
				}
			}
		})
	}
}

// TestHTTPSPath has the admin listener below its path alone there: no proxy has taken it off.
func TestHTTPSPath(t *testing.T) {
	s := startSite(t, shared+"[https]\nserve = ['admin']\n[admin]\npath = '/turn/'\n")
	for path, want := range map[string]int{"/turn/": 200, "/turn": 308, "/turn/healthz": 200, "/turn/api/status": 401, "/healthz": 404, "/": 404, "/api/status": 404, "/turn/x": 404} {
		if status, _, body := s.over("GET", path, "", ""); status != want {
			t.Errorf("%s: %d %q, want %d", path, status, body, want)
		}
	}
	if all := s.report.dashboards(); len(all) != 2 || !strings.HasPrefix(all[1], "https://127.0.0.1:") || !strings.Contains(all[1], "/turn/ (its token: ") {
		t.Errorf("%q", all)
	}
}

// TestHTTPSForeignPages has the rules of Host and Origin hold.
func TestHTTPSForeignPages(t *testing.T) {
	s := startSite(t, shared+"[https]\nserve = ['admin', 'broker']\n")
	token := s.now.Load().secrets.admin
	here := "https://" + s.tlsPort().String()
	for _, c := range []struct {
		path, token, origin string
		status              int
	}{
		{"/api/status", token, "", 200}, {"/api/status", token, here, 200}, {"/api/status", token, "https://evil.example", 403},
		{"/", "", here, 200}, {"/", "", "https://evil.example", 403},
		{"/socket.io/?EIO=4&transport=websocket", "", "https://evil.example", 403},
		{"/socket.io/?EIO=4&transport=websocket", "", "https://localhost", 400}, // it is no upgrade
	} {
		var header []string
		if c.origin != "" {
			header = []string{"Origin", c.origin}
		}
		if status, _, body := s.over("GET", c.path, c.token, "", header...); status != c.status {
			t.Errorf("%s with Origin %q: %d %s, want %d", c.path, c.origin, status, body, c.status)
		}
	}
}

// joinSecure joins the Broker over TLS. What is given is sent before: a PROXY header.
func (s *site) joinSecure(id string, before ...string) *node {
	s.t.Helper()
	q := url.Values{"EIO": {"4"}, "transport": {"websocket"}, "id": {id}, "version": {"1.0"}, "runtime": {"test"}}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	d := ws.Dialer{
		TLSConfig: &tls.Config{InsecureSkipVerify: true}, Header: ws.HandshakeHeaderHTTP{"X-Forwarded-For": {"192.0.2.66"}},
		NetDial: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, addr)
			for _, b := range before {
				_, _ = io.WriteString(c, b)
			}
			return c, err
		},
	}
	nc, early, _, err := d.Dial(ctx, "wss://"+s.tlsPort().String()+"/socket.io/?"+q.Encode())
	if err != nil {
		s.t.Fatal(err)
	}
	if early != nil {
		nc = withEarly{nc, early}
	}
	s.t.Cleanup(func() { nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	n := &node{t: s.t, nc: nc}
	if _, err = n.read(); err == nil {
		if err := wsutil.WriteClientText(nc, []byte("40")); err != nil {
			s.t.Fatal(err)
		}
		for _, want := range []string{"40", `42["AUTHENTICATED"`} {
			if said, err := n.read(); err != nil || !strings.HasPrefix(said, want) {
				s.t.Fatalf("%s: %q %v", id, said, err)
			}
		}
	}
	return n
}

// TestHTTPSBroker has a Node over TLS and one that comes in the clear reach each other; a ban ends both; and a place is not
// kept in what serves HTTP.
func TestHTTPSBroker(t *testing.T) {
	s := startSite(t, shared+"[https]\nserve = ['broker']\n")
	a, b := s.joinSecure("alice"), joinNode(t, s, "bob")
	// The Broker may have answered before those that handed the connection on have let go of it.
	await(t, "no connection of a Node is the web server's", func() bool { return s.front.Open() == 0 })
	await(t, "it is counted as one of HTTP", func() bool { n := s.turn.Streams(); return n.HTTP == 1 && n.Open == 0 })
	a.emit(0, "SOCKET_MSG_EXCHANGE", map[string]any{"from": "alice", "to": "bob", "content": "hello"})
	if said, err := b.read(); err != nil || !strings.Contains(said, "hello") {
		t.Fatalf("%q %v", said, err)
	}
	if got := s.broker.Nodes(); len(got) != 2 || got[0].From != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("%+v", got)
	}
	if _, err := s.nodes.Ban("alice", "", 0); err != nil {
		t.Fatal(err)
	}
	if !a.ends() {
		t.Error("a banned Node is not told")
	}
	if urls := s.report.nodesURLs(); len(urls) != 2 || urls[1] != "https://"+s.tlsPort().String() {
		t.Errorf("%q", urls)
	}
}

// TestHTTPSProxied has Nodes behind a proxy be where its PROXY header says, whatever they say themselves; without such a
// header X-Forwarded-For is believed as on the Broker's own listener.
func TestHTTPSProxied(t *testing.T) {
	s := startSite(t, "[turn]\nlisten_tls = ['127.0.0.1:0']\nproxy_protocol = ['127.0.0.0/8']\n[https]\nserve = ['broker']\n"+
		"[broker]\ntrusted_proxies = ['127.0.0.1', '203.0.113.0/24']\n")
	s.joinSecure("alice", "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n")
	s.joinSecure("bob", "PROXY UNKNOWN\r\n")
	s.joinSecure("carol")
	for id, want := range map[string]string{"alice": "203.0.113.7", "bob": "192.0.2.66", "carol": "192.0.2.66"} {
		if n, ok := s.broker.Node(id); !ok || n.From != netip.MustParseAddr(want) {
			t.Errorf("%s is at %v, want %s", id, n.From, want)
		}
	}
	s.reloadTo("[turn]\nlisten_tls = ['127.0.0.1:0']\n[https]\nserve = ['broker']\n")
	c, err := net.Dial("tcp", s.tlsPort().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(c, "PROXY TCP4 203.0.113.7 198.51.100.1 4711 443\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a proxy that is no longer believed is answered")
	}
	for _, l := range s.report.losses() {
		if l.Cause == "foreign_proxy" && l.N != 1 {
			t.Errorf("counted %d times", l.N)
		}
	}
}

// TestHTTPSBrokerWithoutAPort has the Broker run over HTTPS where another program has its own port.
func TestHTTPSBrokerWithoutAPort(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Skip("somebody has the port: ", err)
	}
	defer taken.Close()
	s := startSite(t, noBroker+shared+"[https]\nserve = ['broker']\n")
	s.joinSecure("alice")
	if urls := s.report.nodesURLs(); len(urls) != 1 || urls[0] != "https://"+s.tlsPort().String() {
		t.Errorf("%q", urls)
	}
	if all := s.found.All(); len(all) == 0 || all[0].ID != "broker.port" || !strings.Contains(all[0].Detail, "over HTTPS alone") {
		t.Errorf("%+v", all)
	}
}

// TestHTTPSReload begins and ends to serve while it runs, and keeps the connections of TURN.
func TestHTTPSReload(t *testing.T) {
	s := startSite(t, shared)
	c := s.dialSecure()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); len(b) > 0 {
		t.Errorf("nothing is served, and it says %q %v", b, err)
	}
	s.reloadTo(shared + "[https]\nserve = ['admin']\n")
	if status, _, _ := s.over("GET", "/healthz", "", ""); status != 200 {
		t.Errorf("served now: %d", status)
	}
	if s.now.Load().secrets.admin == "" {
		t.Error("no token was made")
	}
	s.reloadTo(shared + "[https]\nserve = ['hooks']\n")
	if status, _, _ := s.over("GET", "/healthz", "", ""); status != 404 {
		t.Errorf("not served now: %d", status)
	}
}

// TestHTTPSSmuggling has requests that two readers would take differently end as one or not at all.
func TestHTTPSSmuggling(t *testing.T) {
	s := startSite(t, shared+"[https]\nserve = ['hooks']\n[hooks]\ntoken = '0123456789abcdef0123456789abcdef'\n")
	const inner = "POST /resolve-rtc-configuration HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 14\r\n\r\n{\"nodeId\":\"m\"}"
	for name, outer := range map[string]string{
		"both lengths":            "POST /authenticated-socket-msg HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":             "POST /authenticated-socket-msg HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 150\r\n\r\n",
		"a chunk that is none":    "POST /authenticated-socket-msg HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"an encoding unheard of":  "POST /authenticated-socket-msg HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
		"a space before a colon":  "POST /authenticated-socket-msg HTTP/1.1\r\nHost: x\r\nContent-Length : 150\r\n\r\n",
		"a path that is not here": "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.0":                "POST /authenticated-socket-msg HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := s.dialSecure()
			if _, err := io.WriteString(c, outer+inner); err != nil {
				t.Fatal(err)
			}
			_ = c.CloseWrite()
			in := bufio.NewReader(c)
			for range 3 {
				resp, err := http.ReadResponse(in, nil)
				if err != nil {
					return
				}
				body, _ := io.ReadAll(resp.Body)
				resp.Body.Close()
				if resp.StatusCode == 200 || strings.Contains(string(body), "rtcConfiguration") {
					t.Errorf("it was answered %d %s", resp.StatusCode, body)
				}
			}
		})
	}
}

// TestHTTPSContradictions says what must not be served so.
func TestHTTPSContradictions(t *testing.T) {
	for text, want := range map[string]string{
		"[https]\nserve = ['broker']\n":                                                      "set another hooks.authenticate.mode",
		"[https]\nserve = ['broker']\n[broker]\nenabled = false\n":                           "broker.enabled is false",
		"[https]\nserve = ['hooks']\n[hooks]\nallow_no_token = true\n":                       "https.serve has hooks",
		"[https]\nserve = ['admin']\n[admin]\nallow_no_token = true\n":                       "https.serve has admin",
		"[https]\nserve = ['admin']\n[turn]\nlisten_tls = []\n":                              "turn.listen_tls is empty",
		"[https]\nserve = ['admin']\n[turn]\ntransports = ['udp', 'tcp']\n":                  "add tls",
		"[https]\nserve = ['web']\n":                                                         "is none of broker, hooks, admin",
		"[https]\nserve = ['broker', 'hooks', 'admin']\n[broker]\nopen = true\n":             "",
		"[https]\nserve = ['broker']\n[turn]\nlisten_tls = ['127.0.0.1:5349']\n":             "",
		"[https]\nserve = ['broker']\n[hooks.authenticate]\nmode = 'deny'\n":                 "",
		"[https]\nserve = ['broker']\n[turn]\nlisten_tls = ['127.0.0.1:5349', '[::]:443']\n": "[::]:443 of turn.listen_tls is beyond loopback",
	} {
		file := filepath.Join(t.TempDir(), "c.toml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Load(file, config.WithEnviron(nil))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(fmt.Sprint(err), want)) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
