package e2e

import (
	"os"
	"strings"
	"testing"
)

// npm skips the test where a folder's packages are not installed.
func npm(t *testing.T, folder string) string {
	t.Helper()
	_, err := os.Stat(folder + "/node_modules")
	peer(t, "npm packages of internal/e2e/"+folder, err == nil)
	return program(t, "node")
}

// Two Socket.IO servers exchange messages and take, extend and lose locks on the embedded Redis.
func TestSocketIOReplicasOnEmbeddedRedis(t *testing.T) {
	node := npm(t, "socketio")
	s := serve(t)
	out, err := run(t, node, "socketio/replicas.js", "redis://"+s.redis)
	if err != nil || !strings.Contains(out, `"ok":true`) {
		t.Errorf("%v\n%s\n%s", err, out, s.logs())
	}
	tried(t, "socket.io's server", npmVersion(t, "socketio", "socket.io")+", redis-adapter "+npmVersion(t, "socketio", "@socket.io/redis-adapter")+", ioredis "+npmVersion(t, "socketio", "ioredis"),
		"two servers exchange messages and share locks on the embedded Redis, as Brokers do")
}
