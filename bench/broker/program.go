package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/bench/internal/proc"
	"github.com/crolang-p2p/crolang-aio/internal/freeports"
)

// program is the whole of crolang-aio, built and started as a person does, with its policies, records and metrics.
type program struct {
	*server
	dir, binary, config string
	ready               time.Duration // from its start until the Broker answers
}

// recorded is what the original and its webhooks took for a message when they were measured (2026-11, 2 cores), in µs.
const recorded = 959

const programConfig = `data_dir = "data"
drain_timeout = "1s"
[log]
level = "error"
[turn]
listen = ["127.0.0.1:0"]
listen_tls = []
transports = ["udp"]
[hooks]
listen = %q
[admin]
listen = %q
[broker]
enabled = %v
listen = %q
[broker.limits]
connections = 1000000
connections_per_ip = 1000000
messages_per_second = 1000000
`

// build builds the program into a folder that clean removes.
func build() (p *program, clean func(), err error) {
	dir, err := os.MkdirTemp("", "bench-broker")
	if err != nil {
		return nil, nil, err
	}
	p = &program{dir: dir, binary: filepath.Join(dir, "crolang-aio"), config: filepath.Join(dir, "c.toml")}
	if out, err := exec.Command("go", "build", "-o", p.binary, ".").CombinedOutput(); err != nil { //nolint:gosec // our own
		return nil, nil, errors.Join(fmt.Errorf("go build: %w: %s", err, out), os.RemoveAll(dir))
	}
	return p, func() { _ = os.RemoveAll(dir) }, nil
}

// start starts the program, with its Broker or with webhooks for another.
func (p *program) start(broker bool) error {
	var free [3]string
	for i := range free {
		var err error
		if free[i], err = freeports.Addr(); err != nil {
			return err
		}
	}
	at, hooks, admin := free[0], free[1], free[2]
	text := fmt.Sprintf(programConfig, hooks, admin, broker, at)
	if err := os.WriteFile(p.config, []byte(text), 0o600); err != nil {
		return err
	}
	listens := at
	if !broker {
		listens = hooks
	}
	cmd := exec.Command(p.binary, "serve", "--config", p.config) //nolint:gosec // our own
	cmd.Stderr = os.Stderr
	begun := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	p.server = &server{name: "crolang-aio serve", addr: listens, cmd: cmd}
	for end := begun.Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		nc, err := net.Dial("tcp", listens)
		if err == nil {
			nc.Close()
			p.ready = time.Since(begun)
			return nil
		}
		if time.Now().After(end) {
			return errors.Join(fmt.Errorf("the program does not listen: %w", err), p.stop())
		}
	}
}

// besideOriginal starts the original with its five webhooks at the program, whose CPU counts too.
func (p *program) besideOriginal(main string) (*server, error) {
	if err := p.start(false); err != nil {
		return nil, err
	}
	env, err := exec.Command(p.binary, "broker-env", "--config", p.config).Output() //nolint:gosec // our own
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	cmd := exec.Command("node", main) //nolint:gosec // as asked
	cmd.Dir = p.dir
	at, err := freeports.Addr()
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	_, port, _ := net.SplitHostPort(at)
	cmd.Env = append(os.Environ(), "PORT="+port)
	for line := range strings.Lines(string(env)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			cmd.Env = append(cmd.Env, line)
		}
	}
	s, err := launch("original", cmd, at)
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	s.also = []int{p.cmd.Process.Pid}
	return s, nil
}

// decided is how many messages each pair sends where somebody decides on each.
const decided = 1000

// perMessage is the CPU of all processes for a message that somebody decides on and is told of, in µs.
func (s *server) perMessage() (float64, error) {
	if err := s.talk(1, 200); err != nil { // warm
		return 0, err
	}
	took, err := s.cpu(func() error { return s.talk(1, decided) })
	return float64(took.Microseconds()) / (pairs * decided), err
}

// whole measures the program against the original with its webhooks.
func whole(original string, crowd int) error {
	p, clean, err := build()
	if err != nil {
		return err
	}
	defer clean()
	fmt.Printf("\nWith the decisions of all five webhooks, CPU of all processes for a message:\n")
	peer := float64(recorded)
	if original != "" {
		s, err := p.besideOriginal(original)
		if err != nil {
			return err
		}
		peer, err = s.perMessage()
		if err = errors.Join(err, s.stop(), p.stop()); err != nil {
			return fmt.Errorf("the original with webhooks: %w", err)
		}
		fmt.Printf("%-40s %8.1f µs\n", "original, webhooks at crolang-aio", peer)
	} else {
		fmt.Printf("%-40s %8.1f µs\n", "original with its webhooks, as recorded", peer)
	}
	var ready []time.Duration
	for i := range starts {
		if err := p.start(true); err != nil {
			return err
		}
		if ready = append(ready, p.ready); i < starts-1 {
			if err := p.stop(); err != nil {
				return err
			}
		}
	}
	slices.Sort(ready)
	time.Sleep(3 * time.Second)
	idle, err := proc.RSS(p.cmd.Process.Pid)
	if err != nil {
		return errors.Join(err, p.stop())
	}
	own, err := p.perMessage()
	if err != nil {
		return errors.Join(fmt.Errorf("crolang-aio serve: %w", err), p.stop())
	}
	fmt.Printf("%-40s %8.1f µs, %.2f of it (at most 0.1)\n", "crolang-aio serve", own, own/peer)
	fmt.Printf("ready %v after its start (median of %d, %v to %v; less than 150 ms), %.1f MB when idle (less than 40)\n",
		ready[starts/2].Round(time.Millisecond), starts, ready[0].Round(time.Millisecond), ready[starts-1].Round(time.Millisecond), float64(idle)/1e6)
	back, err := p.lost(crowd)
	if err = errors.Join(err, p.stop()); err != nil {
		return fmt.Errorf("the crowd: %w", err)
	}
	fmt.Printf("%d Nodes that lose their connection at once, and wait 2 s as the library does, are all back after %v (at most 30 s)\n",
		crowd, back.Round(10*time.Millisecond))
	return nil
}

// starts are those of the program, the first of which makes a secret.
const starts = 5

// pause is that of the Node's library after it has lost its connection, and between its attempts.
const pause = 2 * time.Second

// lost has a crowd of Nodes lose their connections at once, and returns after how long the last of them is back.
func (p *program) lost(n int) (time.Duration, error) {
	nodes, err := p.crowd(n)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	for _, c := range nodes {
		if tcp, ok := c.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // as a network that has gone
		}
		c.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	done := make(chan error, n)
	back := make([]net.Conn, n)
	for i := range n {
		go func() {
			for {
				select {
				case <-time.After(pause):
				case <-ctx.Done():
					done <- ctx.Err()
					return
				}
				c, err := p.join(fmt.Sprint("idle-", i))
				if err == nil {
					back[i] = c.Conn
					done <- nil
					return
				}
				if strings.Contains(err.Error(), "44{") {
					done <- fmt.Errorf("a Node is told no, and gives up: %w", err)
					return
				}
			}
		}()
	}
	for range n {
		err = errors.Join(err, <-done)
	}
	took := time.Since(began)
	for _, c := range back {
		if c != nil {
			c.Close()
		}
	}
	return took, err
}
