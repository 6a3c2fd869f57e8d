package hooks

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/internal/proc"
)

const (
	connections = 16
	warmUp      = 1500 * time.Millisecond // V8 takes a while to compile what is hot
	measured    = 3 * time.Second
	goal        = 5.0 // times Express, per second of CPU time
)

// calls are the requests of each webhook.
func calls() map[string][][]byte {
	ids := make([]string, 20)
	for i := range ids {
		ids[i] = fmt.Sprintf(`"node-%08d-abcdefghijkl"`, i)
	}
	c := map[string][][]byte{
		"authenticate": {request("/authenticate-node", `{"id":"Alice","data":"{\"token\":\"0123456789\"}"}`)},
		"resolve":      {request("/resolve-rtc-configuration", `{"nodeId":"Alice"}`)},
		"authorize":    {request("/authorize-nodes-communication", `{"from":"Alice","to":"Bob"}`)},
		"validity":     {request("/validity-check", `{"connectedNodesIds":[`+strings.Join(ids, ",")+`]}`)},
		"message":      {request("/authenticated-socket-msg", `{"senderId":"Alice","receiverId":"Bob","isReceiverConnected":true}`)},
	}
	c["all"] = slices.Concat(c["authenticate"], c["resolve"], c["authorize"], c["validity"], c["message"])
	return c
}

// BenchmarkWebhooks loads Express and the program in turn, each webhook by itself and all of them together.
func BenchmarkWebhooks(b *testing.B) {
	if runtime.GOOS != "linux" {
		b.Skip("CPU time is read from Linux' /proc")
	}
	express, ours := startExpress(b), startOurs(b)
	all := calls()
	for _, name := range []string{"authenticate", "resolve", "authorize", "validity", "message", "all"} {
		b.Run(name, func(b *testing.B) {
			var theirs, own float64
			for range b.N {
				theirs += express.perCPUSecond(b, all[name])
				own += ours.perCPUSecond(b, all[name])
			}
			n := float64(b.N)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(theirs/n, "express-req/cpu-s")
			b.ReportMetric(own/n, "aio-req/cpu-s")
			b.ReportMetric(own/theirs, "ratio")
			if name == "all" && own < goal*theirs {
				b.Errorf("only %.1f times Express, the goal is %.0f", own/theirs, goal)
			}
		})
	}
}

// target is a running server.
type target struct {
	address string
	pid     int
}

func (s *target) perCPUSecond(b *testing.B, requests [][]byte) float64 {
	b.Helper()
	if _, err := load(b.Context(), s.address, requests, connections, warmUp); err != nil {
		b.Fatal(err)
	}
	before, err := proc.CPU(s.pid)
	if err != nil {
		b.Fatal(err)
	}
	answers, err := load(b.Context(), s.address, requests, connections, measured)
	if err != nil {
		b.Fatal(err)
	}
	after, err := proc.CPU(s.pid)
	if err != nil || after <= before {
		b.Fatalf("CPU time from %v to %v: %v", before, after, err)
	}
	return float64(answers) / (after - before).Seconds()
}

// peer skips the benchmark where something is missing, or fails it where all must be there.
func peer(b *testing.B, what string, ok bool) {
	b.Helper()
	if ok {
		return
	}
	if os.Getenv("CROLANG_AIO_REQUIRE_PEERS") != "" {
		b.Fatalf("%s is missing", what)
	}
	b.Skipf("%s is not installed", what)
}

func startExpress(b *testing.B) *target {
	b.Helper()
	node, err := exec.LookPath("node")
	peer(b, "node", err == nil)
	_, err = os.Stat("../hooks-express/node_modules/express")
	peer(b, "express (npm ci in bench/hooks-express)", err == nil)
	address := freeAddress(b)
	cmd := exec.Command(node, "../hooks-express/server.js")
	_, port, _ := net.SplitHostPort(address)
	cmd.Env = append(os.Environ(), "PORT="+port, "NODE_ENV=production")
	return start(b, cmd, address)
}

func startOurs(b *testing.B) *target {
	b.Helper()
	dir := b.TempDir()
	binary := filepath.Join(dir, "crolang-aio")
	if out, err := exec.Command("go", "build", "-o", binary, "../..").CombinedOutput(); err != nil {
		b.Fatalf("building the program: %v\n%s", err, out)
	}
	address := freeAddress(b)
	config := filepath.Join(dir, "bench.toml")
	text := fmt.Sprintf("[log]\nlevel = \"error\"\n[public]\nhost = \"127.0.0.1\"\nipv6 = \"off\"\n[turn]\nlisten = [%q]\nlisten_tls = [%q]\n[hooks]\nlisten = %q\n[admin]\nlisten = %q\n",
		freeAddress(b), freeAddress(b), address, freeAddress(b))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(binary, "serve", "--config", config)
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "CROLANG_AIO_") })
	return start(b, cmd, address)
}

func freeAddress(b *testing.B) string {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start runs a server until the benchmark ends, and waits until it answers.
func start(b *testing.B, cmd *exec.Cmd, address string) *target {
	b.Helper()
	output, err := cmd.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for lines := bufio.NewScanner(output); lines.Scan(); {
			fmt.Fprintln(os.Stderr, lines.Text())
		}
		_ = cmd.Wait()
	}()
	b.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		<-ended
	})
	ctx, cancel := context.WithTimeout(b.Context(), 20*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		if conn, err := net.Dial("tcp", address); err == nil {
			_ = conn.Close()
			return &target{address: address, pid: cmd.Process.Pid}
		}
		select {
		case <-ended:
			b.Fatal("the server ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
	b.Fatal("the server did not start within 20 s")
	return nil
}
