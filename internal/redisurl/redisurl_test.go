package redisurl

import (
	"context"
	"errors"
	"net"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]location{
		"redis://host":                 {network: "tcp", addrs: []string{"host:6379"}},
		"redis://host:1/":              {network: "tcp", addrs: []string{"host:1"}},
		"redis://u:p%40%2Fw@[::1]:2/3": {network: "tcp", addrs: []string{"[::1]:2"}, user: "u", password: "p@/w", db: 3},
		"redis://:a@b:c@host":          {network: "tcp", addrs: []string{"host:6379"}, password: "a@b:c"},
		"rediss://host":                {network: "tcp", addrs: []string{"host:6379"}, tls: true},
		"unix:///run/redis.sock":       {network: "unix", addrs: []string{"/run/redis.sock"}},
		"unix://:p@/run/r%20s?db=2":    {network: "unix", addrs: []string{"/run/r s"}, password: "p", db: 2},
		"redis+sentinel://a/mymaster":  {network: "tcp", addrs: []string{"a:26379"}, master: "mymaster"},
		"rediss+sentinel://u:p@a:1,b,[::2]:3/m/4?sentinel_password=s%26&sentinel_username=su": {
			network: "tcp", addrs: []string{"a:1", "b:26379", "[::2]:3"}, master: "m", db: 4, tls: true,
			user: "u", password: "p", sentinelUser: "su", sentinelPass: "s&",
		},
	} {
		got, err := parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
		} else if !reflect.DeepEqual(*got, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", text, *got, want)
		}
	}
}

func TestBadURLs(t *testing.T) {
	for text, want := range map[string]error{
		"": errShape, "host:6379": errShape, "http://u:hush@host": errShape, "redis://": errShape, "redis:///0": errShape,
		"redis://:hush@": errShape, "redis://host:hush": errShape, "redis://host:0": errShape, "redis://host:65536": errShape,
		"redis://a,b": errShape, "redis://host/#hush": errShape, "redis://ho st": errShape, "redis://:hu%zzsh@host": errShape,
		"redis://[::1": errShape, "redis://::1:6379": errShape, "redis://:12/hush@host": errShape, "redis://a/b@c/hush": errDatabase,
		"unix://host/sock": errShape, "unix://": errShape, "unix:///": errShape,
		"redis+sentinel://a,b": errShape, "redis+sentinel://a,,b/m": errShape, "redis+sentinel:///m": errShape,
		"redis+sentinel://" + strings.Repeat("a,", 16) + "a/m": errShape,
		"redis://host/hush": errDatabase, "redis://host/0/1": errDatabase, "redis://host/-1": errDatabase,
		"redis+sentinel://a/m/hush": errDatabase, "unix:///s?db=hush": errDatabase,
		"redis://host?db=1": errParameters, "redis://host?hush": errParameters, "unix:///s?db=1&db=2": errParameters,
		"redis+sentinel://a/m?hush=%zz": errParameters, "redis+sentinel://a/m?addr=b": errParameters,
	} {
		err := Check(text)
		if !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", text, err, want)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: the error says too much: %v", text, err)
		}
		if c, err := Open(text); err == nil {
			c.Close()
			t.Errorf("%q: opened", text)
		}
	}
}

// Whatever the configuration has, reading it does not fail otherwise than with one of the errors, and what is read can be
// opened.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"redis://u:p@h:1/2", "unix://:p@/s?db=1", "rediss+sentinel://a:1,[::2]/m/1?sentinel_password=x", "redis://%zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := parse(text)
		if err != nil {
			if !errors.Is(err, errShape) && !errors.Is(err, errDatabase) && !errors.Is(err, errParameters) {
				t.Error(err)
			}
			return
		}
		for _, addr := range at.addrs {
			if _, _, err := net.SplitHostPort(addr); at.network == "tcp" && err != nil {
				t.Errorf("%q: %v", text, err)
			}
		}
		if at.db < 0 || len(at.addrs) == 0 {
			t.Errorf("%q: %+v", text, at)
		}
	})
}

func open(t *testing.T, text string) redis.UniversalClient {
	t.Helper()
	c, err := Open(text)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestRealRedis(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	s := redistest.Serve(t, "requirepass hush", "unixsocket "+socket)
	ctx := context.Background()
	one, two := open(t, "redis://:hush@"+s.Addr+"/1"), open(t, "unix://default:hush@"+socket+"?db=1")
	if err := one.Set(ctx, "a", "b", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := two.Get(ctx, "a").Result(); got != "b" || err != nil {
		t.Errorf("by the socket: %q %v", got, err)
	}
	err := open(t, "redis://:other@"+s.Addr).Ping(ctx).Err()
	if err == nil || strings.Contains(err.Error(), "other") {
		t.Errorf("a wrong password: %v", err)
	}
}

// A client finds the master by the sentinels, of which some may be away, and the next one when that ends.
func TestRealSentinel(t *testing.T) {
	master := redistest.Serve(t, "requirepass hush", "masterauth hush")
	host, port, _ := net.SplitHostPort(master.Addr)
	replica := redistest.Serve(t, "requirepass hush", "masterauth hush", "replicaof "+host+" "+port)
	sentinel := redistest.Sentinel(t, master, "requirepass quiet", "sentinel auth-pass mymaster hush")
	ctx := context.Background()
	c := open(t, "redis+sentinel://:hush@127.0.0.1:1,"+sentinel.Addr+"/mymaster?sentinel_password=quiet")

	if err := c.Set(ctx, "a", "b", 0).Err(); err != nil {
		t.Fatal(err)
	}
	watch := open(t, "redis://:quiet@"+sentinel.Addr)
	eventually(t, "the sentinel knows the replica", func() bool {
		info, err := watch.Info(ctx, "sentinel").Result()
		return err == nil && strings.Contains(info, "slaves=1")
	})
	own := open(t, "redis://:hush@"+replica.Addr)
	eventually(t, "the replica has what was written", func() bool { return own.Get(ctx, "a").Val() == "b" })
	sub := c.Subscribe(ctx, "channel")
	defer sub.Close()
	if _, err := sub.Receive(ctx); err != nil {
		t.Fatal(err)
	}

	master.Kill()
	eventually(t, "the replica has become the master", func() bool { return c.Set(ctx, "a", "c", 0).Err() == nil })
	if got := own.Get(ctx, "a").Val(); got != "c" {
		t.Errorf("written elsewhere: %q", got)
	}
	eventually(t, "a subscription comes again", func() bool { return sub.Ping(ctx) == nil })
	eventually(t, "a message comes by it", func() bool {
		own.Publish(ctx, "channel", "x")
		m, err := sub.ReceiveTimeout(ctx, 100*time.Millisecond)
		_, is := m.(*redis.Message)
		return err == nil && is
	})
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(60 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}
