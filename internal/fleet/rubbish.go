package fleet

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Whoever can write Redis can put something else where machines say how they are. It must not keep them from reading what is
// theirs: what is too much is not read but deleted, and what is nobody's goes after a while.
const (
	maxFields     = 2 * maxMachines // of the hash of machines; beyond that all go, and machines put theirs in again
	maxGeneration = 64              // bytes
	// rubbishAfter is how long what is no machine's must have stood unchanged: a machine speaks every 2 s, whatever its version.
	rubbishAfter = 10 * time.Minute
)

// stale is a field of the hash of machines that says nothing, and since when.
type stale struct {
	sum   uint64
	since time.Duration // Fleet.clock
}

var rubbishSeed = maphash.MakeSeed()

// tidy deletes fields that are no machine's and have not changed for long. all is what stands in Redis now, and has been heard.
func (f *Fleet) tidy(ctx context.Context, all map[string]string) {
	if f.at.stale == nil {
		f.at.stale = map[string]stale{}
	}
	var gone []string
	f.mu.Lock()
	for field, text := range all {
		if field == f.boot || f.machines[field] != nil || f.strange[field] != nil {
			delete(f.at.stale, field)
			continue
		}
		sum := maphash.String(rubbishSeed, text)
		was, known := f.at.stale[field]
		switch {
		case !known && len(f.at.stale) >= maxMachines:
		case !known, was.sum != sum:
			f.at.stale[field] = stale{sum, f.clock}
		case f.clock-was.since > min(rubbishAfter, 300*f.cfg.beat):
			gone = append(gone, field)
			delete(f.at.stale, field)
		}
	}
	for field := range f.at.stale {
		if _, there := all[field]; !there {
			delete(f.at.stale, field)
		}
	}
	f.mu.Unlock()
	f.drop(ctx, gone)
	f.at.suspect = f.at.suspect || len(all) > maxFields
}

// drop deletes fields of the hash of machines.
func (f *Fleet) drop(ctx context.Context, fields []string) {
	for part := range slices.Chunk(fields, batch) {
		if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { p.HDel(ctx, machinesKey, part...) }) == nil {
			f.mu.Lock()
			f.counts.Rubbish += uint64(len(part))
			f.mu.Unlock()
		}
	}
}

// clean deletes what cannot be read: a hash of too many fields, fields that are too long, and what is of another type. It asks
// for lengths first.
func (f *Fleet) clean(ctx context.Context) {
	var fields, generation *redis.IntCmd
	var kinds [2]*redis.StatusCmd
	_ = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { // each command by itself says how it went
		kinds[0], kinds[1] = p.Type(ctx, machinesKey), p.Type(ctx, generationKey)
		fields, generation = p.HLen(ctx, machinesKey), p.StrLen(ctx, generationKey)
	})
	var whole []string
	if kind := kinds[0].Val(); kind != "" && kind != "none" && kind != "hash" || fields.Val() > maxFields {
		whole = append(whole, machinesKey)
	}
	if kind := kinds[1].Val(); kind != "" && kind != "none" && kind != "string" || generation.Val() > maxGeneration {
		whole = append(whole, generationKey)
	}
	if len(whole) > 0 {
		if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { p.Del(ctx, whole...) }) == nil {
			f.mu.Lock()
			f.counts.Rubbish += uint64(len(whole))
			f.mu.Unlock()
		}
	}
	if slices.Contains(whole, machinesKey) || fields.Err() != nil || fields.Val() == 0 {
		return
	}
	var names *redis.StringSliceCmd
	if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { names = p.HKeys(ctx, machinesKey) }) != nil {
		return
	}
	var long []string
	for part := range slices.Chunk(names.Val(), batch) {
		lengths := make([]*redis.Cmd, len(part))
		if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) {
			for i, name := range part {
				lengths[i] = p.Do(ctx, "hstrlen", machinesKey, name)
			}
		}) != nil {
			return
		}
		for i, name := range part {
			if n, err := lengths[i].Int64(); err == nil && n > maxHeartbeat || len(name) > maxGeneration {
				long = append(long, name)
			}
		}
	}
	f.drop(ctx, long)
}

// unreadable reports whether what stands in Redis, rather than Redis, is what is wrong.
func unreadable(errs ...error) bool {
	return slices.ContainsFunc(errs, func(err error) bool {
		return err != nil && !isNil(err) && (strings.HasPrefix(err.Error(), "WRONGTYPE") || strings.Contains(err.Error(), "sends replies that are too large"))
	})
}
