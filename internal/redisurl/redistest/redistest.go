// Package redistest runs Debian's redis-server and redis-sentinel for tests.
package redistest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
)

// Server is a redis-server or redis-sentinel in a process of its own.
type Server struct {
	Addr string // 127.0.0.1:PORT
	Log  string // the file of its log
	cmd  *exec.Cmd
	done chan struct{}
}

// Serve starts a redis-server that keeps nothing on disk, with further lines of its configuration, and waits until it
// answers. The test ends it, if nobody has. Where the program is not installed the test is skipped, or fails if
// CROLANG_AIO_REQUIRE_PEERS is set.
func Serve(t testing.TB, lines ...string) *Server {
	t.Helper()
	return start(t, "redis-server", append([]string{"save \"\"", "appendonly no", "repl-diskless-sync-delay 0"}, lines...))
}

// Sentinel starts a redis-sentinel that watches master under the name mymaster, alone, and gives up on it after a second.
func Sentinel(t testing.TB, master *Server, lines ...string) *Server {
	t.Helper()
	host, port, _ := net.SplitHostPort(master.Addr)
	return start(t, "redis-sentinel", append([]string{
		fmt.Sprintf("sentinel monitor mymaster %s %s 1", host, port),
		"sentinel down-after-milliseconds mymaster 1000", "sentinel failover-timeout mymaster 5000",
	}, lines...))
}

func start(t testing.TB, name string, lines []string) *Server {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CROLANG_AIO_REQUIRE_PEERS") != "" {
			t.Fatalf("run tools/peers.sh: %v", err)
		}
		t.Skipf("run tools/peers.sh for this test: %v", err)
	}
	addr, err := freeports.Addr()
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: addr, done: make(chan struct{})}
	_, port, _ := net.SplitHostPort(s.Addr)
	dir := t.TempDir()
	s.Log = filepath.Join(dir, "log")
	text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %s\nlogfile %s\n", port, dir, s.Log)
	for _, line := range lines {
		text += line + "\n"
	}
	file := filepath.Join(dir, "conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(program, file) //nolint:gosec // Debian's
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { defer close(s.done); _ = s.cmd.Wait() }()
	t.Cleanup(s.Kill)
	s.answers(t)
	return s
}

// answers waits for the server, whatever it answers.
func (s *Server) answers(t testing.TB) {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: s.Addr, DisableIdentity: true, Protocol: 2, MaxRetries: -1})
	defer client.Close()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		err := client.Do(context.Background(), "PING").Err()
		if _, ok := err.(redis.Error); ok || err == nil { //nolint:errorlint // what it says is that of its own
			return
		}
	}
	log, _ := os.ReadFile(s.Log)
	t.Fatalf("%s does not answer:\n%s", s.cmd.Path, log)
}

// Kill ends the server at once.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	<-s.done
}

// Stop has the server stand still, and Continue go on: a Redis that is slow.
func (s *Server) Stop() error { return s.cmd.Process.Signal(stop) }

// Continue undoes Stop.
func (s *Server) Continue() error { return s.cmd.Process.Signal(cont) }
