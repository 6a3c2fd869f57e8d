package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/crolang-p2p/crolang-aio/internal/fleet/banset"
	"github.com/crolang-p2p/crolang-aio/internal/fleet/seal"
	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
)

// news is a message between machines. Those that miss it lose nothing: what it says stands in Redis too.
type news struct {
	From    string            `json:"from"`              // a boot id
	Op      uint64            `json:"op,omitempty"`      // of who waits for answers
	Records []json.RawMessage `json:"records,omitempty"` // of bans
	Applied bool              `json:"applied,omitempty"` // answers Records
	Closed  int               `json:"closed,omitempty"`  // relays, with Applied
	Beat    string            `json:"beat,omitempty"`    // a sealed heartbeat
	Share   *share            `json:"share,omitempty"`   // what has changed in its counts
	Ties    *tieNews          `json:"ties,omitempty"`    // what is new of who may talk with whom
	Bye     uint64            `json:"bye,omitempty"`     // a heartbeat's number: there are no more
	Ask     string            `json:"ask,omitempty"`     // a boxed question, Op its number
	Answer  string            `json:"answer,omitempty"`  // a boxed answer to the question Op
}

// maxNews is how long a message may be.
const maxNews = 4 << 20

func (n news) seal(ring *seal.Ring) string {
	text, err := json.Marshal(n)
	if err != nil { // our own types: it cannot be
		return ""
	}
	return ring.Seal(forNews, text)
}

// open reads what another machine has sealed, and counts what it cannot.
func (f *Fleet) open(purpose, sealed string) ([]byte, bool) {
	text, err := f.ring.Load().Open(purpose, sealed)
	if err == nil {
		return text, true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if errors.Is(err, seal.ErrStranger) {
		f.counts.Strangers++
	} else {
		f.counts.Forged++
	}
	return nil, false
}

// malformed counts what was sealed with our secret and cannot be read.
func (f *Fleet) malformed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.counts.Malformed++
}

// unsealed is the text of a heartbeat that was sealed with another secret.
func (f *Fleet) unsealed(sealed string) []byte {
	if _, err := f.ring.Load().Open(forMachine, sealed); !errors.Is(err, seal.ErrStranger) {
		return nil
	}
	return []byte(seal.Unsealed(sealed))
}

// listen hears what other machines say until ctx ends, and subscribes again whenever Redis was away.
func (f *Fleet) listen(ctx context.Context) {
	for ctx.Err() == nil {
		f.contained(func() {
			sub := f.cfg.Redis.Subscribe(ctx, newsChannel, toChannel+f.boot)
			defer sub.Close()
			redisurl.Receive(ctx, sub, 5*f.cfg.beat, func(m any) {
				switch m := m.(type) {
				case *redis.Message:
					f.take(ctx, m.Payload)
				case *redis.Subscription:
					f.hurry() // what was said meanwhile stands in the stream
				}
			})
		})
		timer := time.NewTimer(f.cfg.beat / 4)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// take handles a message. Whatever else is on the channels is passed over.
func (f *Fleet) take(ctx context.Context, payload string) {
	if len(payload) > maxNews {
		return
	}
	text, ok := f.open(forNews, payload)
	var n news
	if !ok {
		return
	}
	if json.Unmarshal(text, &n) != nil {
		f.malformed()
		return
	}
	switch {
	case n.From == f.boot:
	case n.Beat != "":
		f.hear(n.Beat, true)
		f.arrange()
	case n.Bye != 0:
		f.bye(n.From, n.Bye)
		f.arrange()
	case n.Share != nil:
		f.takeShare(n.From, *n.Share)
	case n.Ties != nil:
		f.takeTies(n.From, *n.Ties)
	case n.Applied:
		f.answered(n.Op, reply{n.From, n.Closed})
	case n.Ask != "":
		f.askedFor(n)
	case n.Answer != "":
		f.answeredWith(n)
	case len(n.Records) > 0:
		select {
		case f.heard <- n:
		case <-ctx.Done():
		}
	}
}

// work puts bans of other machines in force until ctx ends: those that have come meanwhile share one write of the disk.
func (f *Fleet) work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-f.heard:
			all := []news{n}
			for more := true; more && len(all) < batch; {
				select {
				case n := <-f.heard:
					all = append(all, n)
				default:
					more = false
				}
			}
			f.contained(func() { f.takeRecords(ctx, all) })
		}
	}
}

// takeRecords puts bans of other machines in force, and says so to them.
func (f *Fleet) takeRecords(ctx context.Context, all []news) {
	var records []banset.Record
	touched := make([][]string, len(all)) // Nodes
	for i, n := range all {
		for _, text := range n.Records {
			r, err := banset.Decode(text)
			if err != nil {
				f.malformed()
				continue
			}
			records, touched[i] = append(records, r), append(touched[i], r.Node)
		}
	}
	closed := f.receive(records, false)
	_ = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { // counted; this machine is named silent there
		for i, n := range all {
			if n.Op == 0 {
				continue
			}
			answer := news{From: f.boot, Op: n.Op, Applied: true}
			for _, node := range touched[i] {
				answer.Closed += closed[node]
				delete(closed, node)
			}
			p.Publish(ctx, toChannel+n.From, answer.seal(f.ring.Load()))
		}
	})
}
