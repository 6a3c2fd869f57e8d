package redis_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	embedded "github.com/crolang-p2p/crolang-aio/embedded/redis"
)

func TestPublish(t *testing.T) {
	s := start(t, embedded.Config{})
	sub, pub := dial(t, s), dial(t, s)
	sub.want(list("subscribe", "news", 1), "SUBSCRIBE", "news")
	sub.want(list("subscribe", "news", 1), "SUBSCRIBE", "news")
	sub.want(list("psubscribe", "socket.io#/#*", 2), "PSUBSCRIBE", "socket.io#/#*")
	sub.want(list("pong", ""), "PING")
	sub.want(list("pong", "hi"), "PING", "hi")
	sub.wantError("only (P)SUBSCRIBE", "GET", "k")

	pub.want(1, "PUBLISH", "news", "one")
	pub.want(1, "PUBLISH", "socket.io#/#room#", "two\r\n\x00")
	pub.want(0, "PUBLISH", "NEWS", "lost")
	sub.wantRead(list("message", "news", "one"))
	sub.wantRead(list("pmessage", "socket.io#/#*", "socket.io#/#room#", "two\r\n\x00"))

	pub.want(list("news", 1, "none", 0), "PUBSUB", "NUMSUB", "news", "none")
	pub.want(list("news"), "PUBSUB", "CHANNELS")
	pub.want(list(), "PUBSUB", "CHANNELS", "x*")
	pub.want(1, "PUBSUB", "NUMPAT")

	sub.want(list("unsubscribe", "news", 1), "UNSUBSCRIBE", "news")
	sub.want(list("unsubscribe", "news", 1), "UNSUBSCRIBE", "news")
	sub.want(list("unsubscribe", nil, 1), "UNSUBSCRIBE")
	sub.want(list("punsubscribe", "socket.io#/#*", 0), "PUNSUBSCRIBE")
	sub.want(nil, "GET", "k") // no subscriber any more
	pub.want(0, "PUBLISH", "news", "lost")

	sub.want(list("subscribe", "news", 1), "SUBSCRIBE", "news")
	sub.conn.Close()
	eventually(t, "the subscriber that left is forgotten", func() bool {
		return fmt.Sprint(pub.do("PUBSUB", "NUMSUB", "news")) == fmt.Sprint(list("news", 0))
	})
}

// Messages of one publisher keep their order, for every subscriber.
func TestPublishKeepsOrder(t *testing.T) {
	s := start(t, embedded.Config{})
	const n = 2000
	var subs []*redis
	for i := range 4 {
		c := dial(t, s)
		if i%2 == 0 {
			c.want(list("subscribe", "c", 1), "SUBSCRIBE", "c")
		} else {
			c.want(list("psubscribe", "?", 1), "PSUBSCRIBE", "?")
		}
		subs = append(subs, c)
	}
	pub := dial(t, s)
	var all strings.Builder
	for i := range n {
		all.WriteString(command("PUBLISH", "c", fmt.Sprint(i)))
	}
	go pub.raw(all.String())
	for i := range n {
		for _, c := range subs {
			got := c.read().([]any)
			if last := got[len(got)-1]; last != fmt.Sprint(i) {
				t.Fatalf("message %v, want %d", last, i)
			}
		}
	}
	for range n {
		pub.wantRead(4)
	}
}

func TestLargeMessages(t *testing.T) {
	s := start(t, embedded.Config{})
	sub, pub := dial(t, s), dial(t, s)
	sub.want(list("subscribe", "c", 1), "SUBSCRIBE", "c")
	payload := strings.Repeat("0123456789abcdef", 1<<19) // 8 MiB
	for range 4 {
		go pub.send("PUBLISH", "c", payload)
		if got := sub.read().([]any); got[2] != payload {
			t.Fatal("another payload came")
		}
		pub.wantRead(1)
	}
}

// A subscriber that does not read is cut off; nobody else notices.
func TestSubscriberThatDoesNotRead(t *testing.T) {
	s := start(t, embedded.Config{})
	lazy, sub, pub := dial(t, s), dial(t, s), dial(t, s)
	lazy.want(list("subscribe", "c", 1), "SUBSCRIBE", "c")
	sub.want(list("subscribe", "c", 1), "SUBSCRIBE", "c")
	payload := strings.Repeat("x", 500<<10)
	gone := false
	for i := 0; !gone; i++ {
		if i == 1000 {
			t.Fatal("500 MB are kept for a client that does not read")
		}
		gone = pub.do("PUBLISH", "c", payload) == 1
		if got := sub.read().([]any); got[2] != payload {
			t.Fatal("another payload came")
		}
	}
	eventually(t, "it is gone", func() bool { return s.Clients() == 2 })
	if st := s.Stats(); st.Refused["unread"] != 1 {
		t.Errorf("%+v", st)
	}
}

// One that stops reading with a little unread goes after the write timeout.
func TestWriteTimeout(t *testing.T) {
	s := start(t, embedded.Config{WriteTimeout: 50 * time.Millisecond})
	lazy, pub := dial(t, s), dial(t, s)
	lazy.want(list("subscribe", "c", 1), "SUBSCRIBE", "c")
	payload := strings.Repeat("x", 8<<20) // more than two sockets' buffers
	for range 2 {
		pub.do("PUBLISH", "c", payload)
	}
	eventually(t, "it is gone", func() bool { return s.Clients() == 1 })
	pub.want("PONG", "PING")
}

// Where all clients together have too much unread, those go that are behind.
func TestSharedRoom(t *testing.T) {
	s := start(t, embedded.Config{MaxCommand: 8 << 20}) // 64 MiB for all
	sub, pub := dial(t, s), dial(t, s)
	sub.want(list("subscribe", "c", 1), "SUBSCRIBE", "c")
	payload := strings.Repeat("x", 6<<20)
	for i := range 12 {
		channel := fmt.Sprint("lazy", i)
		dial(t, s).want(list("subscribe", channel, 1), "SUBSCRIBE", channel)
		for range 3 {
			pub.want(1, "PUBLISH", channel, payload)
		}
	}
	eventually(t, "some are gone", func() bool { return s.Stats().Refused["unread"] > 0 })
	if n := s.Clients(); n < 3 || n > 8 {
		t.Errorf("%d clients are left", n)
	}
	pub.want(1, "PUBLISH", "c", payload)
	if got := sub.read().([]any); got[2] != payload {
		t.Error("another payload came")
	}
}

// One long message to many at once is there once.
func TestFanOutIsShared(t *testing.T) {
	s := start(t, embedded.Config{MaxCommand: 8 << 20}) // 64 MiB for all
	pub := dial(t, s)
	var subs []*redis
	for range 20 {
		c := dial(t, s)
		c.want(list("subscribe", "c", 1), "SUBSCRIBE", "c")
		subs = append(subs, c)
	}
	payload := strings.Repeat("x", 8<<20-20)
	pub.want(20, "PUBLISH", "c", payload)
	for _, c := range subs {
		if got := c.read().([]any); got[2] != payload {
			t.Error("another payload came")
		}
	}
}
