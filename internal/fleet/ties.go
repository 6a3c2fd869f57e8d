package fleet

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/ties"
)

// Who may talk with whom is said at once, on the channel. All that a machine knows itself stands in Redis besides, for those that
// missed something, or have just come.
const (
	tiesKey = prefix + "ties" // a hash: sealed ties by boot id
	forTies = "ties"

	tiesEvery = 5 // beats
	// tiesGather is how long what comes together is gathered into one message.
	tiesGather = 10 * time.Millisecond
	maxTies    = 8 << 20 // bytes
)

// tieNews is what a machine says of its ties: what is new, or where it stands in Redis all of it.
type tieNews struct {
	Seq  uint64 `json:"seq"` // of messages, or of the last one that is in here
	Text []byte `json:"text"`
}

// toldTies is how far this machine has told its own.
type toldTies struct {
	mu     sync.Mutex
	seq    uint64 // of the last message
	unput  bool   // what stands in Redis is not all
	behind bool   // others may have missed something
	in     string // the generation of Redis in which they stand
	beats  uint64
}

// heardTies is how far those of the others are known.
type heardTies struct {
	mu sync.Mutex
	of map[string]*follow[tieNews] // by boot id
}

// tie tells what is new of this machine's ties until ctx ends.
func (f *Fleet) tie(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.cfg.Ties.Changed():
		}
		gather := time.NewTimer(tiesGather)
		select {
		case <-ctx.Done():
			gather.Stop()
			return
		case <-gather.C:
		}
		f.contained(func() { f.sayTies(ctx) })
	}
}

func (f *Fleet) sayTies(ctx context.Context) {
	at := &f.toldTies
	at.mu.Lock()
	defer at.mu.Unlock()
	fresh, whole := f.cfg.Ties.Take()
	at.unput = true
	if f.cfg.TiesFor() == 0 { // nobody asks for them
		at.behind = true
		return
	}
	at.seq++
	text := news{From: f.boot, Ties: &tieNews{at.seq, fresh.Encode()}}.seal(f.ring.Load())
	err := errTooMany
	if whole && len(text) <= maxNews {
		err = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { p.Publish(ctx, newsChannel, text) })
	}
	at.behind = at.behind || err != nil
}

// putTies puts all of this machine's into Redis, now and then, or at once where others may have missed something.
func (f *Fleet) putTies(ctx context.Context) {
	if f.cfg.Ties == nil {
		return
	}
	lasting := f.cfg.TiesFor()
	at := &f.toldTies
	at.mu.Lock()
	at.beats++
	other := at.in != f.at.generation
	if lasting == 0 || !at.behind && !other && !(at.unput && at.beats%tiesEvery == 1) {
		at.mu.Unlock()
		return
	}
	if at.behind { // what is new since then is of the next message
		at.seq++
	}
	seq := at.seq
	all := tieNews{seq, f.cfg.Ties.All(f.cfg.Now().Add(-lasting)).Encode()}
	at.unput, at.behind, at.in = false, false, f.at.generation
	at.mu.Unlock()
	text, err := json.Marshal(all)
	if err == nil {
		sealed := f.ring.Load().Seal(forTies+f.boot, text)
		err = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { p.HSet(ctx, tiesKey, f.boot, sealed) })
	}
	if err != nil {
		at.mu.Lock()
		at.behind = true
		at.mu.Unlock()
		return
	}
	f.tiesAt.Store(seq)
}

// takeTies takes in what another machine says. That of one that is not known to be there may be words that somebody has kept.
func (f *Fleet) takeTies(boot string, n tieNews) {
	if f.cfg.Ties == nil {
		return
	}
	if !f.there(boot) {
		return
	}
	said, err := ties.Decode(n.Text)
	if err != nil {
		f.malformed()
		return
	}
	h := &f.heardTies
	h.mu.Lock()
	defer h.mu.Unlock()
	if following(h.of, boot).take(n.Seq, n) {
		f.cfg.Ties.Add(boot, said)
	}
}

// hearTies fetches what was missed of the ties of machines that are there, and forgets the relays of those that are not.
func (f *Fleet) hearTies(ctx context.Context) {
	if f.cfg.Ties == nil {
		return
	}
	said := map[string]uint64{}
	f.mu.Lock()
	for boot, m := range f.machines {
		if f.up(m) {
			said[boot] = m.said.TiesAt
		}
	}
	f.mu.Unlock()
	var missed []string
	h := &f.heardTies
	h.mu.Lock()
	for boot := range h.of {
		if _, there := said[boot]; !there {
			delete(h.of, boot)
			f.cfg.Ties.Drop(boot)
		}
	}
	for boot, at := range said {
		if following(h.of, boot).behind(at) {
			missed = append(missed, boot)
		}
	}
	h.mu.Unlock()
	for _, boot := range missed {
		f.fetchTies(ctx, boot)
	}
}

// fetchTies takes in all that stands in Redis of a machine's ties, and again what it has said since.
func (f *Fleet) fetchTies(ctx context.Context, boot string) {
	var size *redis.Cmd
	var get *redis.StringCmd
	if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { size = p.Do(ctx, "HSTRLEN", tiesKey, boot) }) != nil {
		return
	}
	if n, err := size.Int64(); err != nil || n > maxTies {
		return // nobody's: the machine puts its own there when that has changed
	}
	if f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { get = p.HGet(ctx, tiesKey, boot) }) != nil || get.Val() == "" {
		return
	}
	var all tieNews
	text, ok := f.open(forTies+boot, get.Val())
	if !ok || json.Unmarshal(text, &all) != nil {
		return
	}
	known, err := ties.Decode(all.Text)
	if err != nil {
		return
	}
	h := &f.heardTies
	h.mu.Lock()
	defer h.mu.Unlock()
	of := h.of[boot]
	if of == nil {
		return
	}
	later, ok := of.catchUp(all.Seq)
	if !ok {
		return
	}
	f.cfg.Ties.Replace(boot, known)
	for _, n := range later {
		if more, err := ties.Decode(n.Text); err == nil {
			f.cfg.Ties.Add(boot, more)
		}
	}
}
