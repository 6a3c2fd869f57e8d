package replicas

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/redis/go-redis/v9"
)

// panics is a hook that has the library panic at a command while it is on.
type panics struct {
	redis.Hook
	name string
	on   bool
}

func (p *panics) DialHook(next redis.DialHook) redis.DialHook { return next }

func (p *panics) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

func (p *panics) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		if p.on && cmd.Name() == p.name {
			panic("makeslice: len out of range")
		}
		return next(ctx, cmd)
	}
}

// A panic in the library, at what Redis has sent, is a failure of Redis: counted, logged once, and over when it is over.
func TestAPanicOfTheLibrary(t *testing.T) {
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), DisableIdentity: true})
	defer client.Close()
	hook := &panics{name: "set", on: true}
	client.AddHook(hook)
	var log bytes.Buffer
	r := New(Config{Client: client, TTL: time.Minute, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	ctx := context.Background()
	for range 2 {
		r.awayTill.Store(0)
		if ok, err := r.Acquire(ctx, "alice", "s"); ok || !errors.Is(err, errPanic) {
			t.Errorf("%v %v", ok, err)
		}
	}
	if r.Failures() != 2 || strings.Count(log.String(), "makeslice") != 1 {
		t.Errorf("%d failures: %s", r.Failures(), &log)
	}
	hook.on = false
	r.awayTill.Store(0)
	if ok, err := r.Acquire(ctx, "alice", "s"); !ok || err != nil {
		t.Errorf("after it: %v %v", ok, err)
	}
}

// A panic at a message costs that message: the ones behind it come, by another subscription.
func TestAPanicAtAMessage(t *testing.T) {
	server := miniredis.RunT(t)
	client := redis.NewClient(&redis.Options{Addr: server.Addr(), DisableIdentity: true})
	defer client.Close()
	delivered := make(chan string)
	r := New(Config{Client: client, TTL: time.Minute, Logger: slog.New(slog.DiscardHandler), Deliver: func(sid, _ string, _ []byte) {
		if sid == "bad" {
			panic("out of spoons")
		}
		delivered <- sid
	}})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	defer func() { cancel(); <-done }()
	other := &Replicas{uid: "others"}
	text, err := other.encode("x", "y", "EV", []byte("t"))
	if err != nil {
		t.Fatal(err)
	}
	send := func(sid string) {
		for ctx.Err() == nil && server.Publish(prefix+sid+"#", string(text)) == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	send("bad")
	for deadline := time.Now().Add(20 * time.Second); r.Failures() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the panic was not counted")
		}
	}
	send("good")
	select {
	case sid := <-delivered:
		if sid != "good" {
			t.Error(sid)
		}
	case <-time.After(20 * time.Second):
		t.Error("nothing comes any more")
	}
}
