package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

const (
	startWithin = 15 * time.Second
	stopWithin  = 10 * time.Second
	outputKept  = 8 << 10
)

// kind is one of the servers that are compared.
type kind interface {
	name() string
	version(ctx context.Context) string
	// command writes what the server needs into the empty folder dir.
	command(ctx context.Context, dir string, a addresses) (*exec.Cmd, error)
	streams() bool // it takes clients over TCP and TLS as well
}

// addresses are where a server listens: hooks and admin on 127.0.0.1, all else on the network's address.
type addresses struct {
	network
	plain, tls   int // ports for UDP and TCP, and for TLS
	hooks, admin int // ours only
	low, high    int // relay ports
	secret       string
}

func (a addresses) of(transport string) string {
	if transport == "tls" {
		return a.at(a.tls)
	}
	return a.at(a.plain)
}

func (n network) at(port int) string { return net.JoinHostPort(n.server, strconv.Itoa(port)) }

// Ports for listeners and relays lie below those that Linux gives to clients (32768 to 60999), which the generator's
// sockets come from.
const (
	listenLow = 10000
	relayLow  = 20000
	relayHigh = 29999
)

// choose finds ports that nothing on this machine listens on, neither by UDP nor by TCP.
func choose(n network, secret string) (addresses, error) {
	a := addresses{network: n, low: relayLow, high: relayHigh, secret: secret}
	taken := make(map[int]bool)
	for _, port := range []*int{&a.plain, &a.tls, &a.hooks, &a.admin} {
		for try := 0; *port == 0; try++ {
			p := listenLow + rand.IntN(relayLow-listenLow)
			err := free(p)
			if err == nil && !taken[p] {
				*port, taken[p] = p, true
			} else if try == 100 {
				return a, fmt.Errorf("no free port from %d to %d: %w", listenLow, relayLow-1, err)
			}
		}
	}
	return a, nil
}

func free(port int) error {
	l, err := net.Listen("tcp", loopback.at(port))
	if err != nil {
		return err
	}
	u, err := net.ListenPacket("udp", loopback.at(port))
	if err != nil {
		return errors.Join(err, l.Close())
	}
	return errors.Join(l.Close(), u.Close())
}

// server is a running server. Its owner calls stop.
type server struct {
	addresses
	cmd     *exec.Cmd
	output  *tail
	ended   chan struct{}
	started time.Time
	dir     string
}

// launch starts a server in a folder of its own below the given one, without waiting until it is ready.
func launch(ctx context.Context, k kind, dir string, a addresses) (*server, error) {
	cmd, err := k.command(ctx, dir, a)
	if err != nil {
		return nil, fmt.Errorf("preparing %s: %w", k.name(), err)
	}
	s := &server{addresses: a, cmd: cmd, output: &tail{}, ended: make(chan struct{}), dir: dir}
	cmd.Stdout, cmd.Stderr, cmd.Dir = s.output, s.output, dir
	cmd.WaitDelay = stopWithin
	if err := a.move(cmd); err != nil {
		return nil, fmt.Errorf("starting %s: %w", k.name(), err)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	s.started = time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", k.name(), err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is told by what it printed
		close(s.ended)
	}()
	return s, nil
}

// start starts a server and waits until it answers on every transport.
func start(ctx context.Context, k kind, n network, dir, secret string) (*server, error) {
	a, err := choose(n, secret)
	if err != nil {
		return nil, err
	}
	s, err := launch(ctx, k, dir, a)
	if err != nil {
		return nil, err
	}
	answers := s.datagrams
	if k.streams() {
		answers = s.answers
	}
	if err := s.await(ctx, answers); err != nil {
		s.stop()
		return nil, fmt.Errorf("%s: %w", k.name(), err)
	}
	return s, nil
}

// await asks until it is told yes. It fails when the process ends, or takes too long.
func (s *server) await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.ended:
			return fmt.Errorf("it has ended: %s", s.output)
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v: %w: %s", startWithin, err, s.output)
		case <-time.After(time.Millisecond):
		}
	}
}

// answers asks with STUN over UDP and connects to both TCP ports.
func (s *server) answers(ctx context.Context) error {
	var d net.Dialer
	for _, port := range []int{s.plain, s.tls} {
		conn, err := d.DialContext(ctx, "tcp", s.at(port))
		if err != nil {
			return err
		}
		_ = conn.Close()
	}
	return s.datagrams(ctx)
}

// datagrams asks with STUN over UDP.
func (s *server) datagrams(ctx context.Context) error {
	c, err := turnclient.Dial(ctx, turnclient.Options{Transport: "udp", Addr: s.at(s.plain), Timeout: time.Second})
	if err != nil {
		return err
	}
	_, err = c.Binding(ctx)
	return errors.Join(err, c.Close())
}

// stop ends the server and waits for it.
func (s *server) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
		return
	case <-time.After(stopWithin):
		_ = s.cmd.Process.Kill()
	}
	<-s.ended
}

// tail keeps the last of what a process prints.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - outputKept; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}

// output runs a command that prints one short thing; empty where it fails.
func output(ctx context.Context, name string, args ...string) string {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	b, err := exec.CommandContext(ctx, name, args...).Output() //nolint:gosec // names of this program's own, or the operator's
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// write puts a file that only this user can read into a server's folder.
func write(path, text string) error { return os.WriteFile(path, []byte(text), 0o600) }
