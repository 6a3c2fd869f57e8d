package nodes

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/crolang-p2p/crolang-aio/internal/plural"
)

const subscriberBuffer = 256

// subscribers are those who follow events as they happen.
type subscribers struct {
	n    atomic.Int32
	lost atomic.Uint64
	mu   sync.Mutex
	all  map[*subscriber]struct{}
}

type subscriber struct {
	ch   chan Event
	lost int // missed since the last one delivered
}

// Subscribe returns a channel of events as they are noted, closed when ctx ends. It holds 256; a reader who is slower loses
// events, and then gets one of kind KindLost that says how many. The caller bounds the number of subscribers.
func (r *Registry) Subscribe(ctx context.Context) <-chan Event {
	sub := &subscriber{ch: make(chan Event, subscriberBuffer)}
	s := &r.subs
	s.mu.Lock()
	if s.all == nil {
		s.all = make(map[*subscriber]struct{})
	}
	s.all[sub] = struct{}{}
	s.n.Add(1)
	s.mu.Unlock()
	context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.all, sub)
		s.n.Add(-1)
		close(sub.ch)
	})
	return sub.ch
}

// publish gives e to every subscriber that has room.
func (s *subscribers) publish(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.all {
		if sub.lost > 0 && cap(sub.ch)-len(sub.ch) >= 2 { // only publish sends, so this room stays
			sub.ch <- Event{Time: e.Time, Kind: KindLost, Failed: true, Detail: plural.Of(sub.lost, "event") + " lost: the reader is too slow", Count: sub.lost}
			sub.lost = 0
		}
		if sub.lost > 0 || len(sub.ch) == cap(sub.ch) {
			sub.lost++
			s.lost.Add(1)
			continue
		}
		sub.ch <- e
	}
}

// told keeps what [Registry.Tell] has said last.
type told struct {
	mu   sync.Mutex
	last []Event
}

const maxTold = 64

// Tell gives subscribers an event of the server itself, which belongs to no Node. The last 64 are kept for [Registry.Recent].
func (r *Registry) Tell(kind Kind, detail string) {
	e := Event{Time: r.now().UTC(), Kind: kind, Detail: cut(detail, maxDetail)}
	r.told.mu.Lock()
	if len(r.told.last) == maxTold {
		r.told.last = append(r.told.last[:0], r.told.last[1:]...)
	}
	r.told.last = append(r.told.last, e)
	r.told.mu.Unlock()
	r.subs.publish(e)
}
