// Command broker measures the Broker against the same on npm's socket.io, and against the original where that has been built:
// CPU time of the server's process for each message that is relayed and each Node that joins, memory for each idle Node, and
// how long it takes until all Nodes are back. Then the whole program, with what it decides and notes for each message,
// against the original with its five webhooks: CPU for a message, when it is ready, what it takes when idle, and how long it
// takes until 10 000 Nodes are back that have lost their connection at once.
//
//	go run ./bench/broker                              # ours, and a stand-in on socket.io
//	go run ./bench/broker -original DIR/dist/main.js   # and the original
//	go run ./bench/broker -serve [-redis URL]          # ours alone, until it is interrupted
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/embedded/broker"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
)

func main() {
	serving := flag.Bool("serve", false, "run the Broker alone")
	listen := flag.String("listen", "127.0.0.1:0", "its address")
	redisURL := flag.String("redis", "", "its Redis")
	original := flag.String("original", "", "main.js of the original Broker, built")
	idle := flag.Int("idle", 9000, "idle Nodes")
	crowd := flag.Int("crowd", 10_000, "Nodes that lose their connection at once")
	flag.Parse()
	var err error
	if *serving {
		err = serve(*listen, *redisURL)
	} else {
		if err = compare(*original, *idle); err == nil {
			err = whole(*original, *crowd)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// anybody lets everybody do everything.
type anybody struct{}

func (anybody) Authenticate(context.Context, broker.Join) broker.Admission {
	return broker.Admission{Verdict: broker.Verdict{Outcome: broker.Allowed}, Proven: true}
}

func (anybody) Configuration(context.Context, string, netip.Addr) ([]byte, broker.Verdict) {
	return []byte(`{"iceServers":[{"urls":["stun:localhost:3478"]}],"iceTransportPolicy":"all"}`), broker.Verdict{Outcome: broker.Allowed}
}

func (anybody) Authorize(context.Context, string, string) broker.Verdict {
	return broker.Verdict{Outcome: broker.Allowed}
}

func (anybody) Invalid(context.Context, []string, func(string, string)) {}
func (anybody) Message(string, string, bool)                            {}

func serve(listen, redisURL string) error {
	cfg := broker.Config{Listen: listen, Decider: anybody{}, Settings: broker.Settings{
		P2P: true, RelayMessages: true,
		Limits: broker.Limits{Connections: 1 << 20, ConnectionsPerIP: 1 << 20, MessagesPerSecond: 1_000_000},
	}}
	if redisURL != "" {
		client, err := redisurl.Open(redisURL)
		if err != nil {
			return err
		}
		defer client.Close()
		cfg.Redis = client
	}
	b, err := broker.New(cfg)
	if err != nil {
		return err
	}
	fmt.Println(b.Addr())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	return b.Run(ctx)
}

// server is one of those that are compared, in a process of its own.
type server struct {
	name, addr string
	cmd        *exec.Cmd
	also       []int // pids of other processes whose CPU counts
}

func launch(name string, cmd *exec.Cmd, addr string) (*server, error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	s := &server{name: name, addr: addr, cmd: cmd}
	lines := bufio.NewReader(out)
	if addr == "" {
		line, err := lines.ReadString('\n')
		if err != nil {
			return nil, errors.Join(fmt.Errorf("%s did not start: %w", name, err), s.stop())
		}
		s.addr = strings.TrimSpace(line)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		nc, err := net.Dial("tcp", s.addr)
		if err == nil {
			nc.Close()
			return s, nil
		}
		if time.Now().After(deadline) {
			return nil, errors.Join(fmt.Errorf("%s does not listen: %w", name, err), s.stop())
		}
	}
}

func (s *server) stop() error {
	if err := s.cmd.Process.Kill(); err != nil {
		return err
	}
	_ = s.cmd.Wait() // killed
	return nil
}

func compare(original string, idle int) error {
	own, err := os.Executable()
	if err != nil {
		return err
	}
	starts := []func() (*server, error){
		func() (*server, error) { return launch("crolang-aio", exec.Command(own, "-serve"), "") },
		func() (*server, error) {
			return launch("socket.io", exec.Command("node", "internal/e2e/socketio/standin.js"), "")
		},
	}
	if original != "" {
		starts = append(starts, func() (*server, error) {
			cmd := exec.Command("node", original) //nolint:gosec // as asked
			cmd.Env = append(os.Environ(), "PORT=18480")
			return launch("original", cmd, "127.0.0.1:18480")
		})
	}
	fmt.Printf("%-12s %14s %14s %14s %12s %12s\n", "", "µs/message", "µs, saturated", "joins/CPU s", "B/idle Node", "back in")
	for _, start := range starts {
		s, err := start()
		if err != nil {
			return err
		}
		r, err := s.measure(idle)
		if err = errors.Join(err, s.stop()); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Printf("%-12s %14.1f %14.1f %14.0f %12d %12v\n", s.name, r.paced, r.saturated, r.joins, r.idle, r.back.Round(10*time.Millisecond))
	}
	return nil
}
