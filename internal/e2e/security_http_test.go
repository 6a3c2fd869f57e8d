//go:build linux

package e2e

import (
	"bufio"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/pion/dtls/v3"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

const (
	hooksToken = "5f0c6b8f1d2e4a3b9c8d7e6f5a4b3c2d"
	adminToken = "a1b2c3d4e5f60718293a4b5c6d7e8f90"
)

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// Case 32: what the webhooks and the admin listener answer to strangers, and to a Broker that sends nonsense.
func TestCase32WebhooksAndAdmin(t *testing.T) {
	s := serve(t, "[hooks]", "[hooks]\nmax_body = \"16KiB\"\ntoken = \""+hooksToken+"\"", "[admin]", "[admin]\ntoken = \""+adminToken+"\"")
	const good = `{"id":"Alice","nodeId":"Alice","from":"Alice","to":"Bob","connectedNodesIds":["Alice"]}`
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	for _, path := range []string{"/authenticate-node", "/resolve-rtc-configuration", "/authorize-connection", "/validity-check", "/authenticated-socket-msg"} {
		message, validity := path == "/authenticated-socket-msg", path == "/validity-check"
		if path == "/authorize-connection" {
			path = s.authorizePath(t)
		}
		check := func(what string, got response, want ...int) {
			t.Helper()
			if message {
				want = []int{http.StatusNoContent}
			}
			for _, w := range want {
				if got.status == w {
					return
				}
			}
			t.Errorf("%s: %s: %d %s, want %v", path, what, got.status, got.body, want)
		}
		check("no token", s.post(t, path, good, nil), 401)
		check("wrong token", s.post(t, path, good, bearer("wrong")), 401)
		check("part of the token", s.post(t, path, good, bearer(hooksToken[:31])), 401)
		check("admin's token", s.post(t, path, good, bearer(adminToken)), 401)
		check("right token", s.post(t, path, good, bearer(hooksToken)), 200)
		check("Basic", s.post(t, path, good, func(r *http.Request) { r.SetBasicAuth("broker", hooksToken) }), 200)
		check("query", s.post(t, path+"?token="+hooksToken, good, nil), 200)
		check("GET", s.get(t, "http://"+s.hooks+path, bearer(hooksToken)), 405)
		check("type", s.post(t, path, good, func(r *http.Request) { bearer(hooksToken)(r); r.Header.Set("Content-Type", "text/plain") }), 415)
		check("too large", s.post(t, path, strings.Repeat(" ", 20<<10), bearer(hooksToken)), 413)
		bad := []int{400, 413, 422}
		if validity {
			bad = append(bad, 200)
		}
		check("deep", s.post(t, path, deep, bearer(hooksToken)), bad...)
		check("deep field", s.post(t, path, `{"id":"A","nodeId":"A","from":"A","to":"B","x":`+deep+`}`, bearer(hooksToken)), bad...)
		check("no JSON", s.post(t, path, `{"id":`, bearer(hooksToken)), bad...)
		check("twice", s.post(t, path, `{"id":"A","id":"B","nodeId":"A","nodeId":"B","from":"A","from":"B","to":"C"}`, bearer(hooksToken)), bad...)
		check("control characters", s.post(t, path, `{"id":"\u0000","nodeId":"\u0000","from":"\n","to":"B"}`, bearer(hooksToken)), bad...)
	}
	if got := s.post(t, "/validity-check", `{"connectedNodesIds":["ok","\u0000","`+strings.Repeat("x", 300)+`"]}`, bearer(hooksToken)); got.status != 200 ||
		strings.Contains(got.body, `"ok"`) || !strings.Contains(got.body, `\u0000`) || !strings.Contains(got.body, "xxx") {
		t.Errorf("odd ids in a validity check: %d %s", got.status, got.body)
	}
	for _, path := range []string{"/api/nodes", "/api/bans", "/api/allocations", "/api/events", "/metrics"} {
		for what, change := range map[string]func(*http.Request){"none": nil, "hooks' token": bearer(hooksToken)} {
			if got := s.get(t, "http://"+s.admin+path, change); got.status != 401 || len(got.body) > 40 {
				t.Errorf("admin %s with %s: %d %s", path, what, got.status, got.body)
			}
		}
	}
	if got := s.get(t, "http://"+s.admin+"/api/nodes", bearer(adminToken)); got.status != 200 {
		t.Errorf("admin with its token: %d %s", got.status, got.body)
	}
}

// authorizePath is the path of the authorisation webhook, as the environment for Brokers has it.
func (s *server) authorizePath(t *testing.T) string {
	t.Helper()
	for _, u := range s.brokerURLs(t) {
		if strings.Contains(u.Path, "authorize") || strings.Contains(u.Path, "authoriz") {
			return u.Path
		}
	}
	t.Fatal("there is no authorisation webhook")
	return ""
}

// brokerURLs are the webhooks' in what broker-env prints.
func (s *server) brokerURLs(t *testing.T) (all []*url.URL) {
	t.Helper()
	out, err := run(t, binary, "broker-env", "--config", s.config)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line := range strings.Lines(out) {
		_, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		if u, err := url.Parse(value); err == nil && u.Scheme == "http" {
			all = append(all, u)
		}
	}
	if len(all) < 5 {
		t.Fatalf("%d webhooks in\n%s", len(all), out)
	}
	return all
}

// everywhere listens with the webhooks, admin and Redis on all addresses.
func everywhere(more ...string) []string {
	return append([]string{
		"[hooks]\nlisten = \"127.0.0.1:", "[hooks]\nlisten = \"0.0.0.0:",
		"[admin]\nlisten = \"127.0.0.1:", "[admin]\nlisten = \"0.0.0.0:",
		"enabled = true\nlisten = \"127.0.0.1:", "enabled = true\nlisten = \"0.0.0.0:",
	}, more...)
}

// Cases 33, 35 and 37: on an address that others reach, a token and a password are made; they need no escaping in a URL.
func TestCase33and35and37GeneratedTokens(t *testing.T) {
	s := serve(t, everywhere()...)
	secret := func(name string) string {
		t.Helper()
		file := filepath.Join(s.dir, "data", name)
		if info := must(os.Stat(file))(t); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %s", name, info.Mode())
		}
		text := strings.TrimSpace(string(must(os.ReadFile(file))(t)))
		if !regexp.MustCompile(`^([0-9a-f]{64}|[0-9A-Za-z_-]{43})$`).MatchString(text) {
			t.Errorf("%s has %d characters, or others than a URL takes as they are", name, len(text))
		}
		if strings.Contains(s.logs(), text) {
			t.Errorf("%s is logged", name)
		}
		return text
	}
	hooks, admin, redis := secret("hooks.token"), secret("admin.token"), secret("redis.password")
	secret("credentials.secret")
	const body = `{"nodeId":"Alice"}`
	if got := s.post(t, "/resolve-rtc-configuration", body, nil); got.status != 401 || got.body != "" {
		t.Errorf("without a token: %d %s", got.status, got.body)
	}
	if got := s.post(t, "/resolve-rtc-configuration", body, bearer(hooks)); got.status != 200 {
		t.Errorf("with the token: %d %s", got.status, got.body)
	}
	if got := s.get(t, "http://"+s.admin+"/api/nodes", nil); got.status != 401 {
		t.Errorf("admin without a token: %d", got.status)
	}
	if got := s.get(t, "http://"+s.admin+"/api/nodes", bearer(admin)); got.status != 200 {
		t.Errorf("admin with the token: %d", got.status)
	}
	for _, u := range s.brokerURLs(t) {
		if password, _ := u.User.Password(); u.User.Username() != "broker" || password != hooks || u.User.String() != "broker:"+hooks {
			t.Errorf("a Broker's URL has the user %q, and another token", u.User.Username())
		}
	}
	for password, want := range map[string]string{"": "-NOAUTH", "wrong": "-WRONGPASS", redis: "+OK"} {
		c := must(net.Dial("tcp", s.redis))(t)
		_ = c.SetDeadline(time.Now().Add(20 * time.Second))
		command := "*1\r\n$4\r\nPING\r\n"
		if password != "" {
			command = fmt.Sprintf("*2\r\n$4\r\nAUTH\r\n$%d\r\n%s\r\n", len(password), password)
		}
		must(io.WriteString(c, command))(t)
		if got := must(bufio.NewReader(c).ReadString('\n'))(t); !strings.HasPrefix(got, want) {
			t.Errorf("Redis answers %q, want %s", got, want)
		}
		_ = c.Close()
	}
}

// Case 35: allow_no_token, and what a browser sends for the page of somebody else.
func TestCase35AllowNoTokenAndOrigins(t *testing.T) {
	s := serve(t, everywhere("[hooks]", "[hooks]\nallow_no_token = true", "[admin]", "[admin]\nallow_no_token = true")...)
	if _, err := os.Stat(filepath.Join(s.dir, "data", "hooks.token")); err == nil {
		t.Error("a token was made all the same")
	}
	s.credentials(t, "Alice")
	header := func(key, value string) func(*http.Request) {
		return func(r *http.Request) {
			if key == "Host" {
				r.Host = value
				return
			}
			r.Header.Set(key, value)
		}
	}
	_, port, _ := net.SplitHostPort(s.admin)
	for _, c := range []struct {
		what   string
		change func(*http.Request)
		want   int
	}{
		{"no Origin", nil, 200},
		{"own Origin", header("Origin", "http://"+s.admin), 200},
		{"another Origin", header("Origin", "https://evil.example"), 403},
		{"Origin null", header("Origin", "null"), 403},
		{"Origin on another port", header("Origin", "http://127.0.0.1:1"), 403},
		{"another Host", header("Host", "evil.example:"+port), 403},
		{"localhost", header("Host", "localhost:"+port), 200},
	} {
		if got := s.get(t, "http://"+s.admin+"/api/nodes", c.change); got.status != c.want {
			t.Errorf("%s: %d, want %d", c.what, got.status, c.want)
		}
	}
}

// Case 34: no secret, token, password or credential is in the log or in what commands print as errors.
func TestCase34SecretsStaySecret(t *testing.T) {
	const secret, previous, redis = "b7c9d1e3f5a7091b2c4d6e8f0a1b3c5d", "c8d0e2f4a6b8102c3d5e7f901b2c4d6e", "d9e1f3a5b7c9213d4e6f8091a2b3c4d5"
	s := serve(t, "[log]", "[log]\nlevel = \"debug\"", "[hooks]", "[hooks]\ntoken = \""+hooksToken+"\"", "[admin]", "[admin]\ntoken = \""+adminToken+"\"",
		"enabled = true", "enabled = true\npassword = \""+redis+"\"",
		"[hooks.rtc]", "[credentials]\nsecret = \""+secret+"\"\nprevious_secrets = [\""+previous+"\"]\n[hooks.rtc]")
	got := s.post(t, "/resolve-rtc-configuration", `{"nodeId":"Alice"}`, bearer(hooksToken))
	credential := regexp.MustCompile(`"credential":"([^"]+)"`).FindStringSubmatch(got.body)
	user := regexp.MustCompile(`"username":"([^"]+)"`).FindStringSubmatch(got.body)
	if credential == nil || user == nil {
		t.Fatalf("no credential: %d", got.status)
	}
	for _, transport := range transports {
		for _, password := range []string{credential[1], "a wrong password"} {
			c := must(turnclient.Dial(patiently(t), turnclient.Options{
				Transport: transport, Addr: s.address(transport), Username: user[1], Password: password, Timeout: 30 * time.Second,
			}))(t)
			_, _ = c.Allocate(patiently(t), nil)
			_ = c.Permit(patiently(t), must(net.ResolveUDPAddr("udp", "10.0.0.1:9"))(t).AddrPort())
			_ = c.Close()
		}
	}
	for _, change := range []func(*http.Request){
		nil, bearer(hooksToken), bearer(adminToken), bearer(hooksToken + "x"), func(r *http.Request) { r.SetBasicAuth("broker", hooksToken) },
		func(r *http.Request) { r.URL.RawQuery = "token=" + hooksToken }, func(r *http.Request) { r.URL.RawQuery = "token=" + adminToken },
	} {
		for _, path := range []string{"/authenticate-node", "/resolve-rtc-configuration", "/nowhere", "/validity-check"} {
			s.post(t, path, `{"id":"Alice","nodeId":`, change)
		}
		for _, path := range []string{"/api/nodes", "/api/bans", "/nowhere", "/"} {
			s.get(t, "http://"+s.admin+path, change)
		}
	}
	c := must(net.Dial("tcp", s.redis))(t)
	must(fmt.Fprintf(c, "*2\r\n$4\r\nAUTH\r\n$32\r\n%s\r\n*2\r\n$4\r\nNOPE\r\n$32\r\n%s\r\n", redis, redis))(t)
	_ = c.Close()
	text := s.logs()
	for _, args := range [][]string{{"config", "check"}, {"nodes"}, {"health"}, {"why", "Alice"}, {"serve"}} { // serve: a second instance
		out, _ := run(t, binary, append(args, "--config", s.config)...)
		text += out
	}
	broken := filepath.Join(s.dir, "broken.toml")
	conf := strings.ReplaceAll(string(must(os.ReadFile(s.config))(t)), "[redis]", "[redis]\nenabeld = true")
	for _, edit := range [][2]string{{"secret = \"", "secret = 7 \""}, {"token = \"", "token = [\""}, {"password = \"", "password = \"\\q"}, {"token = \"", "tokne = \""}} {
		if err := os.WriteFile(broken, []byte(strings.ReplaceAll(conf, edit[0], edit[1])), 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := run(t, binary, "config", "check", "--config", broken)
		if err == nil {
			t.Errorf("no mistake is found after %q", edit[1])
		}
		text += out
	}
	for what, value := range map[string]string{
		"the secret": secret, "the previous secret": previous, "the webhooks' token": hooksToken, "the admin token": adminToken, "Redis's password": redis,
		"a TURN password": credential[1], "Basic's text": base64.StdEncoding.EncodeToString([]byte("broker:" + hooksToken)),
	} {
		if at := strings.Index(text, value); at >= 0 {
			t.Errorf("%s is in: …%s", what, strings.ReplaceAll(text[max(0, at-200):at], "\n", " "))
		}
	}
}

// Case 36: nothing below TLS 1.2 with AEAD.
func TestCase36OldTLS(t *testing.T) {
	s := serve(t)
	for _, c := range []struct {
		what     string
		low, top uint16
		suites   []uint16
		ok       bool
	}{
		{"TLS 1.0", tls.VersionTLS10, tls.VersionTLS10, nil, false},
		{"TLS 1.1", tls.VersionTLS10, tls.VersionTLS11, nil, false},
		{"CBC", tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}, false},
		{"RC4 and 3DES", tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_RC4_128_SHA, tls.TLS_RSA_WITH_3DES_EDE_CBC_SHA}, false},
		{"GCM", tls.VersionTLS12, tls.VersionTLS12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, true},
		{"TLS 1.3", tls.VersionTLS13, tls.VersionTLS13, nil, true},
	} {
		conn, err := tls.Dial("tcp", s.tls, &tls.Config{InsecureSkipVerify: true, MinVersion: c.low, MaxVersion: c.top, CipherSuites: c.suites})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.what, err)
		}
		if err == nil {
			_ = conn.Close()
		}
	}
	for suite, ok := range map[dtls.CipherSuiteID]bool{
		dtls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: false, dtls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: true,
	} {
		u := must(net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}))(t)
		c := must(dtls.ClientWithOptions(u, must(net.ResolveUDPAddr("udp", s.tls))(t), dtls.WithInsecureSkipVerify(true), dtls.WithCipherSuites(suite)))(t)
		if err := c.HandshakeContext(patiently(t)); (err == nil) != ok {
			t.Errorf("DTLS with %s: %v", suite, err)
		}
		_ = c.Close()
		_ = u.Close()
	}
}
