package redis_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	embedded "github.com/crolang-p2p/crolang-aio/embedded/redis"
)

// What is no command ends its connection, with an answer, and nothing else.
func TestNonsense(t *testing.T) {
	s := start(t, embedded.Config{})
	honest := dial(t, s)
	for _, tt := range []struct{ name, send, text string }{
		{"the length of case F", "*1\r\n$9223372036854775000\r\n", "command too long"},
		{"a length that overflows", "*1\r\n$18446744073709551617\r\n", "command too long"},
		{"one byte too long", "*1\r\n$33554433\r\n", "command too long"},
		{"together too long", "*2\r\n$4\r\nPING\r\n$33554430\r\n", "command too long"},
		{"too many arguments", "*1026\r\n", "too many arguments"},
		{"very many arguments", "*2147483647\r\n", "too many arguments"},
		{"negative bulk", "*1\r\n$-1\r\n", "invalid bulk length"},
		{"negative length", "*1\r\n$-2\r\n", "invalid length"},
		{"no length", "*\r\n", "invalid length"},
		{"letters", "*1\r\n$abc\r\n", "invalid length"},
		{"plus", "*+1\r\n", "invalid length"},
		{"endless header", "*" + strings.Repeat("0", 1000), "invalid length"},
		{"LF alone", "*1\n$4\nPING\n", "invalid length"},
		{"CR without LF", "*1\rx", "invalid length"},
		{"bulk that does not end", "*1\r\n$4\r\nPINGPING\r\n", "does not end"},
		{"nested array", "*1\r\n*1\r\n$4\r\nPING\r\n", "expected '$'"},
		{"simple string", "*1\r\n+PING\r\n", "expected '$'"},
		{"inline", "PING\r\n", "expected '*', got \"P\""},
		{"a browser", "POST / HTTP/1.1\r\nHost: localhost:6379\r\n\r\n", "expected '*'"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00", "expected '*', got \"\\x16\""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := dial(t, s)
			r.raw(tt.send)
			if got := r.wantClosed(); !strings.HasPrefix(got, "-ERR Protocol error: ") || !strings.Contains(got, tt.text) || strings.Count(got, "\n") != 1 {
				t.Errorf("answer %q, want one line with %q", got, tt.text)
			}
			honest.want("PONG", "PING")
		})
	}
	// Empty arrays are ignored, as by Redis.
	honest.raw("*0\r\n*-1\r\n")
	honest.want("PONG", "PING")
	// The longest that goes.
	honest.raw("*2\r\n$4\r\nECHO\r\n$33554428\r\n" + strings.Repeat("x", 33554428) + "\r\n")
	if got := honest.read().(string); len(got) != 33554428 {
		t.Errorf("%d bytes came back", len(got))
	}
}

// Before AUTH commands are short.
func TestStrangersCommandsAreShort(t *testing.T) {
	s := start(t, embedded.Config{Password: "p"})
	for _, send := range []string{"*1\r\n$16385\r\n", "*11\r\n"} {
		r := dial(t, s)
		r.raw(send)
		if got := r.wantClosed(); !strings.Contains(got, "Protocol error") {
			t.Errorf("%q: %q", send, got)
		}
	}
}

// A length alone costs no memory.
func TestAnnouncedLengthsCostNothing(t *testing.T) {
	s := start(t, embedded.Config{MaxConns: 200})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for range 150 {
		dial(t, s).raw("*2\r\n$4\r\nECHO\r\n$33554400\r\nabc")
	}
	eventually(t, "all are there", func() bool { return s.Clients() == 150 })
	dial(t, s).want("PONG", "PING")
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 30<<20 {
		t.Errorf("150 announced lengths take %d MiB", grown>>20)
	}
}

// What is begun and not finished is bounded for all clients together.
func TestUnfinishedCommandsShareTheirRoom(t *testing.T) {
	s := start(t, embedded.Config{MaxCommand: 1 << 20}) // 8 MiB for all
	half := "*2\r\n$4\r\nECHO\r\n$1000000\r\n" + strings.Repeat("x", 900_000)
	var open []*redis
	for range 30 {
		r := dial(t, s)
		r.raw(half)
		open = append(open, r)
	}
	eventually(t, "what is too much is cut off", func() bool { return s.Clients() <= 9 && s.Stats().Refused["malformed"] >= 21 })
	honest := dial(t, s)
	honest.want("PONG", "PING")
	for _, r := range open {
		r.conn.Close()
	}
	eventually(t, "they are gone", func() bool { return s.Clients() == 1 })
	big := strings.Repeat("x", 1_000_000)
	honest.want(big, "ECHO", big) // the room is there again
}

func TestTooManyConnections(t *testing.T) {
	s := start(t, embedded.Config{MaxConns: 3})
	var first *redis
	for range 3 {
		first = dial(t, s)
		first.want("PONG", "PING")
	}
	r := dial(t, s)
	if got := r.wantClosed(); got != "-ERR max number of clients reached\r\n" {
		t.Errorf("answer %q", got)
	}
	first.conn.Close()
	eventually(t, "a place is free", func() bool { return s.Clients() == 2 })
	dial(t, s).want("PONG", "PING")
}

// Strangers push out the oldest stranger, never a client that knows the password.
func TestTooManyStrangers(t *testing.T) {
	s := start(t, embedded.Config{Password: "p", MaxUnauthenticated: 2})
	known := dial(t, s)
	known.want("OK", "AUTH", "p")
	oldest := dial(t, s)
	oldest.wantError("NOAUTH", "PING")
	dial(t, s).wantError("NOAUTH", "PING")
	for range 20 {
		r := dial(t, s)
		r.want("OK", "AUTH", "p")
		r.conn.Close()
	}
	oldest.wantClosed()
	known.want("PONG", "PING")
}

func TestDeadlines(t *testing.T) {
	s := start(t, embedded.Config{Password: "p", AuthTimeout: 200 * time.Millisecond, CommandTimeout: 200 * time.Millisecond})
	quiet := dial(t, s)
	quiet.want("OK", "AUTH", "p")
	quiet.want(list("subscribe", "c", 1), "SUBSCRIBE", "c")
	idle := dial(t, s)
	idle.want("OK", "AUTH", "p")

	silent := dial(t, s)
	if got := silent.wantClosed(); !strings.Contains(got, "no password in time") {
		t.Errorf("silence: %q", got)
	}
	guessing := dial(t, s)
	guessing.raw("*2\r\n$4\r\nAUTH\r\n$1\r\n")
	if got := guessing.wantClosed(); !strings.Contains(got, "no password in time") {
		t.Errorf("half a password: %q", got)
	}
	half := dial(t, s)
	half.want("OK", "AUTH", "p")
	half.raw("*2\r\n$4\r\nECHO\r\n$100\r\nab")
	if got := half.wantClosed(); !strings.Contains(got, "not finished in time") {
		t.Errorf("half a command: %q", got)
	}
	// Several times the deadlines have passed by now: quiet ones stay.
	idle.want(1, "PUBLISH", "c", "still there?")
	quiet.wantRead(list("message", "c", "still there?"))
}

func TestMemoryIsBounded(t *testing.T) {
	c := newClock()
	s := start(t, embedded.Config{MaxMemory: 1 << 20, Now: c.now})
	r := dial(t, s)
	value := strings.Repeat("v", 1000)
	i := 0
	for ; r.do("SET", fmt.Sprint("key", i), value, "PX", "60000") == "OK"; i++ {
		if i > 2000 {
			t.Fatal("2 MB went into 1 MiB")
		}
	}
	if i < 500 {
		t.Errorf("full after %d keys", i)
	}
	r.wantError("OOM", "SET", "one more", value)
	r.want(value, "GET", "key0")
	r.want(1, "DEL", "key0")
	r.want(1, "PEXPIRE", "key1", "120000")
	// What has gone makes room, at the latest a second later.
	c.add(time.Second)
	r.want("OK", "SET", "one more", value)
	c.add(60 * time.Second)
	r.want("OK", "SET", "another", value)
	r.want(3, "DBSIZE") // and key1 has kept its time to live
	r.want(59000, "PTTL", "key1")
	if st := s.Stats(); st.Keys != 3 || st.Memory > 1<<20 {
		t.Errorf("%+v", st)
	}
}

// Names that come and go for ever leave nothing.
func TestChurnLeavesNothing(t *testing.T) {
	c := newClock()
	s := start(t, embedded.Config{MaxMemory: 1 << 20, Now: c.now})
	r := dial(t, s)
	r.want("OK", "SET", "stays", "here")
	for i := range 8_000 {
		r.want("OK", "SET", fmt.Sprint("node", i), "socket", "PX", "1000", "NX")
		r.want(1, "DEL", fmt.Sprint("node", i))
		c.add(time.Millisecond)
	}
	r.want("here", "GET", "stays")
	r.want(1, "DBSIZE")
}

// The end: everything is closed, and nothing is left running.
func TestRunEnds(t *testing.T) {
	before := runtime.NumGoroutine()
	s, err := embedded.New(embedded.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	sub, half := dial(t, s), dial(t, s)
	sub.want(list("subscribe", "c", 1), "SUBSCRIBE", "c")
	half.raw("*2\r\n$4\r\nECHO\r\n$100\r\nab")
	lazy := dial(t, s)
	for range 3 {
		lazy.send("ECHO", strings.Repeat("x", 1<<20))
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Run does not end")
	}
	sub.wantClosed()
	half.wantClosed()
	if conn, err := net.Dial("tcp", s.Addr().String()); err == nil {
		conn.Close()
		t.Error("still listening")
	}
	if err := s.Ping(t.Context()); !errors.Is(err, embedded.ErrNotReady) {
		t.Errorf("Ping: %v", err)
	}
	eventually(t, "all goroutines have ended", func() bool { return runtime.NumGoroutine() <= before })
}

func TestNewErrors(t *testing.T) {
	s := start(t, embedded.Config{})
	for _, tt := range []struct {
		cfg  embedded.Config
		want error
		text string
	}{
		{embedded.Config{Listen: s.Addr().String()}, syscall.EADDRINUSE, "redis.listen: TCP port"},
		{embedded.Config{Listen: "192.0.2.1:0"}, syscall.EADDRNOTAVAIL, "does not have the address"},
		{embedded.Config{Listen: "127.0.0.1:0", MaxConns: -1}, embedded.ErrConfig, "negative"},
	} {
		_, err := embedded.New(tt.cfg)
		if !errors.Is(err, tt.want) || !strings.Contains(err.Error(), tt.text) || strings.Contains(err.Error(), "\n") {
			t.Errorf("error %v, want %v with %q", err, tt.want, tt.text)
		}
	}
}

// An IPv4 address is not listened on by IPv6.
func TestListensWhereItIsTold(t *testing.T) {
	for listen, want := range map[string]string{"0.0.0.0:0": "0.0.0.0", "127.0.0.1:0": "127.0.0.1"} {
		s := start(t, embedded.Config{Listen: listen})
		if got := s.Addr().IP.String(); got != want {
			t.Errorf("%s listens on %s, want %s", listen, got, want)
		}
		if err := s.Ping(t.Context()); err != nil {
			t.Errorf("%s: %v", listen, err)
		}
	}
}

// Subscriptions count for the limit of memory, and give back what they took.
func TestSubscriptionsCountForMemory(t *testing.T) {
	c := newClock()
	s := start(t, embedded.Config{MaxMemory: 1 << 20, Now: c.now})
	r, other := dial(t, s), dial(t, s)
	name := func(i int) string { return fmt.Sprintf("%01000d", i) }
	n := 0
	for ; ; n++ {
		answer := r.do("SUBSCRIBE", name(n))
		if e, ok := answer.(replyError); ok {
			if !strings.HasPrefix(string(e), "OOM ") {
				t.Fatal(e)
			}
			break
		}
		if n > 1100 {
			t.Fatal("more than 1 MiB of names went into 1 MiB")
		}
	}
	if n < 200 {
		t.Errorf("full after %d subscriptions", n)
	}
	if m := s.Stats().Memory; m < 1<<19 || m > 1<<20 {
		t.Errorf("%d bytes are counted", m)
	}
	other.wantError("OOM", "SET", "k", strings.Repeat("v", 4000))
	full := false
	for i := 0; i < 3 && !full; i++ {
		_, full = other.do("PSUBSCRIBE", fmt.Sprintf("%0250d*", i)).(replyError)
	}
	if !full {
		t.Error("patterns are not counted")
	}
	r.want(list("unsubscribe", name(0), n-1), "UNSUBSCRIBE", name(0))
	r.want(list("unsubscribe", name(1), n-2), "UNSUBSCRIBE", name(1))
	r.want(list("unsubscribe", "never", n-2), "UNSUBSCRIBE", "never")
	r.want(list("subscribe", name(0), n-1), "SUBSCRIBE", name(0))
	r.want(list("subscribe", name(0), n-1), "SUBSCRIBE", name(0)) // once more costs nothing
	r.conn.Close()
	other.conn.Close()
	eventually(t, "what has left gives its memory back", func() bool { return s.Stats().Memory == 0 })
}
