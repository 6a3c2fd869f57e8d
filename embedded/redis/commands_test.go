package redis_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	embedded "github.com/crolang-p2p/crolang-aio/embedded/redis"
)

// The Broker's locks: SET NX PX, PEXPIRE, GET, DEL.
func TestLocks(t *testing.T) {
	c := newClock()
	s := start(t, embedded.Config{Now: c.now})
	r := dial(t, s)
	r.want("OK", "SET", "Alice", "socket-1", "PX", "60000", "NX")
	r.want(nil, "SET", "Alice", "socket-2", "PX", "60000", "NX")
	r.want("socket-1", "GET", "Alice")
	r.want(60000, "PTTL", "Alice")
	r.want(60, "TTL", "Alice")

	c.add(40 * time.Second)
	r.want(20000, "PTTL", "Alice")
	r.want(1, "PEXPIRE", "Alice", "60000")
	c.add(59999 * time.Millisecond)
	r.want("socket-1", "GET", "Alice")
	r.want(1, "PTTL", "Alice")

	// Its holder is gone: from here on it is free.
	c.add(time.Millisecond)
	r.want(nil, "GET", "Alice")
	r.want(-2, "PTTL", "Alice")
	r.want(-2, "TTL", "Alice")
	r.want(0, "PEXPIRE", "Alice", "60000")
	r.want(list(), "KEYS", "*")
	r.want(0, "EXISTS", "Alice")
	r.want(0, "DBSIZE")
	r.want("OK", "SET", "Alice", "socket-2", "PX", "60000", "NX")
	r.want("socket-2", "GET", "Alice")
	r.want(1, "DEL", "Alice")
	r.want(0, "DEL", "Alice")
}

// The same by the machine's clock.
func TestKeysVanishInRealTime(t *testing.T) {
	s := start(t, embedded.Config{})
	r := dial(t, s)
	began := time.Now()
	r.want("OK", "SET", "lock", "x", "PX", "150", "NX")
	r.want("OK", "SET", "long", "x", "PX", "500000")
	r.want(1, "PEXPIRE", "long", "150")
	for _, key := range []string{"lock", "long"} {
		eventually(t, key+" expires", func() bool { return r.do("SET", key, "y", "NX") == "OK" })
		if took := time.Since(began); took < 140*time.Millisecond {
			t.Errorf("%s expired after %s", key, took)
		}
	}
	r.want(-1, "PTTL", "lock")
	// Also while nobody asks.
	r.want("OK", "SET", "quiet", "x", "PX", "20")
	eventually(t, "an unused key expires", func() bool { return s.Stats().Keys == 2 })
}

func TestCommands(t *testing.T) {
	s := start(t, embedded.Config{Now: newClock().now})
	r := dial(t, s)
	for _, tt := range []struct {
		want any
		args string
	}{
		{"PONG", "PING"}, {"hi", "PING hi"}, {"hi", "ECHO hi"},
		{"OK", "set a 1"}, {"1", "get a"}, {nil, "GET none"},
		{2, "INCR a"}, {12, "INCRBY a 10"}, {11, "DECR a"}, {1, "DECRBY a 10"},
		{1, "SETNX b x"}, {0, "SETNX b y"}, {"x", "GETSET b z"}, {1, "STRLEN b"},
		{"1", "GETRANGE a 0 64"}, {"", "GETRANGE a 1 1"}, {"", "GETRANGE a 2 64"}, {"", "GETRANGE a 1 0"}, {"", "GETRANGE none 0 64"},
		{"1", "GETRANGE a 0 2147483647"},
		{"z", "SET b w GET"}, {nil, "SET none v XX"},
		{"OK", "MSET c 3 d 4"}, {0, "MSETNX d 5 e 5"}, {list("1", "3", nil), "MGET a c none"},
		{"OK", "SETEX e 100 v"}, {100, "TTL e"}, {"OK", "PSETEX e 1400 v"}, {1, "TTL e"}, {1400, "PTTL e"},
		{1, "PERSIST e"}, {-1, "TTL e"}, {-1, "PTTL e"}, {1, "EXPIRE e 100 NX"}, {0, "EXPIRE e 200 NX"}, {100, "TTL e"},
		{"OK", "SET e w KEEPTTL"}, {100, "TTL e"}, {"OK", "SET e w"}, {-1, "TTL e"},
		{1, "EXPIRE e -1"}, {nil, "GET e"},
		{2, "EXISTS a b none"}, {"string", "TYPE a"}, {"none", "TYPE none"},
		{list("a", "b", "c", "d"), "KEYS *"}, {list("a", "b"), "KEYS [ab]"}, {list("c", "d"), "KEYS [^ab]"},
		{list("0", list("a", "b", "c", "d")), "SCAN 0"}, {list("0", list("c")), "SCAN 0 MATCH c* COUNT 10 TYPE string"},
		{list("0", list()), "SCAN 7"}, {list("0", list()), "SCAN 0 TYPE hash"},
		{4, "DBSIZE"}, {"4", "GETDEL d"}, {1, "UNLINK c none"},
		{"OK", "SELECT 15"}, {0, "DBSIZE"}, {"OK", "SET other 1"}, {list("other"), "KEYS *"}, {"OK", "FLUSHDB"}, {0, "DBSIZE"},
		{"OK", "SELECT 0"}, {2, "DBSIZE"}, {"OK", "FLUSHALL ASYNC"}, {0, "DBSIZE"},
		{"OK", "CLIENT SETINFO LIB-NAME node-redis"}, {nil, "CLIENT GETNAME"}, {"OK", "CLIENT SETNAME me"}, {"me", "CLIENT GETNAME"}, {1, "CLIENT ID"},
		{list(), "COMMAND DOCS"}, {list("1772366400", "0"), "TIME"},
		{list("a", 0, "b", 0), "PUBSUB NUMSUB a b"}, {0, "PUBSUB NUMPAT"}, {list(), "PUBSUB CHANNELS"}, {0, "PUBLISH nobody x"},
		{"OK", "QUIT"},
	} {
		r.want(tt.want, strings.Fields(tt.args)...)
	}
	r.wantClosed()
}

// What could stop or end miniredis, or grow without limit, is not let through.
func TestRefusedCommands(t *testing.T) {
	s := start(t, embedded.Config{})
	r := dial(t, s)
	for _, tt := range []struct{ text, args string }{
		{"not offered", "EVAL while(true)do;end 0"}, {"not offered", "SCRIPT LOAD x"}, {"not offered", "DEBUG SLEEP 100"},
		{"not offered", "SETRANGE k 9223372036854775000 x"}, {"not offered", "SETBIT k 9223372036854775000 1"},
		{"not offered", "APPEND k v"}, {"not offered", "BLPOP k 0"}, {"not offered", "LPUSH l x"}, {"not offered", "XREAD STREAMS s 0"},
		{"not offered", "MULTI"}, {"not offered", "WATCH k"}, {"not offered", "CONFIG GET *"}, {"not offered", "SWAPDB 0 1"},
		{"not offered", "RESTORE k 0 x"}, {"not offered", "SHUTDOWN"}, {"not offered", "\x00\x1b[31m\r\n"},
		{"not offered", "GET" + strings.Repeat("X", 1000)},
		{"out of range", "SELECT 16"}, {"out of range", "SELECT -1"}, {"out of range", "SELECT x"},
		{"invalid expire time", "SET k v PX 0"}, {"invalid expire time", "SET k v EX 9223372036854775807"},
		{"invalid expire time", "SET k v PX 99999999999999999999"}, {"not an integer", "SET k v PX soon"}, {"not offered", "SET k v PXAT 1"},
		{"invalid expire time", "SETEX k 0 v"}, {"invalid expire time", "PSETEX k -5 v"}, {"invalid expire time", "EXPIRE k 9223372036854775807"},
		{"invalid expire time", "PEXPIRE k -9223372036854775808"}, {"syntax error", "SET k v NONSENSE"}, {"not an integer", "SET k v PX"},
		{"wrong number", "GET"}, {"wrong number", "GET a b"}, {"wrong number", "SET k"}, {"wrong number", "MSET a b c"},
		{"invalid cursor", "SCAN x"}, {"syntax error", "SCAN 0 MATCH"}, {"syntax error", "SCAN 0 WHAT x"}, {"not an integer", "SCAN 0 COUNT 0"},
		{"GETRANGE", "GETRANGE k -1 5"}, {"GETRANGE", "GETRANGE k 0 9223372036854775807"}, {"GETRANGE", "GETRANGE k x 5"},
		{"syntax error", "FLUSHALL NOW"}, {"subcommand", "PUBSUB SHARDCHANNELS"}, {"subcommand", "CLIENT KILL x"}, {"special", "CLIENT SETNAME a\nb"},
		{"longer than 1 KiB", "SET " + strings.Repeat("k", 1025) + " v"}, {"longer than 1 KiB", "SETEX " + strings.Repeat("k", 1025) + " 1 v"},
		{"longer than 1 MiB", "SET k " + strings.Repeat("v", 1<<20+1)}, {"longer than 1 MiB", "MSET a b k " + strings.Repeat("v", 1<<20+1)},
		{"pattern", "KEYS " + strings.Repeat("*", 257)}, {"too long", "PUBLISH " + strings.Repeat("c", 1025) + " x"},
		{"too long", "SUBSCRIBE " + strings.Repeat("c", 1025)}, {"too long", "PSUBSCRIBE " + strings.Repeat("c", 257)},
	} {
		r.wantError(tt.text, strings.Split(tt.args, " ")...)
	}
	r.want("OK", "SET", "key", "v")
	// miniredis panics at these: they are no regular expressions.
	for _, pattern := range []string{"[z-a]", "[", "[^", "[]", "\\", "\xff", "[\xff", "[[:x:]]", "[a-"} {
		r.want(list(), "KEYS", pattern)
		r.want(list("0", list()), "SCAN", "0", "MATCH", pattern)
		r.want(list("psubscribe", pattern, 1), "PSUBSCRIBE", pattern)
		r.want(list("punsubscribe", pattern, 0), "PUNSUBSCRIBE", pattern)
	}
	r.want(list("key"), "KEYS", "*")
}

func TestValuesAreBinary(t *testing.T) {
	s := start(t, embedded.Config{})
	r := dial(t, s)
	var all strings.Builder
	for i := range 256 {
		all.WriteByte(byte(i))
	}
	value := strings.Repeat(all.String(), 4096) // 1 MiB
	r.want("OK", "SET", "\r\n$5\r\n\x00", value)
	if got := r.do("GET", "\r\n$5\r\n\x00"); got != value {
		t.Error("another value came back")
	}
	r.want("OK", "SET", "", "")
	r.want("", "GET", "")
	// Large answers are cut, not the connection.
	for i := range 64 {
		r.want("OK", "SET", "k"+fmt.Sprint(i%16), value)
	}
	ask := []string{"MGET"}
	for i := range 64 {
		ask = append(ask, "k"+fmt.Sprint(i%16))
	}
	r.wantError("too long", ask...)
	r.want("PONG", "PING")
}

func TestInfo(t *testing.T) {
	s := start(t, embedded.Config{})
	r := dial(t, s)
	r.want("OK", "SET", "k", "v")
	all := fmt.Sprint(r.do("INFO"))
	for _, line := range []string{"# Server", "redis_version:", "loading:0", "connected_clients:1", "db0:keys=1,", fmt.Sprintf("tcp_port:%d", s.Addr().Port)} {
		if !strings.Contains(all, line) {
			t.Errorf("INFO has no %q:\n%s", line, all)
		}
	}
	if one := fmt.Sprint(r.do("INFO", "clients")); !strings.Contains(one, "connected_clients:1") || strings.Contains(one, "loading") {
		t.Errorf("INFO clients: %s", one)
	}
}

func TestResp3(t *testing.T) {
	s := start(t, embedded.Config{})
	r := dial(t, s)
	r.want(list("server", "redis", "version", "7.2.0", "proto", 2, "id", 1, "mode", "standalone", "role", "master", "modules", list()), "HELLO")
	r.send("HELLO", "3", "SETNAME", "me")
	if line, _ := r.r.Peek(4); string(line) != "%7\r\n" {
		t.Errorf("HELLO 3 answers %q", line)
	}
	r.read()
	r.want("me", "CLIENT", "GETNAME")
	r.send("GET", "none")
	if line, _ := r.r.Peek(3); string(line) != "_\r\n" {
		t.Errorf("null is %q", line)
	}
	r.read()
	r.wantError("NOPROTO", "HELLO", "4")
	r.wantError("Syntax error", "HELLO", "3", "SETNAME")
	r.want(list("subscribe", "c", 1), "SUBSCRIBE", "c")
	r.want("PONG", "PING") // every command is allowed while subscribed
	r.want("OK", "SET", "k", "v")
	r.send("PUBLISH", "c", "m")
	if line, _ := r.r.Peek(4); string(line) != ">3\r\n" {
		t.Errorf("a message begins with %q", line)
	}
	r.wantRead(list("message", "c", "m"))
	r.wantRead(1)
}

func TestPassword(t *testing.T) {
	s := start(t, embedded.Config{Password: "s3cret"})
	r := dial(t, s)
	for _, cmd := range []string{"PING", "GET", "SET", "SUBSCRIBE", "PSUBSCRIBE", "PUBLISH", "KEYS", "INFO", "CLIENT", "FLUSHALL", "NONSENSE"} {
		r.wantError("NOAUTH", cmd, "a", "b")
	}
	r.wantError("NOAUTH", "HELLO", "3")
	r.wantError("WRONGPASS", "AUTH", "wrong")
	r.wantError("WRONGPASS", "AUTH", "")
	r.wantError("WRONGPASS", "AUTH", "other", "s3cret")
	r.wantError("WRONGPASS", "HELLO", "3", "AUTH", "default", "s3cre")
	r.wantError("NOAUTH", "PING")
	r.want("OK", "AUTH", "s3cret")
	r.want("PONG", "PING")

	r = dial(t, s)
	r.want("OK", "AUTH", "default", "s3cret")
	r.want("PONG", "PING")

	r = dial(t, s)
	r.send("HELLO", "2", "AUTH", "default", "s3cret", "SETNAME", "me")
	r.read()
	r.want("me", "CLIENT", "GETNAME")

	r = dial(t, s)
	for range 8 {
		r.wantError("WRONGPASS", "AUTH", "guess")
	}
	r.wantClosed()
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNoPassword(t *testing.T) {
	s := start(t, embedded.Config{Listen: ":0"})
	r := dial(t, s)
	r.wantError("without any password configured", "AUTH", "x")
	r.want("OK", "AUTH", "default", "x")
	r.wantError("WRONGPASS", "AUTH", "other", "")
	if err := s.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if got := s.Clients(); got < 1 {
		t.Errorf("%d clients", got)
	}
	if s.Addr().Port == 0 {
		t.Error("no port")
	}
}

// The scripts by which only the holder of a lock extends and releases it.
func TestScripts(t *testing.T) {
	const (
		extend  = "0ed4e18d2cad73febcfa8e0811d926ccdb04441b"
		release = "e8022015b1db2126f2af52e2659c302bb86e2557"
	)
	c := newClock()
	s := start(t, embedded.Config{Now: c.now})
	r := dial(t, s)
	r.want(0, "EVALSHA", extend, "1", "Alice", "socket-1", "60000")
	r.want("OK", "SET", "Alice", "socket-1", "PX", "1000", "NX")
	r.want(0, "EVALSHA", extend, "1", "Alice", "socket-2", "60000")
	r.want(1000, "PTTL", "Alice")
	r.want(1, "EVALSHA", extend, "1", "Alice", "socket-1", "60000")
	r.want(60000, "PTTL", "Alice")
	r.want(0, "EVALSHA", release, "1", "Alice", "socket-2")
	r.want(1, "EVALSHA", release, "1", "Alice", "socket-1")
	r.want(nil, "GET", "Alice")
	for _, bad := range [][]string{
		{"EVALSHA", "da39a3ee5e6b4b0d3255bfef95601890afd80709", "1", "a", "b"},
		{"EVALSHA", release, "2", "a", "b"},
		{"EVALSHA", release, "1", "a", "b", "c"},
		{"EVALSHA", extend, "1", "a", "b"},
		{"EVALSHA", extend, "1", "a", "b", "99999999999999999999"},
		{"EVAL", "return 1", "0"},
		{"SCRIPT", "LOAD", "return 1"},
	} {
		r.wantError("", bad...)
	}
}
