package fleet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	// unequalFor is how long the bans of two machines must differ, while neither changes, until they are compared with Redis;
	// compareAgain is how often that happens at most.
	unequalFor   = 6 * time.Second
	compareAgain = time.Minute
	saveEvery    = time.Second
	sweepEvery   = 10 * time.Minute
)

// comparison is two digests, and since when they have been so.
type comparison struct {
	ours, theirs string
	since        time.Time
}

// own is what this machine says of itself now, but for its number.
func (f *Fleet) own() heartbeat {
	ring := f.ring.Load()
	h := heartbeat{
		Boot: f.boot, At: f.cfg.Now().UTC(), Name: f.cfg.Name, Region: f.cfg.Region, Takes: ring.Prints(), Who: f.who.Load(),
		Answers: slices.Sorted(maps.Keys(f.cfg.Answers)), Self: f.cfg.Self(),
	}
	h.LiveAt, h.UsedAt, h.TiesAt = f.liveAt.Load(), f.usedAt.Load(), f.tiesAt.Load()
	if ledger := f.ledger.Load(); ledger != nil {
		h.Ledger = *ledger
	}
	h.Draining = h.Draining || f.leave.Load()
	same := make(map[string]string, len(h.Same))
	for name, text := range h.Same {
		same[name] = ring.Keyed([]byte(text))
	}
	h.Same = same
	f.mu.Lock()
	digest := f.set.Digest()
	h.Digest, h.Bans = hex.EncodeToString(digest[:]), f.set.Len()-f.set.Lifted()
	f.mu.Unlock()
	return h
}

// beat says that this machine is there, and hears which others are, and what came to the list of bans.
func (f *Fleet) beat(ctx context.Context) {
	if f.at.suspect {
		f.at.suspect = false
		f.clean(ctx)
	}
	h := f.own()
	h.Seq = f.seq.Add(1)
	text, err := json.Marshal(h)
	if err != nil { // numbers that are none
		f.log.Error("this machine cannot say how it is: please report this", "error", err)
		return
	}
	ring := f.ring.Load()
	sealed := ring.Seal(forMachine, text)
	var all *redis.MapStringStringCmd
	var generation *redis.StringCmd
	var set *redis.IntCmd
	var told *redis.IntCmd
	since := f.at.log
	var log *redis.XMessageSliceCmd
	began := time.Now()
	err = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) {
		set = p.HSet(ctx, machinesKey, f.boot, sealed)
		if f.spoken(h) { // a Redis that is full or read-only still passes it on; and who is to drain is told at once
			told = p.Publish(ctx, newsChannel, news{From: f.boot, Beat: sealed}.seal(ring))
		}
		if f.dueToRead() {
			all = p.HGetAll(ctx, machinesKey)
		}
		generation = p.GetRange(ctx, generationKey, 0, maxGeneration)
		if since != "" {
			log = p.XRangeN(ctx, logKey, since, "+", batch)
		}
	})
	if ctx.Err() != nil {
		return
	}
	spoke := set.Err() == nil || told != nil && told.Err() == nil
	answers := (generation.Err() == nil || isNil(generation.Err())) && (all == nil || all.Err() == nil)
	f.redisWas(err, spoke && answers, set.Err() != nil, time.Since(began))
	f.save(false)
	defer f.report()
	f.at.suspect = unreadable(set.Err(), generation.Err()) || all != nil && unreadable(all.Err()) || len(generation.Val()) > maxGeneration
	if answers && all != nil {
		f.at.readIn = f.stretch()
		for boot, sealed := range all.Val() {
			if boot != f.boot {
				f.hear(sealed, false)
			}
		}
		f.tidy(ctx, all.Val())
	}
	f.arrange()
	if !answers {
		f.tellCounts(ctx, false)
		return
	}
	f.follow(ctx, generation.Val(), log)
	f.settleAgain()
	f.tellCounts(ctx, true)
	f.hearCounts(ctx)
	f.putTies(ctx)
	f.hearTies(ctx)
	f.tellWho(ctx)
	f.hearWho(ctx)
	f.sweep(ctx)
}

// dueToRead reports whether this beat reads the heartbeats of all machines: every one does but where there are very many, see
// [Fleet.stretch]. A machine that has just started reads them until it can tell who is there.
func (f *Fleet) dueToRead() bool {
	f.at.readIn--
	return f.at.readIn <= 0 || f.seq.Load() <= 3
}

// spoken reports whether a heartbeat is published too, beside what stands in Redis.
func (f *Fleet) spoken(h heartbeat) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	was := f.state.said
	f.state.said = h.state()
	return f.state.refuses || was != h.state()
}

// follow brings the bans of this machine and those in Redis into line.
func (f *Fleet) follow(ctx context.Context, generation string, log *redis.XMessageSliceCmd) {
	founder := false
	if generation == "" {
		generation, founder = f.found(ctx)
	}
	if generation == "" || generation != f.at.generation {
		f.at.log = "" // it was emptied, or is another
	}
	switch {
	case f.at.log == "":
	case log == nil || log.Err() != nil:
		return
	default:
		for messages := log.Val(); ; {
			whole, lost := f.catchUp(messages)
			if lost {
				f.at.log = ""
			}
			if whole || lost {
				break
			}
			var more *redis.XMessageSliceCmd
			if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { more = p.XRangeN(ctx, logKey, f.at.log, "+", batch) }) != nil {
				return
			}
			messages = more.Val()
		}
		if f.unequal() {
			f.at.log = ""
		}
	}
	if f.at.log == "" {
		if f.compare(ctx) != nil {
			return
		}
		f.at.generation = generation
		f.at.restoreIn = f.turn(founder)
	}
	if f.at.restoreIn == 0 || f.waited(ctx) {
		f.shareRest(ctx)
	}
}

// waited reports whether it is this machine's turn to put into Redis what that lacks, see turn: not while another is at it.
func (f *Fleet) waited(ctx context.Context) bool {
	if f.at.restoreIn--; f.at.restoreIn > 0 {
		return false
	}
	before := f.Health().Unshared
	if err := f.compare(ctx); err != nil || f.Health().Unshared < before {
		f.at.restoreIn = 2
		return false
	}
	return true
}

// turn is in how many beats this machine puts into Redis what that lacks: at once, but where it has much for an emptied one, as
// all the others have. They must not all put in the same.
func (f *Fleet) turn(founder bool) (beats int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	others := f.others()
	if founder || others == 0 || len(f.unshared) <= batch {
		return 0
	}
	return 2 + mathrand.IntN(1+min(others, 30))
}

// found gives a Redis that has none a generation, and returns that which it has then; empty if it takes none. founder: it is ours.
func (f *Fleet) found(ctx context.Context) (generation string, founder bool) {
	var get *redis.StringCmd
	var set *redis.BoolCmd
	err := f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) {
		set = p.SetNX(ctx, generationKey, rand.Text(), 0)
		get = p.Get(ctx, generationKey)
	})
	if err != nil {
		return "", false
	}
	return get.Val(), set.Val()
}

// unequal reports whether the bans of another machine have differed from ours for a while in which neither changed.
func (f *Fleet) unequal() bool {
	now := time.Now()
	own := f.own().Digest
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.at.unequal == nil {
		f.at.unequal = map[string]comparison{}
	}
	maps.DeleteFunc(f.at.unequal, func(boot string, _ comparison) bool { return f.machines[boot] == nil })
	due := false
	for boot, m := range f.machines {
		c := f.at.unequal[boot]
		switch {
		case !f.up(m) || m.said.Digest == own:
			delete(f.at.unequal, boot)
		case c.ours != own || c.theirs != m.said.Digest:
			f.at.unequal[boot] = comparison{own, m.said.Digest, now}
		default:
			due = due || now.Sub(c.since) > min(unequalFor, 3*f.cfg.beat)
		}
	}
	return due && now.Sub(f.at.compared) > min(compareAgain, 30*f.cfg.beat)
}

// sweep drops what nobody needs any more, here and in Redis.
func (f *Fleet) sweep(ctx context.Context) {
	boots := f.forgetMachines()
	var ids []string
	if time.Since(f.at.swept) > sweepEvery {
		f.at.swept = time.Now()
		f.mu.Lock()
		ids = f.set.Forget(f.cfg.Now())
		f.dirty = f.dirty || len(ids) > 0
		for _, id := range ids {
			delete(f.unshared, id)
		}
		f.mu.Unlock()
	}
	if len(boots) > 0 {
		_ = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) {
			p.HDel(ctx, machinesKey, boots...)
			p.HDel(ctx, whoKey, boots...)
			p.HDel(ctx, liveKey, boots...)
			p.HDel(ctx, tiesKey, boots...)
		}) // again when another looks
	}
	for part := range slices.Chunk(ids, batch) {
		_ = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { p.HDel(ctx, bansKey, part...) }) // likewise
	}
}

// goodbye takes this machine out.
func (f *Fleet) goodbye(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if f.cfg.Counted != nil {
		f.putUsed(ctx)
	}
	_ = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { // if it does not come through, the others notice by its silence
		p.HDel(ctx, machinesKey, f.boot)
		p.HDel(ctx, whoKey, f.boot)
		p.HDel(ctx, liveKey, f.boot)
		p.HDel(ctx, tiesKey, f.boot)
		p.Publish(ctx, newsChannel, news{From: f.boot, Bye: f.seq.Add(1)}.seal(f.ring.Load()))
	})
	f.save(true)
}

func isNil(err error) bool { return errors.Is(err, redis.Nil) }
