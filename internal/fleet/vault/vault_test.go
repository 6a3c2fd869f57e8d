package vault

import (
	"bytes"
	"context"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/embedded/redis"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

const hold = 400 * time.Millisecond

func open(t *testing.T, addr string, secrets ...string) (*Vault, goredis.UniversalClient) {
	t.Helper()
	client, err := redisurl.Open("redis://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	v, err := New(client, secrets, hold)
	if err != nil {
		t.Fatal(err)
	}
	return v, client
}

func embedded(t *testing.T) string {
	t.Helper()
	s, err := redis.New(redis.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return s.Addr().String()
}

// everywhere runs a test with Debian's Redis, and with the embedded one.
func everywhere(t *testing.T, f func(t *testing.T, addr string)) {
	t.Run("redis-server", func(t *testing.T) { f(t, redistest.Serve(t).Addr) })
	t.Run("embedded", func(t *testing.T) { f(t, embedded(t)) })
}

func get(t *testing.T, v *Vault, names ...string) [][]byte {
	t.Helper()
	all, err := v.Get(t.Context(), names...)
	if err != nil || len(all) != len(names) {
		t.Fatalf("%d values, %v", len(all), err)
	}
	return all
}

func TestValues(t *testing.T) {
	everywhere(t, func(t *testing.T, addr string) {
		ctx := t.Context()
		one, client := open(t, addr, "new", "old")
		two, _ := open(t, addr, "new")
		alien, _ := open(t, addr, "another")
		secret := []byte("PRIVATE KEY")
		if err := one.Put(ctx, "a", secret, 0); err != nil {
			t.Fatal(err)
		}
		if got := get(t, two, "a", "b"); !bytes.Equal(got[0], secret) || got[1] != nil {
			t.Errorf("%q", got)
		}
		stands, err := client.Get(ctx, prefix+"a").Result()
		if err != nil || bytes.Contains([]byte(stands), secret) {
			t.Errorf("in Redis stands %q, %v", stands, err)
		}
		if got := get(t, alien, "a"); got[0] != nil || alien.Counts().Strangers != 1 {
			t.Errorf("another secret reads %q", got)
		}
		client.Set(ctx, prefix+"b", stands, 0) // swapped
		client.Set(ctx, prefix+"c", "rubbish", 0)
		if got := get(t, two, "b", "c"); got[0] != nil || got[1] != nil || two.Counts().Forged != 2 {
			t.Errorf("%q, %+v", got, two.Counts())
		}
		if err := two.PutNew(ctx, "a", []byte("second")); err != nil || !bytes.Equal(get(t, one, "a")[0], secret) {
			t.Errorf("it replaces what is there: %v", err)
		}
		for _, name := range []string{"c", "d"} { // rubbish, and nothing
			if err := two.PutNew(ctx, name, []byte("second")); err != nil || string(get(t, one, name)[0]) != "second" {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := two.Delete(ctx, "a"); err != nil || get(t, one, "a")[0] != nil {
			t.Error(err)
		}
		if err := two.Put(ctx, "a", make([]byte, MaxValue+1), 0); err == nil {
			t.Error("a value that is too long")
		}
		names := make([]string, 100)
		for i := range names {
			names[i] = string(rune('A' + i))
		}
		if err := one.Put(ctx, names[99], secret, time.Minute); err != nil || !bytes.Equal(get(t, two, names...)[99], secret) {
			t.Error(err)
		}
	})
}

// During a rotation both secrets are read, and the new one is written with.
func TestRotation(t *testing.T) {
	addr := redistest.Serve(t).Addr
	before, _ := open(t, addr, "old")
	if err := before.Put(t.Context(), "a", []byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	v, _ := open(t, addr, "old")
	next, err := v.Prepare([]string{"new", "old"})
	if err != nil {
		t.Fatal(err)
	}
	next.Apply()
	if string(get(t, v, "a")[0]) != "x" {
		t.Error("what the old secret has enclosed cannot be read")
	}
	if err := v.Put(t.Context(), "a", []byte("y"), 0); err != nil || get(t, before, "a")[0] != nil {
		t.Errorf("the old secret still encloses: %v", err)
	}
	if _, err := v.Prepare(nil); err == nil {
		t.Error("without a secret")
	}
}

func TestLock(t *testing.T) {
	everywhere(t, func(t *testing.T, addr string) {
		one, client := open(t, addr, "s")
		two, _ := open(t, addr, "s")
		lost := make(chan struct{})
		unlock, err := one.Lock(t.Context(), "a", func() { close(lost) })
		if err != nil {
			t.Fatal(err)
		}
		for end := time.Now().Add(3 * hold); time.Now().Before(end); time.Sleep(hold / 10) { // it is extended
			if unlock, err := two.Lock(t.Context(), "a", nil); unlock != nil || err != nil {
				t.Fatalf("two have it, %v", err)
			}
		}
		other, err := two.Lock(t.Context(), "b", nil)
		if err != nil {
			t.Fatal(err)
		}
		other()
		unlock()
		again, err := two.Lock(t.Context(), "a", nil)
		if err != nil || again == nil {
			t.Fatalf("it was not given back: %v", err)
		}
		again()
		if unlock, err = one.Lock(t.Context(), "a", func() { close(lost) }); err != nil {
			t.Fatal(err)
		}
		client.Set(t.Context(), locks+"a", "somebody", 0)
		select {
		case <-lost:
		case <-time.After(20 * time.Second):
			t.Fatal("nobody noticed that it was lost")
		}
		unlock()
		if client.Get(t.Context(), locks+"a").Val() != "somebody" {
			t.Error("it gave back what was another's")
		}
	})
}

// Who dies with it has it no longer than agreed; who is away from Redis gives up before that.
func TestLockOfTheDead(t *testing.T) {
	server := redistest.Serve(t)
	one, client := open(t, server.Addr, "s")
	two, _ := open(t, server.Addr, "s")
	lost := make(chan struct{})
	unlock, err := one.Lock(t.Context(), "a", func() { close(lost) })
	if err != nil {
		t.Fatal(err)
	}
	_ = client.Close()
	for {
		got, err := two.Lock(t.Context(), "a", nil)
		if err != nil {
			t.Fatal(err)
		}
		if got != nil {
			got()
			break
		}
		time.Sleep(hold / 20)
	}
	select {
	case <-lost:
	case <-time.After(20 * time.Second):
		t.Fatal("it is not noticed")
	}
	unlock()
	server.Kill()
	if unlock, err := two.Lock(t.Context(), "a", nil); unlock != nil || err == nil {
		t.Errorf("without Redis: %v", err)
	}
	if _, err := two.Get(t.Context(), "a"); err == nil {
		t.Error("without Redis there is nothing")
	}
}
