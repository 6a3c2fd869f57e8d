package fleet

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/banset"
)

const (
	batch = 256 // records in one exchange with Redis
	// received is how many records of other machines are put in force at once, where there are many: that writes the disk.
	received = 32 * batch
	// logLen is about how many records the stream keeps: who has missed more compares all.
	logLen = 20_000
)

// share tells all machines of records, and puts them into Redis. told: whoever listens has heard of them, which a Redis that is
// full or read-only still passes on; shared: Redis keeps them. op is for who waits for answers; 0: nobody. quietly: they are many,
// and whoever lacks them finds them in Redis.
func (f *Fleet) share(ctx context.Context, records []banset.Record, op uint64, quietly bool) (told, shared bool) {
	ring := f.ring.Load()
	n := news{From: f.boot, Op: op}
	for _, r := range records {
		n.Records = append(n.Records, r.Encode())
	}
	var publish *redis.IntCmd
	err := f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) {
		if !quietly {
			publish = p.Publish(ctx, newsChannel, n.seal(ring))
		}
		for _, r := range records {
			sealed := ring.Seal(forBans, r.Encode())
			if r.Lifts() {
				p.HSet(ctx, bansKey, r.ID, sealed)
			} else { // what lifts it may be there already
				p.HSetNX(ctx, bansKey, r.ID, sealed)
			}
			p.XAdd(ctx, &redis.XAddArgs{Stream: logKey, MaxLen: logLen, Approx: true, Values: []any{"e", sealed}})
		}
	})
	if err == nil {
		f.mu.Lock()
		for _, r := range records {
			if known, ok := f.set.Get(r.ID); ok && known.Lifts() == r.Lifts() {
				delete(f.unshared, r.ID)
			}
			f.counts.Sent++
		}
		f.mu.Unlock()
	}
	return publish != nil && publish.Err() == nil, err == nil
}

// shareRest shares what Redis does not have yet. It returns the first error.
func (f *Fleet) shareRest(ctx context.Context) bool {
	f.mu.Lock()
	many := len(f.unshared) > batch
	f.mu.Unlock()
	for {
		var part []banset.Record
		f.mu.Lock()
		for id := range f.unshared {
			if r, ok := f.set.Get(id); ok {
				part = append(part, r)
			} else {
				delete(f.unshared, id)
			}
			if len(part) == batch {
				break
			}
		}
		f.mu.Unlock()
		if len(part) == 0 {
			return true
		}
		if _, shared := f.share(ctx, part, 0, many); !shared {
			return false
		}
	}
}

// exchange sends commands together, within [patience], and takes note of how it went. The error is that of the first command
// that failed.
func (f *Fleet) exchange(ctx context.Context, ask func(ctx context.Context, p redis.Pipeliner)) error {
	err := within(ctx, func(ctx context.Context) error {
		_, err := f.cfg.Redis.Pipelined(ctx, func(p redis.Pipeliner) error {
			ask(ctx, p)
			return nil
		})
		return err
	})
	if isNil(err) {
		err = nil
	}
	if err != nil && ctx.Err() == nil {
		f.mu.Lock()
		f.counts.Failures++
		f.mu.Unlock()
	}
	return err
}

// position is how far the goroutine that beats has come.
type position struct {
	readIn     int    // beats until all heartbeats are read again
	log        string // id in the stream; empty: all bans are to be compared
	generation string
	restoreIn  int // beats until this machine puts in what Redis lacks; 0: it may
	compared   time.Time
	unequal    map[string]comparison // by boot id
	saved      time.Time
	swept      time.Time
	who        uint64   // beats
	round      uint64   // in which lists of Nodes are fetched
	told       [32]byte // of the list of Nodes in Redis …
	toldIn     string   // … of this generation
	counts     toldCounts
	suspect    bool             // what stands in Redis may be more than can be read
	stale      map[string]stale // fields of the hash of machines that are no machine's
}

// compare makes the bans of this machine and those in Redis equal: it takes in what it lacks, and marks as unshared what Redis
// lacks.
func (f *Fleet) compare(ctx context.Context) error {
	from := origin
	var last *redis.XMessageSliceCmd
	if err := f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { last = p.XRevRangeN(ctx, logKey, "+", "-", 1) }); err != nil {
		return err
	}
	if got := last.Val(); len(got) > 0 {
		from = got[0].ID
	}
	have := map[string]bool{} // by id: lifted
	var found []banset.Record
	for cursor := uint64(0); ; {
		var scan *redis.ScanCmd
		if err := f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { scan = p.HScan(ctx, bansKey, cursor, "", batch) }); err != nil {
			return err
		}
		pairs, next := scan.Val()
		for i := 1; i < len(pairs); i += 2 {
			if r, ok := f.openRecord(pairs[i]); ok && r.ID == pairs[i-1] {
				have[r.ID] = have[r.ID] || r.Lifts()
				found = append(found, r)
			}
		}
		cursor = next
		if cursor == 0 || len(found) >= received {
			f.receive(found, true)
			found = found[:0]
		}
		if cursor == 0 {
			break
		}
	}
	now := f.cfg.Now()
	f.mu.Lock()
	f.set.All(func(r banset.Record) bool {
		lifted, there := have[r.ID]
		if (!there || r.Lifts() && !lifted) && (r.Until.IsZero() || r.Until.After(now)) {
			f.unshared[r.ID] = struct{}{}
		}
		return true
	})
	f.counts.Compared++
	f.mu.Unlock()
	f.at.log, f.at.compared = from, time.Now()
	return nil
}

// origin is before all that a stream has.
const origin = "0-0"

// catchUp takes in what has come to the stream: messages begin with the one that was read last. whole: that is all there was.
// lost: that one is not there any more, so that others may be missing too.
func (f *Fleet) catchUp(messages []redis.XMessage) (whole, lost bool) {
	if f.at.log != origin {
		if len(messages) == 0 || messages[0].ID != f.at.log {
			return false, true
		}
		messages = messages[1:]
	}
	var found []banset.Record
	for _, m := range messages {
		text, _ := m.Values["e"].(string)
		if r, ok := f.openRecord(text); ok {
			found = append(found, r)
		}
		f.at.log = m.ID
	}
	f.receive(found, true)
	return len(messages) < batch-1, false
}

// openRecord reads a record as it stands in Redis, and counts what is none.
func (f *Fleet) openRecord(sealed string) (banset.Record, bool) {
	text, ok := f.open(forBans, sealed)
	if !ok {
		return banset.Record{}, false
	}
	r, err := banset.Decode(text)
	if err != nil {
		f.malformed()
		return r, false
	}
	return r, true
}
