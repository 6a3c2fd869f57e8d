package replicas

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// A Redis that runs any script learns ours when it is first asked, again after it was started anew.
func TestLocksOnARedisWithScripts(t *testing.T) {
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), DisableIdentity: true})
	defer client.Close()
	var log bytes.Buffer
	r := New(Config{Client: client, TTL: time.Minute, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ctx := context.Background()
	var locks []Lock
	for i := range 2*batch + 3 {
		l := Lock{fmt.Sprint("node-", i), fmt.Sprint("socket-", i)}
		if ok, err := r.Acquire(ctx, l.Node, l.SID); !ok || err != nil {
			t.Fatal(ok, err)
		}
		locks = append(locks, l)
	}
	if ok, err := r.Acquire(ctx, "node-1", "other"); ok || err != nil {
		t.Errorf("a held lock was taken: %v, %v", ok, err)
	}
	for range 2 {
		server.FastForward(50 * time.Second)
		_ = server.Set("node-3", "stolen")
		server.Del("node-4")
		if lost := r.Extend(ctx, locks); len(lost) != 1 || lost[0].Node != "node-3" {
			t.Errorf("lost %v", lost)
		}
		if ttl := server.TTL("node-300"); ttl != time.Minute {
			t.Errorf("extended to %v", ttl)
		}
		if v, _ := server.Get("node-4"); v != "socket-4" {
			t.Errorf("node-4 is %q", v)
		}
		client.ScriptFlush(ctx)
	}
	r.Release(ctx, "node-5", "other")
	if !server.Exists("node-5") {
		t.Error("another's lock was released")
	}
	r.Release(ctx, "node-5", "socket-5")
	if server.Exists("node-5") {
		t.Error("the lock was not released")
	}
	// A key of another type is nobody's, and takes nothing from the others.
	_, _ = server.Lpush("list", "x")
	found := make([]bool, 3)
	r.FindAll(ctx, []string{"node-1", "list", "nobody"}, []int{0, 1, 2}, found)
	if !found[0] || found[1] || found[2] {
		t.Errorf("found %v", found)
	}
	// Nor is a value that no Broker has put there, of which no more is fetched than a socket id may have.
	for _, value := range []string{"", "a b", "a\n", "\xff", strings.Repeat("x", maxSID+1), strings.Repeat("x", 1<<20)} {
		_ = server.Set("strange", value)
		if sid, ok := r.Find(ctx, "strange"); ok || len(sid) > maxSID+1 {
			t.Errorf("%.20q was taken for a socket id", value)
		}
	}
	for _, id := range []string{"", "a\x00", "\xffcrolang-aio/1/generation", strings.Repeat("n", 257)} {
		_ = server.Set(id, "abcdefghij0123456789")
		found := make([]bool, 2)
		r.FindAll(ctx, []string{id, "node-1"}, []int{0, 1}, found)
		if _, ok := r.Find(ctx, id); ok || found[0] || !found[1] {
			t.Errorf("%.20q was looked up", id)
		}
	}
	_ = server.Set("theirs", "p_-Zr5xhYlVnqXZHAAAB") // the original's
	if sid, ok := r.Find(ctx, "theirs"); !ok || sid != "p_-Zr5xhYlVnqXZHAAAB" {
		t.Errorf("the original's lock: %q", sid)
	}
	if log.Len() > 0 {
		t.Errorf("logged: %s", &log)
	}
}
