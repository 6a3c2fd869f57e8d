package fleet

import (
	"context"
	"encoding/json"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/tally"
)

// takeShare takes in what another machine says of its counts. One that is not known to be there may be one that somebody has
// kept the words of; what it really said is fetched.
func (f *Fleet) takeShare(boot string, s share) {
	if !f.there(boot) {
		return
	}
	c := f.elsewhere
	c.mu.Lock()
	fresh := (c.of[boot] != nil || len(c.of) < maxMachines) && following(c.of, boot).take(s.Seq, s)
	c.mu.Unlock()
	if fresh {
		f.addShare(boot, s)
	}
}

// addShare adds what has changed.
func (f *Fleet) addShare(boot string, s share) {
	if live, ok := f.decode(s.Live); ok {
		f.elsewhere.live.Set(boot, live)
	}
	f.addUsed(s, (*tally.Sums).Set)
}

func (f *Fleet) addUsed(s share, put func(*tally.Sums, string, tally.Counts)) {
	own := f.ledger.Load()
	if s.Ledger == "" || len(s.Ledger) > maxLedger || own != nil && *own == s.Ledger {
		return
	}
	sums := f.elsewhere.in(s.Month)
	used, ok := f.decode(s.Used)
	if sums == nil || !ok {
		return
	}
	used[tally.MarkOf("")] = s.Sum
	put(sums, s.Ledger, used)
}

func (f *Fleet) decode(text []byte) (tally.Counts, bool) {
	c, err := tally.Decode(text)
	if err != nil {
		f.malformed()
	}
	return c, err == nil
}

// hearCounts fetches what was missed of the counts of machines that are there, and forgets those of live allocations at machines
// that are not.
func (f *Fleet) hearCounts(ctx context.Context) {
	said := map[string]heartbeat{}
	f.mu.Lock()
	for boot, m := range f.machines {
		if f.up(m) {
			said[boot] = m.said
		}
	}
	f.mu.Unlock()
	c := f.elsewhere
	var missed, used []string
	c.mu.Lock()
	for boot := range c.of {
		if _, there := said[boot]; !there {
			delete(c.of, boot)
			c.live.Drop(boot)
		}
	}
	for boot, h := range said {
		of := following(c.of, boot)
		if of.behind(h.LiveAt) {
			missed = append(missed, boot)
		}
		if h.Ledger != "" && h.UsedAt != of.used {
			used = append(used, boot)
		}
	}
	c.mu.Unlock()
	for _, boot := range missed {
		if s, ok := f.fetch(ctx, liveKey, forLive, boot); ok {
			f.replaceLive(boot, s)
		}
	}
	for _, boot := range used {
		if s, ok := f.fetch(ctx, usedKey, forUsed, said[boot].Ledger); ok {
			f.addUsed(s, (*tally.Sums).Replace)
			c.mu.Lock()
			c.of[boot].used = said[boot].UsedAt
			later := c.of[boot].since(s.Seq)
			c.mu.Unlock()
			for _, l := range later {
				f.addUsed(l, (*tally.Sums).Set)
			}
		}
	}
}

// replaceLive takes in all live allocations of a machine, and again what has changed since.
func (f *Fleet) replaceLive(boot string, all share) {
	live, ok := f.decode(all.Live)
	if !ok {
		return
	}
	c := f.elsewhere
	c.mu.Lock()
	later, ok := c.of[boot].catchUp(all.Seq)
	c.mu.Unlock()
	if !ok {
		return
	}
	c.live.Replace(boot, live)
	for _, s := range later {
		f.addShare(boot, s)
	}
}

// fetch reads a machine's counts from Redis.
func (f *Fleet) fetch(ctx context.Context, key, purpose, field string) (s share, ok bool) {
	var get *redis.StringCmd
	if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { get = p.HGet(ctx, key, field) }) != nil || get.Val() == "" {
		return s, false
	}
	text, ok := f.open(purpose+field, get.Val())
	if !ok || json.Unmarshal(text, &s) != nil || purpose == forUsed && s.Ledger != field {
		return s, false
	}
	return s, true
}

// scanUsed takes in what machines have used that are not there, puts in what Redis has lost of it, and takes out what is of
// earlier months. Without all, what is known is not fetched again.
func (f *Fleet) scanUsed(ctx context.Context, all bool) {
	var size *redis.IntCmd
	var names *redis.StringSliceCmd
	if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { size = p.HLen(ctx, usedKey) }) != nil {
		return
	}
	if size.Val() > maxMachines {
		_ = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { p.Del(ctx, usedKey) }) // nobody's; machines put theirs in again
		return
	}
	if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { names = p.HKeys(ctx, usedKey) }) != nil {
		return
	}
	c := f.elsewhere
	c.mu.Lock()
	month := c.month
	c.mu.Unlock()
	there := map[string]bool{}
	var old []string
	for _, ledger := range names.Val() {
		if sums := c.in(month); !all && sums != nil && sums.Has(ledger) {
			there[ledger] = true
			continue
		}
		if s, ok := f.fetch(ctx, usedKey, forUsed, ledger); ok {
			if there[ledger] = true; s.Month < month-monthsBack {
				old = append(old, ledger)
			} else {
				f.addUsed(s, (*tally.Sums).Replace)
			}
		}
	}
	lost := map[string]string{}
	if sums := c.in(month); sums != nil {
		sums.Sources(func(ledger string, counts tally.Counts) bool {
			if !there[ledger] {
				all := make(tally.Counts, len(counts))
				for m, n := range counts {
					if m != tally.MarkOf("") {
						all[m] = n
					}
				}
				lost[ledger] = sealShare(f.ring.Load(), forUsed+ledger, share{Ledger: ledger, Month: month, Sum: counts[tally.MarkOf("")], Used: all.Encode()})
			}
			return true
		})
	}
	_ = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { // tried again where Redis has another generation
		for ledger, text := range lost {
			p.HSetNX(ctx, usedKey, ledger, text) // its own machine may have put it in
		}
		if len(old) > 0 {
			p.HDel(ctx, usedKey, old...)
		}
	})
}
