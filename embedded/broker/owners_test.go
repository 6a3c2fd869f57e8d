package broker

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fellows are the other Brokers, one of which may be gone.
type fellows struct {
	self string
	gone *atomic.Value // the name of that one
}

func (f fellows) Self() string           { return f.self }
func (f fellows) Gone(other string) bool { return f.gone.Load() == other }

// The lock of a Broker that is gone is taken at once; that of one that is there, or is no Broker of this program, never is.
func TestLocksOfABrokerThatIsGone(t *testing.T) {
	client, addr, _ := serveRedis(t, "127.0.0.1:0")
	var gone atomic.Value
	with := func(self string) func(c *Config) {
		return func(c *Config) { c.Redis, c.Peers = openRedis(t, addr), fellows{self, &gone} }
	}
	one, two := start(t, with("ONE")), start(t, with("TWO"))
	carol := two.join("Carol")
	ctx := context.Background()
	const theirs = "abcdefghij0123456789"
	for node, sid := range map[string]string{
		"Alice": theirs + "-KILLED", "Bob": theirs, "Dave": "KILLED", "Eve": theirs + "_KILLED", "Frank": theirs + "-", "Grace": theirs + "-ALIVE",
	} {
		if err := client.Set(ctx, node, sid, time.Minute).Err(); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(node string) {
		t.Helper()
		w := one.dial(nodeQuery(node))
		w.write("40")
		w.want(`44{"message":"client already connected"}`)
	}
	ask := payload(1, askConnected, `{"ids":["Alice","Grace"]}`)
	refused("Alice")
	carol.write(ask)
	carol.want(`431["{\"results\":[{\"id\":\"Alice\",\"connected\":true},{\"id\":\"Grace\",\"connected\":true}]}"]`)
	gone.Store("KILLED")
	carol.write(ask)
	carol.want(`431["{\"results\":[{\"id\":\"Alice\",\"connected\":false},{\"id\":\"Grace\",\"connected\":true}]}"]`)
	carol.write(payload(2, "SOCKET_MSG_EXCHANGE", `{"to":"Alice"}`))
	carol.want(`432["NOT_CONNECTED"]`)
	for _, node := range []string{"Bob", "Carol", "Dave", "Eve", "Frank", "Grace"} {
		refused(node)
	}
	one.join("Alice")
	if sid := client.Get(ctx, "Alice").Val(); !strings.HasSuffix(sid, "-ONE") {
		t.Errorf("the lock is %q", sid)
	}
	carol.write(ask)
	carol.want(`431["{\"results\":[{\"id\":\"Alice\",\"connected\":true},{\"id\":\"Grace\",\"connected\":true}]}"]`)
}
