// Package axios has the webhooks called by axios 1.8, which is what Brokers use.
package axios

import (
	"context"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/hooks"
)

// counted counts the connections that it accepts.
type counted struct {
	net.Listener
	conns atomic.Int32
}

func (c *counted) Accept() (net.Conn, error) {
	conn, err := c.Listener.Accept()
	if err == nil {
		c.conns.Add(1)
	}
	return conn, err
}

// registry has one banned Node and counts the connected ones.
type registry struct{ connected atomic.Int32 }

func (*registry) BanReason(node string) (string, bool) { return "spam", node == "Ben" }
func (*registry) Authenticated(string, string)         {}
func (*registry) AuthenticationRefused(string, string) {}
func (*registry) ConfigurationRefused(string, string)  {}
func (*registry) AuthorizationRefused(string, string)  {}
func (*registry) NamedInvalid(string, string)          {}
func (*registry) JoinedElsewhere(string)               {}
func (*registry) Issued(string, time.Time)             {}
func (r *registry) Validated(nodes []string)           { r.connected.Add(int32(len(nodes))) }
func (*registry) Authorized(string, string)            {}

type ice struct{}

func (ice) ICE(node string, _ netip.Addr) (hooks.ICE, error) {
	return hooks.ICE{
		STUN: [2]*hooks.URLs{hooks.NewURLs("stun:127.0.0.1:3478")}, TURN: [2]*hooks.URLs{hooks.NewURLs("turn:127.0.0.1:3478?transport=udp")},
		Username: "1:" + node, Password: "p",
	}, nil
}

func TestBrokerCalls(t *testing.T) {
	node, err := exec.LookPath("node")
	peer(t, "node", err == nil)
	_, err = os.Stat("node_modules/axios")
	peer(t, "axios (npm ci in internal/e2e/axios)", err == nil)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conns, known := &counted{Listener: listener}, &registry{}
	var mu sync.Mutex
	results := map[string]int{}
	decider, err := hooks.NewDecider(hooks.DeciderConfig{
		Registry: known, ICE: ice{},
		Observe: func(hook, result string, _ time.Duration) {
			mu.Lock()
			defer mu.Unlock()
			results[hook+" "+result]++
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	server, err := hooks.New(hooks.Config{Decider: decider, Listener: conns, Token: "c29tZS10b2tlbg"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()

	limit, stop := context.WithTimeout(ctx, 2*time.Minute)
	defer stop()
	out, err := exec.CommandContext(limit, node, "call.js", "http://broker:c29tZS10b2tlbg@"+server.Addr().String()).CombinedOutput()
	if err != nil || !strings.Contains(string(out), `"ok":true,"axios":"1.8.`) {
		t.Fatalf("%v\n%s", err, out)
	}
	if n := conns.conns.Load(); n > 4 {
		t.Errorf("%d connections for 4 sockets: some were not kept alive", n)
	}
	if n := known.connected.Load(); n != 100_000-1+2*2 {
		t.Errorf("%d Nodes connected", n)
	}
	mu.Lock()
	defer mu.Unlock()
	for result, want := range map[string]int{"message ok": 202, "message unauthorized": 2, "message too_large": 1, "message method": 1, "message invalid": 1,
		"authenticate unauthorized": 1, "authenticate invalid": 1, "resolve refused": 1} {
		if results[result] != want {
			t.Errorf("%s: %d, want %d", result, results[result], want)
		}
	}
}

// peer skips the test where something is missing, or fails it where all must be there.
func peer(t *testing.T, what string, ok bool) {
	t.Helper()
	if ok {
		return
	}
	if os.Getenv("CROLANG_AIO_REQUIRE_PEERS") != "" {
		t.Fatalf("%s is missing: run `make test`, which installs it", what)
	}
	t.Skipf("%s is not installed: `make test` installs it", what)
}
