package broker

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	embedded "github.com/crolang-p2p/crolang-aio/embedded/redis"
)

// serveRedis runs the embedded Redis and gives a client.
func serveRedis(t *testing.T, addr string) (client redis.UniversalClient, at string, stop func()) {
	t.Helper()
	s, err := embedded.New(embedded.Config{Listen: addr})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	stop = func() { cancel(); <-done }
	t.Cleanup(stop)
	at = s.Addr().String()
	return openRedis(t, at), at, stop
}

func openRedis(t *testing.T, addr string) redis.UniversalClient {
	t.Helper()
	const patient = 20 * time.Second // a busy machine is no Redis that fails
	client := redis.NewClient(&redis.Options{
		Addr: addr, DialTimeout: patient, ReadTimeout: patient, WriteTimeout: patient, ContextTimeoutEnabled: true,
		MaxRetries: -1, DialerRetries: 1, DisableIdentity: true, Protocol: 2,
	})
	t.Cleanup(func() { client.Close() })
	return client
}

// subscribed waits until n Brokers listen.
func subscribed(t *testing.T, client redis.UniversalClient, n int64) {
	t.Helper()
	eventually(t, "Brokers subscribe", func() bool {
		got, err := client.Publish(context.Background(), "socket.io#/#nobody#", "").Result()
		return err == nil && got >= n
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func TestTwoBrokersOnOneRedis(t *testing.T) {
	client, addr, _ := serveRedis(t, "127.0.0.1:0")
	quick := func(c *Config) {
		c.Redis, c.StatusInterval, c.LockTTL = openRedis(t, addr), 20*time.Millisecond, 5*time.Second
	}
	one, two := start(t, quick), start(t, quick)
	alice, bob := one.join("Alice"), two.join("Bob")
	subscribed(t, client, 2)
	ctx := context.Background()

	for i := range 50 {
		inner := fmt.Sprintf(`{"to":"Bob","n":%d,"x":"é\n\"\\%s"}`, i, strings.Repeat("x", i*500))
		alice.write(payload(i, "SOCKET_MSG_EXCHANGE", inner))
		alice.want(fmt.Sprintf(`43%d["OK"]`, i))
		bob.want(`42["SOCKET_MSG_EXCHANGE",` + string(quote([]byte(inner))) + `]`)
	}
	// Where the receiver is, what arrives is observed too, by whom its payload names.
	attempt := `{"from":"Alice","to":"Bob","x":"candidate:1 1 udp 1 192.0.2.1 9 typ relay"}`
	alice.write(payload(60, "CONNECTION_ATTEMPT", attempt))
	alice.want(`4360["OK"]`)
	bob.want(`42["CONNECTION_ATTEMPT",` + string(quote([]byte(attempt))) + `]`)
	arrived := two.events.await(t, func(e Event) bool { return e.Kind == Arrived })
	if arrived.Node != "Alice" || arrived.Peer != "Bob" || arrived.Name != "CONNECTION_ATTEMPT" || arrived.Answer != OK || arrived.Candidates.Relay != 1 {
		t.Errorf("%+v", arrived)
	}
	bob.write(payload(1, askConnected, `{"ids":["Alice","Bob","Carol"]}`))
	bob.want(`431["{\"results\":[{\"id\":\"Alice\",\"connected\":true},{\"id\":\"Bob\",\"connected\":true},{\"id\":\"Carol\",\"connected\":false}]}"]`)

	// A lock that another Broker holds is refused.
	w := two.dial(nodeQuery("Alice"))
	w.write("40")
	w.want(`44{"message":"client already connected"}`)

	// Locks are extended by who has them, and taken anew where Redis was emptied.
	held, _ := client.Get(ctx, "Alice").Result()
	client.FlushAll(ctx)
	eventually(t, "the lock is taken anew", func() bool { v, _ := client.Get(ctx, "Alice").Result(); return v == held })
	client.PExpire(ctx, "Alice", time.Second)
	eventually(t, "the lock is extended", func() bool { return client.PTTL(ctx, "Alice").Val() > 4*time.Second })
	// Somebody else has it: this one goes.
	client.Set(ctx, "Alice", "another", time.Minute)
	alice.want("41", "close 1005")
	alice.over()
	eventually(t, "Alice has left", func() bool { _, ok := one.b.Node("Alice"); return !ok })
	if v, _ := client.Get(ctx, "Alice").Result(); v != "another" {
		t.Errorf("a foreign lock became %q", v)
	}
	// Garbage on the channels is survived.
	bobSID, _ := client.Get(ctx, "Bob").Result()
	for _, garbage := range []string{"", "x", "\x93", "\xdf\xff\xff\xff\xff", "\x93\xa3abc\xdf\xff\xff\xff\xff", strings.Repeat("\x91", 100_000), "\x93\xa1a\x83\xa4type\x02\xa4data\x92\xa1E\xdb\xff\xff\xff\xff"} {
		for _, channel := range []string{"socket.io#/#", "socket.io#/##", "socket.io#/#" + bobSID + "#", "socket.io-request#/#"} {
			client.Publish(ctx, channel, garbage)
		}
	}
	carol := one.join("Carol")
	carol.write(payload(1, "SOCKET_MSG_EXCHANGE", `{"to":"Bob"}`))
	carol.want(`431["OK"]`)
	bob.want(`42["SOCKET_MSG_EXCHANGE","{\"to\":\"Bob\"}"]`)
	two.stop()
	if n := client.Exists(ctx, "Bob").Val(); n != 0 {
		t.Error("the lock outlives its Broker")
	}
}

// Redis may go away and come back: who is here stays and talks, newcomers are told to try again.
func TestRedisAway(t *testing.T) {
	_, addr, stop := serveRedis(t, "127.0.0.1:0")
	r := start(t, func(c *Config) {
		c.Redis, c.StatusInterval, c.LockTTL = openRedis(t, addr), 20*time.Millisecond, 60*time.Second
	})
	alice, bob := r.join("Alice"), r.join("Bob")
	stop()
	if w := r.rawDial(nodeQuery("Carol")); w.head.StatusCode != 503 {
		t.Errorf("a newcomer is answered %d", w.head.StatusCode)
	}
	alice.write(payload(1, "SOCKET_MSG_EXCHANGE", `{"to":"Bob"}`))
	alice.want(`431["OK"]`)
	bob.want(`42["SOCKET_MSG_EXCHANGE","{\"to\":\"Bob\"}"]`)
	alice.write(payload(2, "SOCKET_MSG_EXCHANGE", `{"to":"Carol"}`))
	alice.want(`432["NOT_CONNECTED"]`)
	bob.nc.Close() // its lock cannot be released now
	r.events.await(t, func(e Event) bool { return e.Kind == Left && e.Node == "Bob" })
	client, _, _ := serveRedis(t, addr)
	eventually(t, "newcomers are welcome again", func() bool {
		w := r.rawDial(nodeQuery("Dave"))
		defer w.nc.Close()
		return w.head.StatusCode == 101
	})
	eventually(t, "Alice's lock is back", func() bool { return client.Exists(context.Background(), "Alice").Val() == 1 })
	eventually(t, "Bob may come back", func() bool {
		w := r.rawDial(nodeQuery("Bob"))
		defer w.nc.Close()
		return w.head.StatusCode == 101
	})
}

// A Redis that answers every command with an error, or not at all, is one that is away.
func TestRedisReadOnlyAndSilent(t *testing.T) {
	for name, answer := range map[string]string{"read-only": "-READONLY You can't write against a read only replica.\r\n", "full": "-OOM command not allowed\r\n", "silent": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer ln.Close()
			go func() {
				for {
					nc, err := ln.Accept()
					if err != nil {
						return
					}
					go func() {
						defer nc.Close()
						buf := make([]byte, 4096)
						for {
							if _, err := nc.Read(buf); err != nil {
								return
							}
							if _, err := nc.Write([]byte(answer)); err != nil {
								return
							}
						}
					}()
				}
			}()
			r := start(t, func(c *Config) { c.Redis, c.timing.redis = openRedis(t, ln.Addr().String()), 2*time.Second })
			if w := r.rawDial(nodeQuery("Alice")); w.head.StatusCode != 503 {
				t.Errorf("a newcomer is answered %d", w.head.StatusCode)
			}
		})
	}
}
