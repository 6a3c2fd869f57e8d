//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// notifySocket is the socket of a supervisor; await takes its messages until one begins with text.
func notifySocket(t *testing.T) (name string, await func(text string) string) {
	t.Helper()
	name = filepath.Join(t.TempDir(), "notify")
	c := must(net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"}))(t)
	t.Cleanup(func() { _ = c.Close() })
	return name, func(text string) string {
		t.Helper()
		buf := make([]byte, 4096)
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
		for {
			n, err := c.Read(buf)
			if err != nil {
				t.Fatalf("waiting for %s: %v", text, err)
			}
			if got := string(buf[:n]); strings.HasPrefix(got, text) {
				return got
			}
		}
	}
}

// A supervisor is told when all listeners are up, that the process answers, of each reload, and of the end.
func TestSupervisorIsTold(t *testing.T) {
	name, await := notifySocket(t)
	s := serveWith(t, func(s *server) { s.env = []string{"NOTIFY_SOCKET=" + name, "WATCHDOG_USEC=1000000"} },
		`drain_timeout = "2s"`, `drain_timeout = "1h"`)
	if got := await("READY=1"); got != "READY=1\nSTATUS=0 live allocations, 0 Nodes connected." {
		t.Errorf("%q", got)
	}
	for range 3 {
		await("WATCHDOG=1")
	}
	for _, text := range []string{"", "nonsense"} {
		if text != "" {
			if err := os.WriteFile(s.config, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_ = s.cmd.Process.Signal(syscall.SIGHUP)
		if got := await("RELOADING=1"); !strings.HasPrefix(got, "RELOADING=1\nMONOTONIC_USEC=") {
			t.Errorf("%q", got)
		}
		await("READY=1")
	}
	c := s.client(t, "udp", "live")
	must(c.Allocate(patiently(t), nil))(t)
	await("STATUS=1 live allocation, 1 Node connected.")
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	if got := await("STOPPING=1"); !strings.Contains(got, "\nSTATUS=Draining: 1 live allocation, 3") || !strings.Contains(got, "\nEXTEND_TIMEOUT_USEC=36") {
		t.Errorf("%q", got)
	}
	await("WATCHDOG=1") // also while it drains
	must(c.Refresh(patiently(t), 0))(t)
	select {
	case <-s.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("does not end\n%s", s.logs())
	}
}

// listening is a listener that the test holds for the server, with the file to pass.
func listening(t *testing.T, addr string) *os.File {
	t.Helper()
	l := must(net.Listen("tcp", addr))(t).(*net.TCPListener)
	t.Cleanup(func() { _ = l.Close() })
	f := must(l.File())(t)
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// broker calls webhooks as axios does: what fails is not tried again.
type broker struct {
	t             *testing.T
	addr          string
	calls, failed atomic.Int64
	connections   atomic.Int64
	wg            sync.WaitGroup
	stop          chan struct{}
}

// call makes one call on conn, or on a connection of its own where that is nil, and returns what can be used again.
func (b *broker) call(conn net.Conn) net.Conn {
	b.calls.Add(1)
	next, err := b.exchange(conn)
	if err != nil {
		b.failed.Add(1)
		b.t.Errorf("a webhook call failed: %v", err)
	}
	return next
}

func (b *broker) exchange(conn net.Conn) (net.Conn, error) {
	if conn == nil {
		var err error
		if conn, err = net.DialTimeout("tcp", b.addr, 20*time.Second); err != nil {
			return nil, err
		}
		b.connections.Add(1)
	}
	const body = `{"nodeId":"Alice"}`
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := fmt.Fprintf(conn, "POST /resolve-rtc-configuration HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s",
		b.addr, len(body), body); err != nil {
		_ = conn.Close()
		return nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK || !strings.Contains(string(got), `"username"`) {
		_ = conn.Close()
		return nil, fmt.Errorf("%s %w %s", res.Status, err, got)
	}
	if res.Close {
		_ = conn.Close()
		return nil, nil
	}
	return conn, nil
}

// each calls f at the rate until the broker stops, and then last.
func (b *broker) each(every time.Duration, f, last func()) {
	b.wg.Go(func() {
		defer last()
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-b.stop:
				return
			case <-tick.C:
				f()
			}
		}
	})
}

// begin makes 100 calls a second on ten connections that are kept, and 100 on fresh ones.
func (b *broker) begin() {
	for range 10 {
		var kept net.Conn
		b.each(100*time.Millisecond, func() { kept = b.call(kept) }, func() {
			if kept != nil {
				_ = kept.Close()
			}
		})
	}
	b.each(10*time.Millisecond, func() {
		b.wg.Go(func() {
			if c := b.call(nil); c != nil {
				_ = c.Close()
			}
		})
	}, func() {})
}

// Where another process holds the listener, a restart under 200 webhook calls a second refuses and loses none.
func TestRestartLosesNoWebhookCall(t *testing.T) {
	s := serveWith(t, func(s *server) {
		s.sockets = []*os.File{listening(t, s.hooks), listening(t, s.turn)}
		s.env = []string{"LISTEN_FDS=2", "LISTEN_FDNAMES=hooks:turn"}
	})
	b := &broker{t: t, addr: s.hooks, stop: make(chan struct{})}
	b.begin()
	const restarts = 3
	for i := range restarts {
		before := b.calls.Load()
		eventually(t, "a second of calls", 20*time.Second, func() bool { return b.calls.Load() >= before+200 })
		begun := time.Now()
		s.stop(t)
		down := time.Now()
		s.start(t)
		t.Logf("restart %d: ended within %s, ready again after %s", i+1, down.Sub(begun).Round(time.Millisecond), time.Since(down).Round(time.Millisecond))
	}
	before := b.calls.Load()
	eventually(t, "a second of calls", 20*time.Second, func() bool { return b.calls.Load() >= before+200 })
	close(b.stop)
	b.wg.Wait()
	t.Logf("%d calls over %d connections, %d failed", b.calls.Load(), b.connections.Load(), b.failed.Load())
	if n := b.calls.Load(); n < (restarts+1)*200 {
		t.Errorf("%d calls", n)
	}
	c := must(turnclient.Dial(patiently(t), turnclient.Options{Transport: "tcp", Addr: s.turn}))(t)
	defer c.Close()
	must(c.Binding(patiently(t)))(t)
}

// A socket that nothing listens on is an error that names it: clients would wait there for ever.
func TestPassedSocketThatNobodyWants(t *testing.T) {
	s := serve(t)
	s.stop(t)
	f := listening(t, "127.0.0.1:0")
	for names, want := range map[string]string{
		"admn": `nothing of the configuration listens on 3 ("admn", tcp `,
		"turn": "is at no address of turn.listen and turn.listen_tls",
	} {
		cmd := s.command()
		cmd.ExtraFiles = []*os.File{f}
		cmd.Env = append(cmd.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES="+names)
		if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%s: %v\n%s", names, err, out)
		}
	}
	// On an address that others reach, a listener without a secret stays closed.
	wild := listening(t, "0.0.0.0:0")
	cmd := s.command()
	cmd.ExtraFiles = []*os.File{wild}
	cmd.Env = append(cmd.Env, "LISTEN_FDS=1", "LISTEN_FDNAMES=hooks")
	if out, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(out), "but hooks.listen is loopback, where no secret is asked for") {
		t.Errorf("%v\n%s", err, out)
	}
}
