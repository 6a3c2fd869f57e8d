package redis

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2/server"
)

func testServer(t testing.TB) *Server {
	t.Helper()
	s, err := New(Config{Listen: "127.0.0.1:0", MaxCommand: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.ln.Close(); s.store.close() })
	return s
}

// offline is a client whose answers are looked at in its outbox.
func offline(t testing.TB, s *Server) (*client, func() string) {
	near, far := net.Pipe()
	t.Cleanup(func() { near.Close(); far.Close() })
	c := newClient(s, near, 1)
	return c, func() string {
		c.out.mu.Lock()
		defer c.out.mu.Unlock()
		var all strings.Builder
		for _, f := range c.out.frames {
			all.Write(f.data)
		}
		c.out.sent(c.out.bytes)
		return all.String()
	}
}

// A panic in miniredis, lock held or not, costs the keys and nothing else.
func TestPanicIsContained(t *testing.T) {
	var log bytes.Buffer
	s := testServer(t)
	s.store.log = slog.New(slog.NewTextHandler(&log, nil))
	c, answer := offline(t, s)
	c.execute([][]byte{[]byte("SET"), []byte("k"), []byte("v")})
	if got := answer(); got != "+OK\r\n" {
		t.Fatalf("SET: %q", got)
	}
	mr := s.store.mr
	if err := mr.Server().Register("TYPE2", func(p *server.Peer, _ string, _ []string) {
		p.WriteBulk("half an answer")
		mr.Lock()
		panic("as in withTx")
	}); err != nil {
		t.Fatal(err)
	}
	c.dispatch("TYPE2", nil, effect{})
	if got := answer(); got != "-"+errBroken.Error()+"\r\n" {
		t.Errorf("answer %q", got)
	}
	if n := strings.Count(log.String(), "failed unexpectedly"); n != 1 {
		t.Errorf("%d lines: %s", n, log.String())
	}
	c.execute([][]byte{[]byte("GET"), []byte("k")})
	c.execute([][]byte{[]byte("SET"), []byte("k"), []byte("w"), []byte("NX")})
	if got := answer(); got != "$-1\r\n+OK\r\n" {
		t.Errorf("afterwards: %q", got)
	}
}

// flaky is a listener that is out of descriptors for a while.
type flaky struct {
	net.Listener
	failures atomic.Int32
}

func (f *flaky) Accept() (net.Conn, error) {
	if f.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
	}
	return f.Listener.Accept()
}

func TestAcceptGoesOn(t *testing.T) {
	s := testServer(t)
	f := &flaky{Listener: s.ln}
	f.failures.Store(5)
	s.ln = f
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	if err := s.Ping(ctx); err != nil {
		t.Error(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestGlob(t *testing.T) {
	for _, tt := range []struct {
		pattern string
		yes, no []string
	}{
		{"", []string{""}, []string{"a"}},
		{"*", []string{"", "a", "a\nb\x00\xff"}, nil},
		{"a", []string{"a"}, []string{"", "A", "aa"}},
		{"h?llo", []string{"hello", "h\nllo"}, []string{"hllo", "heello"}},
		{"h*llo", []string{"hllo", "heeeello", "hllollo"}, []string{"hllox"}},
		{"h[ae]llo", []string{"hello", "hallo"}, []string{"hillo", "hllo"}},
		{"h[^e]llo", []string{"hallo"}, []string{"hello"}},
		{"h[a-c]llo", []string{"hbllo"}, []string{"hdllo", "h-llo"}},
		{"h[c-a]llo", []string{"hbllo"}, []string{"hdllo"}},
		{`h\*llo`, []string{"h*llo"}, []string{"hello"}},
		{`[\]]`, []string{"]"}, []string{`\`}},
		{`a\`, []string{`a\`}, []string{"a"}},
		{"[a", []string{"a"}, []string{"b", ""}},
		{"[]", nil, []string{"", "a", "[]"}},
		{"socket.io#/#*", []string{"socket.io#/#", "socket.io#/#room#"}, []string{"socket.io-request#/#"}},
		{"*a*b*", []string{"xaxbx", "ab"}, []string{"ba", "a"}},
		{"**", []string{"", "x"}, nil},
	} {
		for _, want := range []bool{true, false} {
			names := tt.no
			if want {
				names = tt.yes
			}
			for _, s := range names {
				steps := maxSteps
				if got := glob(tt.pattern, s, &steps); got != want {
					t.Errorf("glob(%q, %q) = %v", tt.pattern, s, got)
				}
			}
		}
	}
	steps := 1000
	if glob(strings.Repeat("a*", 100)+"b", strings.Repeat("a", 1000), &steps) || steps > 0 {
		t.Error("a match without end")
	}
}

// FuzzReader: whatever comes, a command stays within its limits, costs no more memory than was sent, and is what was
// sent.
func FuzzReader(f *testing.F) {
	f.Add([]byte("*1\r\n$4\r\nPING\r\n"))
	f.Add([]byte("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n*0\r\n*-1\r\n*1\r\n$4\r\nQUIT\r\n"))
	f.Add([]byte("*1\r\n$9223372036854775000\r\n"))
	f.Add([]byte("*2147483647\r\n$0\r\n\r\n"))
	f.Add([]byte("GET / HTTP/1.1\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		b := &budget{max: 1 << 20}
		r := reader{r: bufio.NewReader(bytes.NewReader(in)), room: b.take, buffers: b}
		lim := limits{args: 8, bytes: 64 << 10}
		var again []byte
		for {
			args, err := r.read(lim)
			if err != nil {
				var wrong protocolError
				if !errors.As(err, &wrong) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("error %v", err)
				}
				break
			}
			if len(args) > lim.args {
				t.Fatalf("%d arguments", len(args))
			}
			total := 0
			for _, a := range args {
				total += len(a)
			}
			if total > lim.bytes || int64(r.taken) > int64(total) {
				t.Fatalf("%d bytes, %d taken", total, r.taken)
			}
			if len(args) > 0 {
				again = appendArray(again, len(args))
				for _, a := range args {
					again = appendBulk(again, a)
				}
			}
			r.release()
		}
		r.release()
		if b.used.Load() != 0 {
			t.Fatalf("%d bytes are not given back", b.used.Load())
		}
		// Read once more, the same comes out.
		r = reader{r: bufio.NewReader(bytes.NewReader(again)), room: b.take, buffers: b}
		var third []byte
		for {
			args, err := r.read(lim)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			third = appendArray(third, len(args))
			for _, a := range args {
				third = appendBulk(third, a)
			}
			r.release()
		}
		if !bytes.Equal(again, third) {
			t.Fatalf("%q became %q", again, third)
		}
	})
}

// FuzzCommand: words separated by spaces, lines by newlines; no command that is offered makes miniredis panic, and each
// is answered.
func FuzzCommand(f *testing.F) {
	for _, seed := range []string{
		"SET k v PX 100 NX\nGET k\nPEXPIRE k 5 GT\nDEL k", "SETEX k 1 v\nTTL k\nKEYS [z-a]\nSCAN 0 MATCH * COUNT 3",
		"SUBSCRIBE a b\nPSUBSCRIBE [ *\nPUBLISH a x\nUNSUBSCRIBE\nPUNSUBSCRIBE\nQUIT", "HELLO 3 AUTH default x SETNAME n\nCLIENT ID\nINFO\nPUBSUB NUMSUB a",
		"MSET a 1 b 2\nINCRBY a 9223372036854775807\nINCR a\nDECRBY a -9223372036854775808\nMGET a b\nSELECT 3\nFLUSHDB\nFLUSHALL",
	} {
		f.Add(seed)
	}
	s := testServer(f)
	f.Fuzz(func(t *testing.T, script string) {
		c, answer := offline(t, s)
		defer s.pubsub.leave(c)
		for line := range strings.Lines(script) {
			words := strings.Split(strings.TrimSuffix(line, "\n"), " ")
			if len(words) > maxArgs {
				return
			}
			args := make([][]byte, len(words))
			for i, w := range words {
				args[i] = []byte(w)
			}
			c.execute(args)
			if got := answer(); got == "" || !strings.HasSuffix(got, "\r\n") {
				t.Fatalf("%q is answered %q", line, got)
			}
		}
		s.store.mu.Lock()
		defer s.store.mu.Unlock()
		if s.store.panics.Count() > 0 {
			t.Fatal("miniredis panicked")
		}
	})
}

// With many keys their expiry takes a bounded share of the time.
func TestManyKeysStayQuick(t *testing.T) {
	s := testServer(t)
	c, answer := offline(t, s)
	set := func(key string) {
		c.execute([][]byte{[]byte("SET"), []byte(key), []byte("v"), []byte("PX"), []byte("60000")})
		if got := answer(); got != "+OK\r\n" {
			t.Fatal(got)
		}
	}
	start := time.Now()
	for i := range 30_000 {
		set(strings.Repeat("x", i%7) + string(rune('a'+i%26)) + time.Duration(i).String())
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("30 000 keys took %s", took)
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	if s.store.tick > 5*time.Second {
		t.Errorf("keys expire every %s only", s.store.tick)
	}
}

// A short life is exact even when the clock lags for the sake of many keys.
func TestShortLivesAreExact(t *testing.T) {
	now := time.Now()
	s := testServer(t)
	s.store.now = func() time.Time { return now }
	c, answer := offline(t, s)
	s.store.move()
	s.store.tick = 100 * time.Millisecond
	now = now.Add(90 * time.Millisecond) // not yet time for the clock to move
	for _, cmd := range []string{"SET a v PX 100", "SET b v", "PEXPIRE b 100", "PSETEX c 100 v"} {
		c.execute(bytes.Split([]byte(cmd), []byte(" ")))
		s.store.tick = 100 * time.Millisecond
	}
	answer()
	now = now.Add(99 * time.Millisecond)
	s.store.move()
	c.execute([][]byte{[]byte("EXISTS"), []byte("a"), []byte("b"), []byte("c")})
	now = now.Add(time.Millisecond)
	s.store.move()
	c.execute([][]byte{[]byte("EXISTS"), []byte("a"), []byte("b"), []byte("c")})
	if got := answer(); got != ":3\r\n:0\r\n" {
		t.Errorf("after 99 and 100 ms: %q", got)
	}
}
