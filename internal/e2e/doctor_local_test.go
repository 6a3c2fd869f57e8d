package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// Doctor looks at a server in order, by its own webhook, on four transports.
func TestDoctorInOrder(t *testing.T) {
	s := serve(t, `advertise_tls = "auto"`, `advertise_tls = "always"`, "[hooks]\n", "[hooks]\ntoken = \"0123456789abcdef-the-brokers-token-0123456789\"\n",
		"[redis]\n", "[redis]\npassword = \"fedcba9876543210-the-redis-password\"\n")
	all, code := doctor(t, "", "--config", s.config)
	if code != 0 {
		t.Errorf("exit code %d:\n%s", code, findings(all))
	}
	_, port, _ := net.SplitHostPort(s.turn)
	_, tlsPort, _ := net.SplitHostPort(s.tls)
	relayed(t, all, "turn:127.0.0.1:"+port+"?transport=udp", "turn:127.0.0.1:"+port+"?transport=tcp",
		"turns:127.0.0.1:"+tlsPort+"?transport=tcp", "turns:127.0.0.1:"+tlsPort+"?transport=udp")
	for _, f := range []struct{ status, check, text string }{
		{"ok", "server", "runs since"},
		{"ok", "ready", "ready"},
		{"ok", "clock", "agree"},
		{"ok", "broker", "Nodes connect to http://"},
		{"ok", "join", "two Nodes of doctor's join the Broker"},
		{"ok", "exchange", "an offer of a Node reaches another"},
		{"ok", "exchange", "an answer of a Node reaches another"},
		{"ok", "relay", "datagrams of a Node reach another"},
		{"ok", "webhooks", "5 URLs"},
		{"ok", "token", "refuse calls without the token"},
		{"ok", "credential", "12 hours"},
		{"ok", "listener", "all 4 TURN listeners"},
		{"ok", "certificate", "self-signed, 364 days left"},
		{"warn", "public", "only clients on this machine"},
		{"ok", "ports", "of 5000 relay ports are free"},
		{"ok", "redis", "answers"},
		{"ok", "data_dir", "has room"},
		{"warn", "certificate", "browsers refuse it"},
	} {
		found(t, all, f.status, f.check, f.text)
	}
	for _, secret := range []string{"the-brokers-token", "the-redis-password"} {
		if strings.Contains(findings(all), secret) {
			t.Errorf("%s was printed", secret)
		}
	}
	// A Broker's call is seen; the doctor's own were not.
	req, err := http.NewRequest(http.MethodPost, "http://"+s.hooks+"/validity-check", strings.NewReader(`{"connectedNodesIds":[]}`)) //nolint:noctx // a test
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer 0123456789abcdef-the-brokers-token-0123456789")
	res, err := http.DefaultClient.Do(req)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatal(err, res)
	}
	_ = res.Body.Close()
	all, _ = doctor(t, "", "--config", s.config)
	found(t, all, "ok", "broker", "a Broker called the webhooks")
	// Nothing is left behind.
	if out, err := run(t, binary, "allocations", "--json", "--config", s.config); err != nil || !strings.Contains(out, `"allocations": []`) {
		t.Errorf("%v, %s", err, out)
	}
}

// An interruption ends it at once, with what it had found.
func TestDoctorInterrupted(t *testing.T) {
	silent, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	cmd := exec.Command(binary, "doctor", "--url", "stun:"+silent.LocalAddr().String(), "--timeout", "1h")
	var out strings.Builder
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = silent.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, _, err := silent.ReadFrom(make([]byte, 100)); err != nil { // it has begun
		t.Error(err)
	}
	_ = cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 1 || !strings.Contains(out.String(), "not finished: interrupted") || !strings.Contains(out.String(), "1 failure") {
		t.Errorf("exit code %d: %s", code, out.String())
	}
	all, code := doctor(t, "", "--url", "stun:"+silent.LocalAddr().String(), "--timeout", "200ms")
	found(t, all, "fail", "time", "not finished within the time limit", "--timeout")
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
}

// broken is a set-up that is wrong, and what doctor is to say.
type broken struct {
	name          string
	edits         []string
	then          func(t *testing.T, s *server) // after the start
	args          []string
	status, check string
	texts         []string
}

func edit(t *testing.T, s *server, from, to string) {
	t.Helper()
	b, err := os.ReadFile(s.config)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), from) {
		t.Fatalf("nothing to replace: %s", from)
	}
	if err := os.WriteFile(s.config, []byte(strings.Replace(string(b), from, to, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

// otherServer runs a second program at 127.0.0.2 and the port of the first.
func otherServer(realm string) func(t *testing.T, s *server) {
	return func(t *testing.T, s *server) {
		_, port, _ := net.SplitHostPort(s.turn)
		_, tlsPort, _ := net.SplitHostPort(s.tls)
		o := serve(t, "enabled = true", "enabled = false", "[turn]\n", "[turn]\nrealm = \""+realm+"\"\n", `"20000-24999"`, `"19000-19100"`)
		o.stop(t)
		edit(t, o, `"`+o.turn+`"`, `"127.0.0.2:`+port+`"`)
		edit(t, o, `"`+o.tls+`"`, `"127.0.0.2:`+tlsPort+`"`)
		o.start(t)
	}
}

var brokenServers = []broken{
	{
		name: "not running", then: func(t *testing.T, s *server) { s.stop(t) },
		status: "fail", check: "server", texts: []string{"no server answers at", "crolang-aio serve"},
	},
	{
		name: "wrong admin token", edits: []string{"[admin]\n", "[admin]\ntoken = \"0123456789abcdef0123456789abcdef\"\n"},
		then: func(t *testing.T, s *server) {
			edit(t, s, "0123456789abcdef0123456789abcdef", "another-token-another-token-another")
		},
		status: "fail", check: "server", texts: []string{"refuses the admin token (401)"},
	},
	{
		name: "wrong token of the webhooks", edits: []string{"[hooks]\n", "[hooks]\ntoken = \"0123456789abcdef0123456789abcdef\"\n"},
		then: func(t *testing.T, s *server) {
			edit(t, s, "0123456789abcdef0123456789abcdef", "another-token-another-token-another")
		},
		status: "fail", check: "webhooks", texts: []string{"refuse the token (401)", "broker-env"},
	},
	{
		name: "banned Node", args: []string{"--node", "Mallory"},
		then: func(t *testing.T, s *server) {
			if out, err := run(t, binary, "ban", "Mallory", "--config", s.config); err != nil {
				t.Fatal(out)
			}
		},
		status: "fail", check: "webhooks", texts: []string{"the Node is banned", "unban"},
	},
	{
		name: "public host that does not resolve", edits: []string{`host = "127.0.0.1"`, `host = "turn.invalid"`},
		status: "fail", check: "public", texts: []string{"turn.invalid does not resolve", "no client finds the server", "public.host"},
	},
	{
		name: "private address told", edits: []string{`ipv4 = "127.0.0.1"`, `ipv4 = "10.99.0.1"`},
		status: "warn", check: "public", texts: []string{"relays are told under 10.99.0.1, a private address", "only clients of that network"},
	},
	{
		name: "quota of the Node", edits: []string{"[turn.limits]\n", "[turn.limits]\nallocations_per_node = 1\n"},
		status: "warn", check: "relay", texts: []string{"486", "turn.limits.allocations_per_node is 1"},
	},
	{
		name: "no relay port left", edits: []string{`"20000-24999"`, `"19999-19999"`},
		then:   func(t *testing.T, s *server) { holdAllocation(t, s) },
		status: "fail", check: "ports", texts: []string{"0 of 1 relay ports are free", "widen turn.relay_ports"},
	},
	{
		name: "limit of allocations", edits: []string{"[turn.limits]\n", "[turn.limits]\nallocations = 1\n"},
		then:   func(t *testing.T, s *server) { holdAllocation(t, s) },
		status: "fail", check: "allocate", texts: []string{"508", "turn.limits.allocations is 1"},
	},
	{
		name: "draining", edits: []string{`drain_timeout = "2s"`, `drain_timeout = "10s"`},
		then: func(t *testing.T, s *server) {
			t.Cleanup(func() { <-s.done }) // another signal would end it at once
			holdAllocation(t, s)
			_ = s.cmd.Process.Signal(syscall.SIGTERM)
			for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
				res, err := http.Get("http://" + s.admin + "/readyz") //nolint:noctx // a short poll
				if err != nil {
					t.Fatal(err)
				}
				_ = res.Body.Close()
				if res.StatusCode == http.StatusServiceUnavailable {
					return
				}
			}
		},
		status: "fail", check: "ready", texts: []string{"draining", "no new ones"},
	},
	{
		name: "another realm answers", edits: []string{`host = "127.0.0.1"`, `host = "127.0.0.2"`}, then: otherServer("other"),
		status: "fail", check: "allocate", texts: []string{`its realm is "other" and not "crolang"`, "another TURN server answers there"},
	},
	{
		name: "another secret answers", edits: []string{`host = "127.0.0.1"`, `host = "127.0.0.2"`}, then: otherServer("crolang"),
		status: "fail", check: "allocate", texts: []string{"401", "the password is not of its secret"},
	},
	{
		name: "nothing at the public address", edits: []string{`host = "127.0.0.1"`, `host = "127.0.0.3"`},
		status: "fail", check: "connect", texts: []string{"nothing listens on", "127.0.0.3"},
	},
	{
		name: "listener that is not up",
		then: func(t *testing.T, s *server) { edit(t, s, `"`+s.turn+`"`, `"127.0.0.1:9"`) }, status: "fail", check: "listener",
		texts: []string{"has the TURN listener 127.0.0.1:9", "restart"},
	},
	{
		name: "open data_dir",
		then: func(t *testing.T, s *server) {
			if err := os.Chmod(filepath.Join(s.dir, "data"), 0o755); err != nil {
				t.Fatal(err)
			}
		},
		status: "fail", check: "data_dir", texts: []string{"others on this machine", "(0755)", "chmod 700"},
	},
	{
		name: "certificate gone",
		then: func(t *testing.T, s *server) {
			if err := os.Remove(filepath.Join(s.dir, "data", "self-signed.pem")); err != nil {
				t.Fatal(err)
			}
		},
		status: "warn", check: "certificate", texts: []string{"self-signed.pem is not there", "the next start make another"},
	},
	{
		name: "pair that is none", edits: []string{"[turn]\n", "[certs]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n[turn]\n"},
		status: "fail", check: "certificate", texts: []string{"cert.pem: no such file", "until that is mended"},
	},
	{
		name: "pair that is over", edits: []string{"[turn]\n", "[certs]\ncert_file = \"cert.pem\"\nkey_file = \"key.pem\"\n[turn]\n"},
		then: func(t *testing.T, s *server) {
			s.stop(t)
			writePair(t, s, time.Now().Add(-time.Hour))
			s.start(t)
		},
		status: "fail", check: "certificate", texts: []string{"expired"},
	},
	{
		name: "nothing that clients are told", edits: []string{"[turn]\n", "[turn]\ntransports = [\"tls\", \"dtls\"]\n"},
		status: "fail", check: "webhooks", texts: []string{"no URL that clients could be told", "turn.transports"},
	},
	{
		name:   "upstream that is not there",
		edits:  []string{`advertise_tls = "auto"`, "advertise_tls = \"auto\"\n[hooks.authorize]\nmode = \"upstream\"\n[hooks.upstream]\nauthorize_url = \"http://127.0.0.1:1/authorize\""},
		status: "fail", check: "upstream", texts: []string{"hooks.upstream.authorize_url cannot be reached at http://127.0.0.1:1: nothing listens there", "start your own webhook"},
	},
	{
		name: "another secret than the server's", edits: []string{"[turn]\n", "[credentials]\nsecret = \"0123456789abcdef0123456789abcdef\"\n[turn]\n"},
		then: func(t *testing.T, s *server) {
			s.stop(t) // a running server would take the other one
			before, err := os.ReadFile(s.config)
			if err != nil {
				t.Fatal(err)
			}
			other := filepath.Join(s.dir, "other.toml")
			if err := os.WriteFile(other, before, 0o600); err != nil {
				t.Fatal(err)
			}
			s.start(t)
			s.config = other
			edit(t, s, "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210")
		},
		status: "fail", check: "credential", texts: []string{"another secret than this configuration has"},
	},
	{
		name: "the same secret at another server", edits: []string{`host = "127.0.0.1"`, `host = "127.0.0.2"`, "[turn]\n", "[credentials]\nsecret = \"0123456789abcdef0123456789abcdef\"\n[turn]\n"},
		then: func(t *testing.T, s *server) {
			_, port, _ := net.SplitHostPort(s.turn)
			o := serve(t, "enabled = true", "enabled = false", "[turn]\n", "[credentials]\nsecret = \"0123456789abcdef0123456789abcdef\"\n[turn]\n", `"20000-24999"`, `"19000-19100"`)
			o.stop(t)
			edit(t, o, `"`+o.turn+`"`, `"127.0.0.2:`+port+`"`)
			o.start(t)
		},
		status: "fail", check: "listener", texts: []string{"another TURN server answers at 127.0.0.2"},
	},
}

// writePair gives the server a pair of files that ends at end.
func writePair(t *testing.T, s *server, end time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"turn.test"}, NotBefore: end.Add(-24 * time.Hour), NotAfter: end}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: der}} {
		if err := os.WriteFile(filepath.Join(s.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// holdAllocation takes one and keeps it until the test ends.
func holdAllocation(t *testing.T, s *server) {
	t.Helper()
	user, pass := s.credentials(t, "holder")
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	c, err := turnclient.Dial(ctx, turnclient.Options{Transport: "udp", Addr: s.turn, Username: user, Password: pass, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Allocate(ctx, nil); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { // before the server's end: cleanups run last first
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, _ = c.Refresh(ctx, 0)
		_ = c.Close()
	})
}

// Each set-up that is wrong has its cause named.
func TestDoctorNamesTheCause(t *testing.T) {
	for _, b := range brokenServers {
		t.Run(b.name, func(t *testing.T) {
			s := serve(t, b.edits...)
			if b.then != nil {
				b.then(t, s)
			}
			all, code := doctor(t, "", append([]string{"--config", s.config}, b.args...)...)
			found(t, all, b.status, b.check, b.texts...)
			failed := strings.Contains(findings(all), "Status:fail")
			if failed && code != 1 || !failed && code != 0 {
				t.Errorf("exit code %d:\n%s", code, findings(all))
			}
			if b.status == "warn" && b.name != "private address told" && failed {
				t.Errorf("more failed than was wrong:\n%s", findings(all))
			}
		})
	}
}
