package fleet

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/nodes"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl/redistest"
)

func TestABanReachesEveryMachine(t *testing.T) {
	all := startMany(t, redisAt(redistest.Serve(t)), 3)
	all[1].relays.open("eve", 2)
	all[2].relays.open("eve", 3)
	s := all[0].ban("eve")
	if s.Machines != 3 || s.Closed != 5 || !s.Shared || len(s.Silent) != 0 {
		t.Errorf("%+v", s)
	}
	for _, b := range all { // whoever has answered has it in force
		if !b.reg.Banned("eve") {
			t.Errorf("%s lets it in", b.name)
		}
	}
	_, events, _ := all[2].reg.Lookup("eve")
	if len(events) != 1 || !strings.HasPrefix(events[0].Detail, `banned by the operator at the machine "m0": spam; 3 allocations closed`) {
		t.Errorf("%+v", events)
	}
	// Replaced by a shorter one, at another machine.
	if _, s, err := all[1].Ban(context.Background(), "eve", "less", time.Hour); err != nil || s.Machines != 3 {
		t.Fatal(s, err)
	}
	for _, b := range all {
		if got, _ := b.reg.BanOf("eve"); got.Reason != "less" || got.Until.IsZero() {
			t.Errorf("%s: %+v", b.name, got)
		}
	}
	if s := all[2].unban("eve"); s.Machines != 3 || !s.Shared {
		t.Errorf("%+v", s)
	}
	for _, b := range all {
		if b.reg.Banned("eve") {
			t.Errorf("%s keeps it out", b.name)
		}
	}
	if _, err := all[2].Unban(context.Background(), "eve"); !errors.Is(err, nodes.ErrNotBanned) {
		t.Errorf("lifted twice: %v", err)
	}
	if s := all[0].ban("eve"); s.Machines != 3 || !all[1].reg.Banned("eve") { // the very same once more
		t.Errorf("%+v", s)
	}
}

// A machine that was away hears of what happened meanwhile, and of what was lifted, and those of what it had decided alone.
func TestAMachineThatWasAwayCatchesUp(t *testing.T) {
	server := redistest.Serve(t)
	all := startMany(t, redisAt(server), 2)
	stay, away := all[0], all[1]
	stay.ban("lifted meanwhile")
	stay.ban("stays")
	away.end()
	stay.until("it sees that one left", func() bool { return stay.upNow() == 1 })
	stay.unban("lifted meanwhile")
	var many sync.WaitGroup
	for i := range 3 * batch {
		many.Go(func() { stay.ban(fmt.Sprint("n", i)) })
	}
	many.Wait()
	alone, err := nodes.New(nodes.Config{DataDir: away.dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := alone.Ban("banned alone", "", 0); err != nil { // by a program that knew of no fleet
		t.Fatal(err)
	}
	back := start(t, redisAt(server), "back", away.dir)
	back.until("it has all bans", func() bool {
		return back.reg.Banned("n767") && back.reg.Banned("stays") && !back.reg.Banned("lifted meanwhile") && len(back.reg.Bans()) == 3*batch+2
	})
	stay.until("it has that one's", func() bool { return stay.reg.Banned("banned alone") })
}

// What is decided while Redis is away, or cannot keep anything, holds at once and is shared when it can.
func TestRedisTrouble(t *testing.T) {
	for name, c := range map[string]struct {
		lines       []string
		begin, over func(t *testing.T, s *redistest.Server, b *box)
		spreads     bool // who listens hears of it all the same
	}{
		"stands still": {nil, func(t *testing.T, s *redistest.Server, _ *box) {
			if err := s.Stop(); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, s *redistest.Server, _ *box) {
			if err := s.Continue(); err != nil {
				t.Fatal(err)
			}
		}, false},
		"is full": {nil, func(t *testing.T, _ *redistest.Server, b *box) { config(t, b, "maxmemory", "1") },
			func(t *testing.T, _ *redistest.Server, b *box) { config(t, b, "maxmemory", "0") }, true},
		"is read-only": {nil, func(t *testing.T, _ *redistest.Server, b *box) {
			replicaOf(t, b, "127.0.0.1", "1")
		}, func(t *testing.T, _ *redistest.Server, b *box) { replicaOf(t, b, "NO", "ONE") }, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Serve(t, c.lines...)
			all := startMany(t, redisAt(server), 2)
			all[0].ban("before")
			c.begin(t, server, all[0])
			began := time.Now()
			s := all[0].ban("meanwhile")
			if took := time.Since(began); took > 2*answerWait {
				t.Errorf("a ban took %v", took)
			}
			if s.Shared || !all[0].reg.Banned("meanwhile") || c.spreads != (s.Machines == 2) {
				t.Errorf("%+v", s)
			}
			b, _ := all[0].reg.BanOf("meanwhile")
			if !all[0].Unshared(b) {
				t.Error("the ban is not marked")
			}
			if all[0].Unshared(nodes.Ban{Node: "other"}) {
				t.Error("another ban is marked")
			}
			all[0].until("it is found", func() bool { return strings.Contains(all[0].foundNow()["fleet.redis"], "wait for it: 1") })
			if got := all[0].state("m1"); got != Up {
				t.Errorf("the other machine is %s, though only Redis is away", got)
			}
			c.over(t, server, all[0])
			all[1].until("it has the ban", func() bool { return all[1].reg.Banned("meanwhile") })
			all[0].until("it is shared", func() bool { return !all[0].Unshared(b) && len(all[0].foundNow()) == 0 })
			if n := all[0].client.HLen(t.Context(), bansKey).Val(); n != 2 {
				t.Errorf("%d bans in Redis", n)
			}
		})
	}
}

func config(t *testing.T, b *box, name, value string) {
	t.Helper()
	if err := b.client.ConfigSet(context.Background(), name, value).Err(); err != nil {
		t.Fatal(err)
	}
}

func replicaOf(t *testing.T, b *box, host, port string) {
	t.Helper()
	if err := b.client.SlaveOf(context.Background(), host, port).Err(); err != nil {
		t.Fatal(err)
	}
}

// An emptied Redis has all bans again, and liftings too: who comes with an old ban does not bring it back.
func TestAnEmptiedRedisIsFilled(t *testing.T) {
	server := redistest.Serve(t)
	all := startMany(t, redisAt(server), 3)
	for _, node := range []string{"eve", "mallory"} {
		all[0].ban(node)
	}
	all[2].end() // it knows of both
	all[1].unban("mallory")
	if err := all[0].client.FlushAll(t.Context()).Err(); err != nil {
		t.Fatal(err)
	}
	until(t, "Redis has all", func() bool { return all[0].client.HLen(t.Context(), bansKey).Val() == 2 })
	fresh, old := start(t, redisAt(server), "fresh", ""), start(t, redisAt(server), "m2", all[2].dir)
	fresh.until("it has the ban", func() bool { return fresh.reg.Banned("eve") })
	old.until("it lifts the ban", func() bool { return old.reg.Banned("eve") && !old.reg.Banned("mallory") })
	if fresh.reg.Banned("mallory") || all[0].reg.Banned("mallory") {
		t.Error("a ban came back")
	}
}

// Two machines that decide about one Node at the same time come to the same, and in doubt to a ban.
func TestAtTheSameTime(t *testing.T) {
	all := startMany(t, redisAt(redistest.Serve(t)), 3)
	for round := range 5 {
		node := fmt.Sprint("n", round)
		all[0].ban(node)
		var both sync.WaitGroup
		both.Go(func() { all[0].unban(node) })
		both.Go(func() { _, _, _ = all[1].Ban(context.Background(), node, "again", time.Hour) })
		both.Go(func() { _, _, _ = all[2].Ban(context.Background(), node, "and again", 2*time.Hour) })
		both.Wait()
		until(t, "all have the same bans", func() bool {
			return all[0].own().Digest == all[1].own().Digest && all[1].own().Digest == all[2].own().Digest
		})
		x, _ := all[0].reg.BanOf(node)
		for _, b := range all[1:] {
			b.until("it has the same ban", func() bool { y, _ := b.reg.BanOf(node); return y == x })
		}
	}
}

// Who has another secret is named, and believed nothing; who has both is of the fleet for either.
func TestSecrets(t *testing.T) {
	server := redistest.Serve(t)
	fresh := start(t, redisAt(server), "fresh", "", secrets("new"))
	both := start(t, redisAt(server), "both", "", secrets("new", "old"))
	old := start(t, redisAt(server), "old", "", secrets("old"))
	both.until("it sees both", func() bool { return both.state("fresh") == Up && both.state("old") == Up })
	old.until("it sees that one alone", func() bool { return old.state("both") == Up && old.state("fresh") == Strange })
	old.until("it names it", func() bool { return strings.Contains(old.foundNow()["fleet.machine.fresh"], "credentials.secret") })
	both.until("it names none", func() bool { return both.foundNow()["fleet.machine.fresh"] == "" })
	old.ban("eve") // sealed with the old secret alone
	both.until("it has the ban", func() bool { return both.reg.Banned("eve") })
	both.ban("mallory")
	for _, b := range []*box{fresh, old} {
		b.until("it has the ban", func() bool { return b.reg.Banned("mallory") })
	}
	if fresh.reg.Banned("eve") {
		t.Error("a ban that was sealed with a secret that this machine does not have is in force")
	}
}

// Who can write Redis and has no secret bans nobody, and lets nobody in.
func TestForgeries(t *testing.T) {
	b := startMany(t, redisAt(redistest.Serve(t)), 1)[0]
	b.ban("eve")
	ctx := t.Context()
	sealed := b.client.HGetAll(ctx, bansKey).Val()
	for id, text := range sealed {
		other := strings.Replace(text, `"eve"`, `"mallory"`, 1)
		b.client.HSet(ctx, bansKey, strings.Repeat("0", len(id)), other)
		for _, forged := range []string{other, "", " ", "x", text[:len(text)/2]} {
			b.client.XAdd(ctx, &goredis.XAddArgs{Stream: logKey, Values: []any{"e", forged}})
			b.client.Publish(ctx, newsChannel, forged)
			b.client.HSet(ctx, machinesKey, "x", forged)
		}
	}
	before := b.Counts().Forged
	b.client.Del(ctx, generationKey) // so that it compares all
	b.until("it has seen them", func() bool { return b.Counts().Forged >= before+4 && b.client.Exists(ctx, generationKey).Val() == 1 })
	if list := b.reg.Bans(); len(list) != 1 || list[0].Node != "eve" {
		t.Errorf("banned %+v", list)
	}
	if got := len(b.Machines()); got != 1 {
		t.Errorf("%d machines", got)
	}
}

// What a restart has to know is on the disk: what was lifted, and bans that another hides.
func TestRestartWithoutRedis(t *testing.T) {
	server := redistest.Serve(t)
	b := startMany(t, redisAt(server), 1)[0]
	b.ban("lifted")
	b.unban("lifted")
	b.ban("kept")
	b.end()
	server.Kill()
	again := start(t, redisAt(server), "m0", b.dir)
	if h := again.Health(); h.Bans != 1 || h.Lifted != 1 || h.Unshared != 2 {
		t.Errorf("%+v", h)
	}
	if err := os.WriteFile(filepath.Join(b.dir, fileName), []byte(`{"version":1,"records":[{}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(Config{Redis: b.client, Bans: b.reg, Dir: b.dir, Settings: Settings{Secrets: []string{"s"}}, Self: func() Self { return Self{} }, Write: func([]string, []string) any { return nil }}); !errors.Is(err, ErrFile) {
		t.Errorf("a damaged file: %v", err)
	}
}

// A disk that takes nothing keeps a lifted ban in force, and the machine says so.
func TestUnbanOnAFullDisk(t *testing.T) {
	b := startMany(t, redisAt(redistest.Serve(t)), 1)[0]
	b.ban("eve")
	if err := os.MkdirAll(filepath.Join(b.dir, fileName+".tmp", "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Unban(t.Context(), "eve"); err == nil || !strings.HasPrefix(err.Error(), "the ban stays: ") || !b.reg.Banned("eve") {
		t.Errorf("%v", err)
	}
	b.until("it is found", func() bool { return b.foundNow()["fleet.unkept"] != "" })
}
