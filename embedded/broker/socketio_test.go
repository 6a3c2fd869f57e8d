package broker

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// node runs a script of internal/e2e/socketio, whose npm packages tools/peers.sh installs.
func node(t *testing.T, args ...string) string {
	t.Helper()
	const folder = "../../internal/e2e/socketio"
	program, err := exec.LookPath("node")
	if err == nil {
		_, err = os.Stat(folder + "/node_modules/socket.io-client")
	}
	if err != nil {
		if os.Getenv("CROLANG_AIO_REQUIRE_PEERS") != "" {
			t.Fatalf("run tools/peers.sh: %v", err)
		}
		t.Skipf("run tools/peers.sh for this test: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = folder
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

func quickly(c *Config) { c.Settings.Limits.MessagesPerSecond = 100_000 }

// Nodes of the real Socket.IO client join, talk, are refused, and are told to go.
func TestRealClients(t *testing.T) {
	r := start(t, quickly)
	out := node(t, "nodes.js", "http://"+r.b.Addr().String())
	if !strings.Contains(out, `"ok":true`) {
		t.Error(out)
	}
}

// The same with two Brokers on one Redis.
func TestRealClientsOfTwoBrokers(t *testing.T) {
	client, addr, _ := serveRedis(t, "127.0.0.1:0")
	with := func(c *Config) { quickly(c); c.Redis = openRedis(t, addr) }
	one, two := start(t, with), start(t, with)
	subscribed(t, client, 2)
	out := node(t, "nodes.js", "http://"+one.b.Addr().String(), "http://"+two.b.Addr().String())
	if !strings.Contains(out, `"ok":true`) {
		t.Error(out)
	}
}
