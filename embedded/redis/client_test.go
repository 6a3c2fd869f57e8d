package redis_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	embedded "github.com/crolang-p2p/crolang-aio/embedded/redis"
)

const patience = 10 * time.Second

// start runs a server until the test ends; zero fields of cfg are the defaults.
func start(t testing.TB, cfg embedded.Config) *embedded.Server {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	s, err := embedded.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(patience):
			t.Error("Run does not end")
		}
	})
	return s
}

// redis is a raw RESP client.
type redis struct {
	t    testing.TB
	conn net.Conn
	r    *bufio.Reader
}

func dial(t testing.TB, s *embedded.Server) *redis {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &redis{t, conn, bufio.NewReader(conn)}
}

// replyError is an answer that begins with a minus.
type replyError string

func command(args ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	return b.String()
}

func (c *redis) send(args ...string) { c.raw(command(args...)) }

func (c *redis) raw(s string) {
	c.t.Helper()
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Fatal(err)
	}
}

// do sends a command and returns its answer: string, int, nil, replyError or []any.
func (c *redis) do(args ...string) any {
	c.t.Helper()
	c.send(args...)
	return c.read()
}

func (c *redis) read() any {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	v, err := c.parse()
	if err != nil {
		c.t.Fatal(err)
	}
	return v
}

func (c *redis) parse() (any, error) {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return nil, err
	}
	kind, line := line[0], strings.TrimSuffix(line[1:], "\r\n")
	n, numErr := strconv.Atoi(line)
	switch kind {
	case '+':
		return line, nil
	case '-':
		return replyError(line), nil
	case '_':
		return nil, nil
	case ':':
		return n, numErr
	case '$':
		if n < 0 {
			return nil, numErr
		}
		b := make([]byte, n+2)
		_, err := io.ReadFull(c.r, b)
		return string(b[:n]), err
	case '%':
		n *= 2
		fallthrough
	case '*', '>':
		list := []any{}
		for range n {
			v, err := c.parse()
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, numErr
	}
	return nil, fmt.Errorf("cannot parse %q", line)
}

// want runs a command and compares the answer as it is printed.
func (c *redis) want(want any, args ...string) {
	c.t.Helper()
	if got := c.do(args...); fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Errorf("%.80q: got %#v, want %#v", args, got, want)
	}
}

// wantError runs a command and looks for text in the error it must get.
func (c *redis) wantError(text string, args ...string) {
	c.t.Helper()
	got := c.do(args...)
	if e, ok := got.(replyError); !ok || !strings.Contains(string(e), text) {
		c.t.Errorf("%.80q: got %#v, want an error with %q", args, got, text)
	}
}

// wantRead compares what comes next.
func (c *redis) wantRead(want any) {
	c.t.Helper()
	if got := c.read(); fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Errorf("got %.200v, want %.200v", got, want)
	}
}

// wantClosed reads to the end, and returns what came before it.
func (c *redis) wantClosed() string {
	c.t.Helper()
	if err := c.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		c.t.Fatal(err)
	}
	b, err := io.ReadAll(c.r)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Fatalf("still open after %s", patience)
	}
	return string(b)
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not in %s: %s", patience, what)
		}
	}
}

func list(v ...any) []any { return v }

// clock is a clock that a test sets.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func newClock() *clock { return &clock{t: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}
