package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
)

// finding is what doctor prints with --json.
type finding struct{ Check, Status, Detail, Remedy, URL string }

// doctor runs `doctor --json` and returns what it found and its exit code. The password goes by the environment.
func doctor(t *testing.T, password string, args ...string) (all []finding, code int) {
	t.Helper()
	cmd := exec.Command(binary, append([]string{"doctor", "--json"}, args...)...)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CROLANG_AIO_") })
	cmd.Env = append(cmd.Env, "CROLANG_AIO_DOCTOR_PASSWORD="+password)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, _ := cmd.Output()
	if password != "" && strings.Contains(string(out)+stderr.String(), password) {
		t.Error("the password was printed")
	}
	if err := json.Unmarshal(out, &all); err != nil {
		t.Fatalf("%v in %s\n%s", err, out, stderr.String())
	}
	return all, cmd.ProcessState.ExitCode()
}

// found asks for a finding whose texts hold all of these.
func found(t *testing.T, all []finding, status, check string, texts ...string) {
	t.Helper()
	for _, f := range all {
		ok := f.Status == status && f.Check == check
		for _, text := range texts {
			ok = ok && strings.Contains(f.URL+" "+f.Detail+" "+f.Remedy, text)
		}
		if ok {
			return
		}
	}
	t.Errorf("no finding %s %s %q in:\n%s", status, check, texts, findings(all))
}

func findings(all []finding) string {
	var b strings.Builder
	for _, f := range all {
		fmt.Fprintf(&b, "%+v\n", f)
	}
	return b.String()
}

// relayed asks that two allocations exchanged datagrams on every URL.
func relayed(t *testing.T, all []finding, urls ...string) {
	t.Helper()
	for _, url := range urls {
		found(t, all, "ok", "relay", url, "both ways")
	}
}

// Doctor looks at this program from outside, on four transports, and says what stands in the way of a client.
func TestDoctorAtURLs(t *testing.T) {
	s := serve(t)
	_, port, _ := net.SplitHostPort(s.turn)
	_, tlsPort, _ := net.SplitHostPort(s.tls)
	urls := []string{
		"turn:127.0.0.1:" + port + "?transport=udp", "turn:127.0.0.1:" + port + "?transport=tcp",
		"turns:localhost:" + tlsPort + "?transport=tcp", "turns:127.0.0.1:" + tlsPort + "?transport=udp",
	}
	var args []string
	for _, u := range urls {
		args = append(args, "--url", u)
	}
	name, pass := s.credentials(t, "doctor test")
	all, code := doctor(t, pass, append(args, "--username", name, "--url", "stun:127.0.0.1:"+port)...)
	if code != 0 {
		t.Errorf("exit code %d:\n%s", code, findings(all))
	}
	relayed(t, all, urls...)
	found(t, all, "ok", "binding", "stun:127.0.0.1")
	found(t, all, "warn", "certificate", "self-signed")
	found(t, all, "ok", "peer", "peer forbidden (403)")

	all, code = doctor(t, "wrong", append(args, "--username", name)...)
	for _, u := range urls {
		found(t, all, "fail", "allocate", u, "the password is not of its secret", `realm "crolang"`)
	}
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	if out, err := run(t, binary, "ban", "doctor test", "--config", s.config); err != nil {
		t.Fatal(out)
	}
	all, _ = doctor(t, pass, append(args[:2:2], "--username", name)...)
	found(t, all, "fail", "allocate", "401", "banned the Node")
	if log := s.logs(); strings.Contains(log, pass) {
		t.Error("the password is in the server's log")
	}
}

// coturnServer is a running turnserver of Debian.
type coturnServer struct{ port, tlsPort, secret string }

func startCoturn(t *testing.T, more ...string) coturnServer {
	t.Helper()
	path := program(t, "turnserver")
	openssl := program(t, "openssl")
	dir := t.TempDir()
	c := coturnServer{port: fmt.Sprint(must(freeports.Next())(t)), tlsPort: fmt.Sprint(must(freeports.Next())(t)), secret: "coturn-test-secret-0123456789abcdef"}
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if out, err := run(t, openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
		"-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert); err != nil {
		t.Fatal(out)
	}
	args := append([]string{
		"-n", "--no-cli", "--log-file", "stdout", "--pidfile", filepath.Join(dir, "pid"), "--userdb", filepath.Join(dir, "db"),
		"--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1", "--listening-port", c.port, "--tls-listening-port", c.tlsPort,
		"--realm", "coturn.test", "--use-auth-secret", "--static-auth-secret", c.secret, "--cert", cert, "--pkey", key,
	}, more...)
	cmd := exec.Command(path, args...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	deadline := time.Now().Add(20 * time.Second)
	for {
		conn, err := net.Dial("tcp", "127.0.0.1:"+c.tlsPort)
		if err == nil {
			_ = conn.Close()
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal("coturn does not listen")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c coturnServer) urls() []string {
	return []string{
		"turn:127.0.0.1:" + c.port + "?transport=udp", "turn:127.0.0.1:" + c.port + "?transport=tcp",
		"turns:localhost:" + c.tlsPort + "?transport=tcp", "turns:127.0.0.1:" + c.tlsPort + "?transport=udp",
	}
}

// args are those of doctor for every URL, with a credential that ends after ttl.
func (c coturnServer) args(t *testing.T, ttl time.Duration, urls ...string) (args []string, password string) {
	t.Helper()
	keys, err := credential.NewKeyring(c.secret, nil)
	if err != nil {
		t.Fatal(err)
	}
	cred, err := keys.Issue("alice", ttl, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range urls {
		args = append(args, "--url", u)
	}
	return append(args, "--username", cred.Username), cred.Password
}

// Doctor looks at Debian's coturn, in order and set up wrongly.
func TestDoctorAtCoturn(t *testing.T) {
	program(t, "turnserver")
	t.Run("in order", func(t *testing.T) {
		t.Parallel()
		c := startCoturn(t, "--allow-loopback-peers")
		args, password := c.args(t, time.Hour, c.urls()...)
		all, code := doctor(t, password, args...)
		if code != 0 {
			t.Errorf("exit code %d:\n%s", code, findings(all))
		}
		relayed(t, all, c.urls()...)
		for _, u := range c.urls() {
			found(t, all, "ok", "peer", u, "a UDP socket here", "both ways")
		}
		all, _ = doctor(t, "wrong", args...)
		found(t, all, "fail", "allocate", "401", "the password is not of its secret", "static-auth-secret", `realm "coturn.test"`)
		args, password = c.args(t, -2*time.Hour-time.Minute, c.urls()...)
		all, _ = doctor(t, password, args...)
		found(t, all, "fail", "allocate", "401", "expired 2 hours ago")
	})
	t.Run("no loopback peers", func(t *testing.T) {
		t.Parallel()
		c := startCoturn(t)
		args, password := c.args(t, time.Hour, c.urls()[0])
		all, code := doctor(t, password, args...)
		found(t, all, "fail", "relay", "peer forbidden (403)", "allow-loopback-peers")
		if code != 1 {
			t.Errorf("exit code %d", code)
		}
	})
	t.Run("quota of one", func(t *testing.T) {
		t.Parallel()
		c := startCoturn(t, "--allow-loopback-peers", "--user-quota", "1")
		args, password := c.args(t, time.Hour, c.urls()[0])
		all, _ := doctor(t, password, args...)
		found(t, all, "warn", "relay", "a second allocation is refused", "486", "user-quota")
	})
	t.Run("wrong public address", func(t *testing.T) {
		t.Parallel()
		c := startCoturn(t, "--allow-loopback-peers", "--external-ip", "127.0.0.88/127.0.0.1")
		args, password := c.args(t, time.Hour, c.urls()[0])
		all, _ := doctor(t, password, args...)
		found(t, all, "fail", "peer", "only one direction", "from 127.0.0.1", "127.0.0.88", "external-ip")
	})
	t.Run("no STUN", func(t *testing.T) {
		t.Parallel()
		c := startCoturn(t, "--allow-loopback-peers", "--no-stun")
		args, password := c.args(t, time.Hour, c.urls()[0])
		all, _ := doctor(t, password, args...)
		found(t, all, "warn", "binding", "but not to Binding")
	})
	t.Run("no TLS", func(t *testing.T) {
		t.Parallel()
		c := startCoturn(t, "--allow-loopback-peers")
		args, password := c.args(t, time.Hour, "turns:127.0.0.1:"+c.port)
		all, code := doctor(t, password, args...)
		found(t, all, "warn", "certificate", "self-signed") // coturn knows TLS at its plain port, as we do
		if code != 0 {
			t.Errorf("exit code %d:\n%s", code, findings(all))
		}
		bare := startCoturn(t, "--allow-loopback-peers", "--no-dtls")
		args, password = bare.args(t, time.Hour, "turns:127.0.0.1:"+bare.port+"?transport=udp")
		all, _ = doctor(t, password, args...)
		found(t, all, "fail", "tls", "no DTLS", "a TURN server answers there, but without DTLS")
	})
}
