// Package servers starts the servers that benchmarks compare: this repository's and coturn, each with fresh data and on
// ports of its own.
package servers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

const (
	startWithin = 15 * time.Second
	stopWithin  = 10 * time.Second
	outputKept  = 8 << 10
)

// Kind is a server program: this repository's, or a peer.
type Kind interface {
	Name() string
	Version(ctx context.Context) string
	// Command writes what the server needs into the empty folder dir.
	Command(ctx context.Context, dir string, a Addresses) (*exec.Cmd, error)
	Streams() bool // it takes clients over TCP and TLS as well
}

// Addresses are where a server listens: hooks and admin on 127.0.0.1, all else on the network's address.
type Addresses struct {
	Network
	Plain, TLS   int // ports for UDP and TCP, and for TLS
	Hooks, Admin int // of Ours only
	Low, High    int // relay ports
	Secret       string
}

// Of is the address for a transport: udp, tcp or tls.
func (a Addresses) Of(transport string) string {
	if transport == "tls" {
		return a.At(a.TLS)
	}
	return a.At(a.Plain)
}

// At is a port at the server's address.
func (n Network) At(port int) string { return net.JoinHostPort(n.Server, strconv.Itoa(port)) }

// Ports for relays lie below those that Linux gives to clients (32768 to 60999), which the generator's sockets come from, as
// those for listeners do.
const (
	relayLow  = 20000
	relayHigh = 29999
)

// Choose finds ports that nothing on this machine listens on, neither by UDP nor by TCP.
func Choose(n Network, secret string) (Addresses, error) {
	a := Addresses{Network: n, Low: relayLow, High: relayHigh, Secret: secret}
	for _, port := range []*int{&a.Plain, &a.TLS, &a.Hooks, &a.Admin} {
		var err error
		if *port, err = freeports.Next(); err != nil {
			return a, err
		}
	}
	return a, nil
}

// Server is a running server. Its owner calls [Server.Stop].
type Server struct {
	Addresses
	Cmd     *exec.Cmd
	Output  *Tail
	Ended   chan struct{} // closed when the process has ended
	Started time.Time
}

// Launch starts a server in a folder of its own below the given one, without waiting until it is ready.
func Launch(ctx context.Context, k Kind, dir string, a Addresses) (*Server, error) {
	cmd, err := k.Command(ctx, dir, a)
	if err != nil {
		return nil, fmt.Errorf("preparing %s: %w", k.Name(), err)
	}
	s := &Server{Addresses: a, Cmd: cmd, Output: &Tail{}, Ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr, cmd.Dir = s.Output, s.Output, dir
	cmd.WaitDelay = stopWithin
	if err := a.move(cmd); err != nil {
		return nil, fmt.Errorf("starting %s: %w", k.Name(), err)
	}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	s.Started = time.Now()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", k.Name(), err)
	}
	go func() {
		_ = cmd.Wait() // how it ended is told by what it printed
		close(s.Ended)
	}()
	return s, nil
}

// Start starts a server and waits until it answers on every transport.
func Start(ctx context.Context, k Kind, n Network, dir, secret string) (*Server, error) {
	a, err := Choose(n, secret)
	if err != nil {
		return nil, err
	}
	s, err := Launch(ctx, k, dir, a)
	if err != nil {
		return nil, err
	}
	answers := s.datagrams
	if k.Streams() {
		answers = s.answers
	}
	if err := s.Await(ctx, answers); err != nil {
		s.Stop()
		return nil, fmt.Errorf("%s: %w", k.Name(), err)
	}
	return s, nil
}

// Await asks until it is told yes. It fails when the process ends, or takes too long.
func (s *Server) Await(ctx context.Context, ready func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, startWithin)
	defer cancel()
	for {
		err := ready(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-s.Ended:
			return fmt.Errorf("it has ended: %s", s.Output)
		case <-ctx.Done():
			return fmt.Errorf("not ready after %v: %w: %s", startWithin, err, s.Output)
		case <-time.After(time.Millisecond):
		}
	}
}

// answers asks with STUN over UDP and connects to both TCP ports.
func (s *Server) answers(ctx context.Context) error {
	var d net.Dialer
	for _, port := range []int{s.Plain, s.TLS} {
		conn, err := d.DialContext(ctx, "tcp", s.At(port))
		if err != nil {
			return err
		}
		_ = conn.Close()
	}
	return s.datagrams(ctx)
}

// datagrams asks with STUN over UDP.
func (s *Server) datagrams(ctx context.Context) error {
	c, err := turnclient.Dial(ctx, turnclient.Options{Transport: "udp", Addr: s.At(s.Plain), Timeout: time.Second})
	if err != nil {
		return err
	}
	_, err = c.Binding(ctx)
	return errors.Join(err, c.Close())
}

// Stop ends the server and waits for it.
func (s *Server) Stop() {
	_ = s.Cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.Ended:
		return
	case <-time.After(stopWithin):
		_ = s.Cmd.Process.Kill()
	}
	<-s.Ended
}

// Tail keeps the last of what a process prints.
type Tail struct {
	mu sync.Mutex
	b  []byte
}

// Write implements io.Writer.
func (t *Tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, b...)
	if over := len(t.b) - outputKept; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	return len(b), nil
}

// String is what was printed last.
func (t *Tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(bytes.TrimSpace(t.b))
}

// Output runs a command that prints one short thing; empty where it fails.
func Output(ctx context.Context, name string, args ...string) string {
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
