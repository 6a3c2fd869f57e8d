package e2e

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
)

// inFront starts a proxy on this configuration until the test ends, and waits until it listens at the address.
func inFront(t *testing.T, at string, cmd *exec.Cmd) {
	t.Helper()
	var log strings.Builder
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = &log, &log, 5*time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
	})
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		select {
		case <-ended:
			t.Fatalf("it ended\n%s", log.String())
		default:
		}
		if c, err := net.Dial("tcp", at); err == nil {
			_ = c.Close()
			return
		}
	}
	t.Fatal("it does not listen")
}

// configured writes a proxy's configuration from deploy, with texts replaced, and returns its file.
func configured(t *testing.T, name string, replace ...string) string {
	t.Helper()
	b, err := os.ReadFile("../../deploy/" + name)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("%s has no %q", name, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// haproxyInFront starts HAProxy as deploy has it, and returns where it listens.
func haproxyInFront(t *testing.T, s *server, how string) string {
	t.Helper()
	at := must(freeports.Addr())(t)
	file := configured(t, "haproxy.cfg", "bind :443", "bind "+at, "127.0.0.1:5349 send-proxy-v2", s.tls+" "+how)
	inFront(t, at, exec.Command(program(t, "haproxy"), "-db", "-f", file))
	return at
}

// nginxInFront starts nginx as deploy has it, and returns where it listens.
func nginxInFront(t *testing.T, s *server) string {
	t.Helper()
	at := must(freeports.Addr())(t)
	stream := configured(t, "nginx-stream.conf", "443;\n\t\tssl_preread", at+";\n\t\tssl_preread", "127.0.0.1:5349", s.tls, "127.0.0.1:8443", s.tls)
	dir := t.TempDir()
	file := filepath.Join(dir, "nginx.conf")
	main := fmt.Sprintf("load_module %s;\npid %s/pid;\nerror_log stderr;\ndaemon off;\nmaster_process off;\nevents {}\ninclude %s;\n",
		nginxStream, dir, stream)
	if err := os.WriteFile(file, []byte(main), 0o600); err != nil {
		t.Fatal(err)
	}
	inFront(t, at, exec.Command(program(t, "nginx"), "-c", file, "-p", dir, "-e", "stderr"))
	return at
}

// nginxStream is Debian's module.
const nginxStream = "/usr/lib/nginx/modules/ngx_stream_module.so"

// Behind HAProxy and nginx a client's own address is what it is told, what why has, and what limits go by; HTTP goes the same
// way. Only listed proxies are believed.
func TestProxiesInFront(t *testing.T) {
	npm(t, "socketio")
	program(t, "haproxy")
	program(t, "nginx")
	_, err := os.Stat(nginxStream)
	peer(t, "nginx's stream module", err == nil)
	for _, c := range []struct {
		name  string
		front func(*testing.T, *server) string
	}{
		{"HAProxy, v2", func(t *testing.T, s *server) string { return haproxyInFront(t, s, "send-proxy-v2") }},
		{"HAProxy, v1", func(t *testing.T, s *server) string { return haproxyInFront(t, s, "send-proxy") }},
		{"HAProxy, v2, with checks and more", func(t *testing.T, s *server) string {
			return haproxyInFront(t, s, "send-proxy-v2 proxy-v2-options unique-id,authority check check-send-proxy inter 100ms")
		}},
		{"nginx, v1", nginxInFront},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, r := onePort(t, "[turn]\n", "[turn]\nproxy_protocol = [\"127.0.0.1\"]\n")
			at := c.front(t, s)
			client, a := s.allocation(t, "tls", at, "Alice")
			own := client.Conn().LocalAddr().String()
			if a.Mapped != netip.MustParseAddrPort(own) {
				t.Errorf("the client is at %s, and told %s", own, a.Mapped)
			}
			out, err := run(t, binary, "allocations", "--json", "--config", s.config)
			if err != nil || !strings.Contains(out, own) {
				t.Errorf("allocations have not the client's own address %s: %v\n%s", own, err, out)
			}
			if status, body := r.fetch(t, at, "/api/status", operatorsToken); status != 200 {
				t.Errorf("HTTP: %d %s", status, body)
			}
			cmd := exec.Command("node", "socketio/nodes.js", "https://localhost:"+at[strings.LastIndex(at, ":")+1:])
			cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+r.file)
			if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), `"ok":true`) {
				t.Errorf("%v\n%s\n%s", err, out, s.logs())
			}
		})
	}
	t.Run("not listed", func(t *testing.T) {
		s, r := onePort(t)
		at := haproxyInFront(t, s, "send-proxy-v2")
		if c, err := tls.Dial("tcp", at, &tls.Config{RootCAs: r.pool, ServerName: "localhost"}); err == nil {
			_ = c.Close()
			t.Error("a proxy that is not listed is believed")
		}
		if status, body := r.fetch(t, s.tls, "/metrics", operatorsToken); status != 200 || strings.Contains(body, `foreign_proxy"} 0`) || !strings.Contains(body, `connections_turned_away_total{cause="foreign_proxy"} `) {
			t.Errorf("%d: it is not counted", status)
		}
	})
}
