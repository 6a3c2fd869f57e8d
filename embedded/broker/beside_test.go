package broker

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/crolang-p2p/crolang-aio/internal/freeports"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

const socketio = "../../internal/e2e/socketio"

// original runs the original Broker on a Redis, where BROKER_ORIGINAL_MAIN names its dist/main.js, else as much of it as shares a
// Redis; both on npm's socket.io and its adapter. kill ends it at once.
func original(t *testing.T, redis string) (addr string, kill func()) {
	t.Helper()
	program, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(socketio + "/node_modules/@socket.io/redis-adapter")
	}
	if err != nil {
		if os.Getenv("CROLANG_AIO_REQUIRE_PEERS") != "" {
			t.Fatalf("run tools/peers.sh: %v", err)
		}
		t.Skipf("run tools/peers.sh for this test: %v", err)
	}
	main := os.Getenv("BROKER_ORIGINAL_MAIN")
	if main == "" {
		main = socketio + "/replica.js"
	}
	if main, err = filepath.Abs(main); err != nil {
		t.Fatal(err)
	}
	if addr, err = freeports.Addr(); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(addr)
	cmd := exec.Command(program, main)
	cmd.Dir = t.TempDir() // it reads a .env where it runs
	cmd.Env = append(os.Environ(), "PORT="+port, "REDIS_URL=redis://"+redis, "REDIS_LOCK_TTL_MS=8000", "NODES_STATUS_CHECK_INTERVAL_MS=1000")
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = cmd.Wait() }()
	kill = func() { _ = cmd.Process.Kill(); <-done }
	t.Cleanup(func() {
		kill()
		if t.Failed() {
			t.Logf("the original says:\n%s", &out)
		}
	})
	eventually(t, "the original listens", func() bool {
		nc, err := net.Dial("tcp", addr)
		if err == nil {
			nc.Close()
		}
		return err == nil
	})
	return addr, kill
}

// Ours and the original on one Redis: messages go both ways, whole and in order, each respects the locks of the other, and
// what one leaves behind the other takes.
func TestBesideTheOriginal(t *testing.T) {
	for name, serve := range map[string]func(t *testing.T) string{
		"redis":    func(t *testing.T) string { return redistest.Serve(t).Addr },
		"embedded": func(t *testing.T) string { _, addr, _ := serveRedis(t, "127.0.0.1:0"); return addr },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			addr := serve(t)
			theirs, kill := original(t, addr)
			ours := start(t, func(c *Config) {
				quickly(c)
				c.Redis, c.StatusInterval, c.LockTTL, c.Settings.SameID = openRedis(t, addr), time.Second, 8*time.Second, Refuse
			})
			client := openRedis(t, addr)
			subscribed(t, client, 2)
			alice, bob := ours.join("Alice"), joinAt(t, theirs, "Bob")
			exchangeAll(t, alice, bob, "Alice", "Bob")
			exchangeAll(t, bob, alice, "Bob", "Alice")

			both := `"{\"results\":[{\"id\":\"Bob\",\"connected\":true},{\"id\":\"Alice\",\"connected\":true},{\"id\":\"Carol\",\"connected\":false}]}"]`
			for _, w := range []*wire{alice, bob} {
				w.write(payload(5000, askConnected, `{"ids":["Bob","Alice","Carol"]}`))
				w.want("435000[" + both)
			}
			// The id of a Node that is at the other is taken, and stays so while its lock is extended.
			refusedAt := func(addr, id string) {
				t.Helper()
				w := rawDial(t, addr, nodeQuery(id))
				w.read()
				w.write("40")
				w.want(`44{"message":"client already connected"}`)
				w.nc.Close()
			}
			for until := time.Now().Add(9 * time.Second); time.Now().Before(until); time.Sleep(time.Second) { // longer than a lock lasts
				refusedAt(ours.b.Addr().String(), "Bob")
				refusedAt(theirs, "Alice")
			}
			// Both move.
			for _, w := range []*wire{alice, bob} {
				w.frame(ws.NewCloseFrame(nil))
				for w.readAny() != "end" {
				}
				w.nc.Close()
			}
			eventually(t, "both have left", func() bool { return client.Exists(context.Background(), "Alice", "Bob").Val() == 0 })
			alice, bob = joinAt(t, theirs, "Alice"), ours.join("Bob")
			exchangeAll(t, alice, bob, "Alice", "Bob")
			// It is killed, and its lock runs out.
			kill()
			eventually(t, "a Node of the one that was killed may join here", func() bool {
				w := rawDial(t, ours.b.Addr().String(), nodeQuery("Alice"))
				defer w.nc.Close()
				if w.head.StatusCode != 101 {
					return false
				}
				w.read()
				w.write("40")
				return strings.HasPrefix(w.read(), `40{"sid"`)
			})
			bob.write(payload(1, "SOCKET_MSG_EXCHANGE", `{"to":"Nobody"}`))
			bob.want(`431["NOT_CONNECTED"]`)
		})
	}
}

// exchangeAll sends every event, and then many messages at once.
func exchangeAll(t *testing.T, from, to *wire, sender, receiver string) {
	t.Helper()
	for i, e := range relayedEvents {
		text := fmt.Sprintf(`{"from":%q,"to":%q,"x":"é\u2028🦊 \"\\ "}`, sender, receiver)
		from.write(payload(i, e.name, text))
		from.want(fmt.Sprintf(`43%d["OK"]`, i))
		to.want(`42["` + e.name + `",` + string(quote([]byte(text))) + `]`)
	}
	const many = 200
	texts := make([]string, many)
	for i := range many {
		texts[i] = fmt.Sprintf(`{"from":%q,"to":%q,"n":%d,"x":"%s"}`, sender, receiver, i, strings.Repeat("é", i*i))
	}
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		for i, text := range texts {
			from.write(payload(100+i, "SOCKET_MSG_EXCHANGE", text))
		}
	}()
	acknowledged := make(chan struct{})
	go func() {
		defer close(acknowledged)
		for i := range many {
			if got, want := from.read(), fmt.Sprintf(`43%d["OK"]`, 100+i); got != want {
				t.Errorf("acknowledgement %q, want %q", got, want)
				return
			}
		}
	}()
	for i, text := range texts {
		if got := to.read(); got != `42["SOCKET_MSG_EXCHANGE",`+string(quote([]byte(text)))+`]` {
			t.Fatalf("message %d came as %.80q, %d bytes", i, got, len(got))
		}
	}
	<-sent
	<-acknowledged
}
