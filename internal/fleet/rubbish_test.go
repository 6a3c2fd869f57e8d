package fleet

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	embedded "github.com/crolang-p2p/crolang-aio/embedded/redis"
)

// Whatever somebody puts where machines stand, they see each other again soon, and it is gone.
func TestRubbishInTheWay(t *testing.T) {
	server := serveRedis(t)
	all := startMany(t, redisAt(server), 2, func(c *Config) { c.gone = 30 * time.Second })
	c := all[0].client
	long := strings.Repeat("x", 13<<20) // longer than any reply may be
	for name, put := range map[string]func() error{
		"a field that is too long": func() error { return c.HSet(t.Context(), machinesKey, "long", long).Err() },
		"too many fields": func() error {
			pipe := c.Pipeline()
			for i := range maxFields + 1 {
				pipe.HSet(t.Context(), machinesKey, fmt.Sprint("field", i), "x")
			}
			_, err := pipe.Exec(t.Context())
			return err
		},
		"a text for a hash": func() error { return c.Set(t.Context(), machinesKey, "x", 0).Err() },
		"a hash for a generation": func() error {
			c.Del(t.Context(), generationKey)
			return c.HSet(t.Context(), generationKey, "a", "b").Err()
		},
		"a long generation": func() error { return c.Set(t.Context(), generationKey, long, 0).Err() },
	} {
		was := all[0].Counts().Rubbish + all[1].Counts().Rubbish
		if err := put(); err != nil {
			t.Fatal(name, err)
		}
		all[0].until(name+": it is gone, and both are there", func() bool {
			return all[0].Counts().Rubbish+all[1].Counts().Rubbish > was && c.HLen(t.Context(), machinesKey).Val() == 2 &&
				c.StrLen(t.Context(), generationKey).Val() == 26 && all[0].upNow() == 2
		})
		if s := all[1].ban(strings.ReplaceAll(name, " ", "-")); s.Machines != 2 {
			t.Errorf("%s: %+v", name, s)
		}
	}
}

// What no secret seals goes when it has stood unchanged for long; what changes stays, and so does what another secret seals while
// it speaks.
func TestRubbishGoes(t *testing.T) {
	server, err := embedded.New(embedded.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	url := "redis://" + server.Addr().String()
	b := startMany(t, url, 1, func(c *Config) { c.beat = 20 * time.Millisecond })[0]
	start(t, url, "other", "", secrets("another secret"))
	b.until("it is named", func() bool { return b.state("other") == Strange })
	for _, text := range []string{"x", "", b.client.HGet(t.Context(), machinesKey, b.boot).Val()} { // the last one replayed
		if err := b.client.HSet(t.Context(), machinesKey, "rubbish "+text[:min(1, len(text))], text).Err(); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	b.until("it is gone", func() bool {
		n++
		b.client.HSet(t.Context(), machinesKey, "changing", fmt.Sprint(n))
		return b.Counts().Rubbish == 3
	})
	if left := b.client.HLen(t.Context(), machinesKey).Val(); left != 3 {
		t.Errorf("%d fields are left", left)
	}
}
