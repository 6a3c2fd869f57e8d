// Package stories keeps what passed through the Broker between two Nodes: who asked whom for a connection, what came of it,
// and which candidates were exchanged, so that a connection that failed has one story. Contents are never kept.
package stories

import (
	"slices"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// The events of the protocol between Node and Broker, by name.
const (
	Attempt    = "CONNECTION_ATTEMPT"
	Acceptance = "CONNECTION_ACCEPTANCE"
	Refusal    = "CONNECTION_REFUSAL"
	NotAllowed = "INCOMING_CONNECTIONS_NOT_ALLOWED"
	ToAsked    = "ICE_CANDIDATES_EXCHANGE_INITIATOR_TO_RESPONDER"
	ToAsker    = "ICE_CANDIDATES_EXCHANGE_RESPONDER_TO_INITIATOR"
	Message    = "SOCKET_MSG_EXCHANGE"
)

// OK is the Broker's answer to what it has passed on.
const OK = "OK"

// Pairs are kept in two lists, so that a Node which asks for many that there are not displaces its like only.
const (
	maxMet   = 8192
	maxUnmet = 2048
)

// Signal is something that a Node sent another through the Broker.
type Signal struct {
	From, To   string
	Event      string         // one of the names above; others are passed over
	Answer     string         // the Broker's
	Cause      string         // why a policy said no
	Candidates map[string]int // that were in it, by kind: host, srflx, prflx, relay, other; nil: none
	Bytes      int
	At         time.Time
}

// Story is what passed between two Nodes. Candidates and the reply are those of the last attempt.
type Story struct {
	Asker, Asked string         // of the last attempt; empty: there was none
	At           time.Time      // of the last attempt
	Attempts     int            // of both
	Answer       string         // the Broker's to the last attempt
	Cause        string         // why a policy said no to it
	Reply        string         // the event with which Asked answered; empty: none came
	FromAsker    map[string]int // candidates by kind
	FromAsked    map[string]int
	Messages     int // of both, that were passed on
	Bytes        uint64
	Last         time.Time // when anything came last

	now   *Connection // the last attempt; nil: there was none
	early Signal      // a reply that was noted before the attempt which it answers
}

// overtaken is how much later than its reply an attempt may be noted: whoever passes one on notes it after that.
const overtaken = time.Second

// Keeper keeps stories. Its methods may be called from any goroutine; New makes one.
type Keeper struct {
	mu         sync.Mutex
	met, unmet *lru.LRU[[2]string, *Story]
	attempts   attempts
}

// New makes a Keeper that knows nothing.
func New() *Keeper {
	k := &Keeper{}
	k.met, _ = lru.NewLRU[[2]string, *Story](maxMet, nil) // only a size below 1 is an error
	k.unmet, _ = lru.NewLRU[[2]string, *Story](maxUnmet, nil)
	return k
}

func pair(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }

// Note keeps a signal. Texts that are too long for an id name nobody, and are passed over.
func (k *Keeper) Note(s Signal) {
	if s.From == "" || s.To == "" || s.From == s.To || len(s.From) > nodeid.MaxLen || len(s.To) > nodeid.MaxLen {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	story := k.of(pair(s.From, s.To), s.Answer == OK)
	story.Last = s.At
	if s.Event == Attempt {
		*story = Story{
			Asker: s.From, Asked: s.To, At: s.At, Attempts: story.Attempts + 1, Answer: s.Answer, Cause: s.Cause,
			FromAsker: map[string]int{}, FromAsked: map[string]int{}, Messages: story.Messages, Bytes: story.Bytes, Last: s.At,
			now: k.attempts.begin(s, story.now), early: story.early,
		}
		if e := story.early; s.Answer == OK && e.From == s.To && s.At.Sub(e.At) < overtaken {
			story.Reply = e.Event
			story.now.reply(e)
		}
		story.early = Signal{}
	}
	if s.Answer != OK {
		return
	}
	story.candidates(s)
	switch s.Event {
	case Acceptance, Refusal, NotAllowed:
		if s.From == story.Asked {
			story.Reply = s.Event
			story.now.reply(s)
		} else {
			story.early = s
		}
	case Message:
		story.Messages++
		story.Bytes += uint64(s.Bytes)
	}
}

// candidates counts those of a signal, which may come one by one or in the descriptions of an offer and an answer.
func (s *Story) candidates(sig Signal) {
	if s.FromAsker == nil { // the attempt was before the process's time, or was forgotten
		s.FromAsker, s.FromAsked = map[string]int{}, map[string]int{}
	}
	to := s.FromAsked
	if sig.From == s.Asker {
		to = s.FromAsker
	}
	for kind, n := range sig.Candidates {
		to[kind] += n
	}
	s.now.candidates(sig)
}

// of finds a pair's story, and makes it if need be. Held: k.mu.
func (k *Keeper) of(p [2]string, ok bool) *Story {
	if s, there := k.met.Get(p); there {
		return s
	}
	s, there := k.unmet.Get(p)
	if !there {
		s = &Story{}
	}
	if ok {
		k.unmet.Remove(p)
		k.met.Add(p, s)
	} else if !there {
		k.unmet.Add(p, s)
	}
	return s
}

// Forget drops the stories of a Node and its attempts, and reports whether there were any.
func (k *Keeper) Forget(node string) (any bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	any = k.attempts.forget(node)
	for _, list := range []*lru.LRU[[2]string, *Story]{k.met, k.unmet} {
		for _, p := range list.Keys() {
			if p[0] == node || p[1] == node {
				any = list.Remove(p) || any
			}
		}
	}
	return any
}

// Between returns the story of two Nodes; ok is false if there is none.
func (k *Keeper) Between(a, b string) (story Story, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	s, ok := k.met.Peek(pair(a, b))
	if !ok {
		s, ok = k.unmet.Peek(pair(a, b))
	}
	if !ok {
		return Story{}, false
	}
	story = *s
	story.now, story.early = nil, Signal{}
	story.FromAsker, story.FromAsked = copied(s.FromAsker), copied(s.FromAsked)
	return story, true
}

func copied(m map[string]int) map[string]int {
	out := make(map[string]int, len(m))
	for kind, n := range m {
		out[kind] = n
	}
	return out
}

// Partners lists those with whom a Node has a story, the latest first, at most limit of them.
func (k *Keeper) Partners(node string, limit int) []string {
	type met struct {
		node string
		at   time.Time
	}
	var all []met
	k.mu.Lock()
	for _, list := range []*lru.LRU[[2]string, *Story]{k.met, k.unmet} {
		for _, p := range list.Keys() {
			if p[0] != node && p[1] != node {
				continue
			}
			s, _ := list.Peek(p)
			other := p[0]
			if other == node {
				other = p[1]
			}
			all = append(all, met{other, s.Last})
		}
	}
	k.mu.Unlock()
	slices.SortFunc(all, func(x, y met) int { return y.at.Compare(x.at) })
	names := []string{}
	for _, m := range all[:min(len(all), limit)] {
		names = append(names, m.node)
	}
	return names
}
