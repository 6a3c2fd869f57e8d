package fleet

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

// panicking is a hook that has the library panic at the next so many exchanges.
type panicking struct{ left atomic.Int32 }

func (p *panicking) DialHook(next goredis.DialHook) goredis.DialHook { return next }

func (p *panicking) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook { return next }

func (p *panicking) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		if p.left.Add(-1) >= 0 {
			panic("makeslice: len out of range")
		}
		return next(ctx, cmds)
	}
}

// A panic in the library, at what Redis has sent, costs a machine that beat: it is counted, logged once, and the next comes.
func TestAPanicOfTheLibrary(t *testing.T) {
	server := redistest.Serve(t)
	var log bytes.Buffer
	hook := &panicking{}
	hook.left.Store(3)
	bad := start(t, redisAt(server), "bad", "", func(c *Config) {
		c.Redis.AddHook(hook)
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	good := start(t, redisAt(server), "good", "")
	good.until("it sees both", func() bool { return good.upNow() == 2 })
	bad.until("it sees both", func() bool { return bad.upNow() == 2 })
	if n := bad.Counts().Failures; n != 3 {
		t.Errorf("%d failures", n)
	}
	if s := good.ban("eve"); s.Machines != 2 || !bad.reg.Banned("eve") {
		t.Errorf("%+v", s)
	}
	hook.left.Store(1) // where it says that a ban is in force, or beats
	good.ban("mallory")
	bad.until("it has failed once more", func() bool { return bad.Counts().Failures == 4 })
	if s := good.ban("trudy"); s.Machines != 2 || !bad.reg.Banned("trudy") || !bad.reg.Banned("mallory") {
		t.Errorf("%+v", s)
	}
	bad.end()
	if got := log.String(); strings.Count(got, "makeslice") != 1 || !strings.Contains(got, "beat.go") {
		t.Errorf("logged: %s", got)
	}
}
