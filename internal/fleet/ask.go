package fleet

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"
)

// Bounds of questions and answers.
const (
	maxQuestion = 8 << 10   // bytes
	maxAnswer   = 256 << 10 // bytes of one machine's
	maxAsking   = 32        // questions of this machine whose answers it waits for
	maxAsked    = 64        // questions of others that wait to be answered
	perSecond   = 50        // questions that are answered
	// askedWithin is how old a question may be, by the asker's clock as its heartbeats tell it: those come some seconds late, and
	// in that time they tell the difference of the clocks wrongly by as much.
	askedWithin = 15 * time.Second
	remember    = 4 * askedWithin // what was answered
)

// Answerer answers a question of another machine. It is called from one goroutine, and must not take long: the other waits a
// second.
type Answerer func(question []byte) (answer []byte, err error)

// Reply is what came of a question at one other machine.
type Reply struct {
	Machine string        // its name
	Answer  []byte        // nil: there is none
	Missing string        // why there is none, in words
	Skew    time.Duration // of its clock from ours
}

// question is what stands in the box of news.Ask.
type question struct {
	At   time.Time       `json:"at"` // by the asker's clock
	Kind string          `json:"kind"`
	Text json.RawMessage `json:"text"`
}

// answer is what stands in the box of news.Answer.
type answer struct {
	Text  json.RawMessage `json:"text,omitempty"`
	Error string          `json:"error,omitempty"` // in place of it
}

// The purposes of boxes: who asks, which of its questions it is, and who answers.
func forQuestion(asker string, op uint64) string {
	return "question " + asker + " " + strconv.FormatUint(op, 10)
}

func forAnswer(asker string, op uint64, from string) string {
	return "answer " + asker + " " + strconv.FormatUint(op, 10) + " " + from
}

// asking is a question of this machine on its way.
type asking struct {
	got  chan news
	from map[string]Reply // by boot id: machines that have not answered
}

// Ask puts a question, which is JSON as the answers are, to every other machine, and waits for them for a second at most. There
// is a Reply for each machine that should have one, by name: also where it is silent, is of a version that does not know the
// question, or has another secret.
func (f *Fleet) Ask(ctx context.Context, kind string, text []byte) []Reply {
	op := f.lastOp.Add(1)
	w, all := f.whomToAsk(kind)
	if len(w.from) == 0 {
		return sorted(all)
	}
	missing := func(why string) []Reply {
		for _, r := range w.from {
			r.Missing = why
			all = append(all, r)
		}
		return sorted(all)
	}
	if len(text) > maxQuestion {
		return missing("the question is too long")
	}
	f.mu.Lock()
	busy := len(f.asking) >= maxAsking
	if !busy {
		f.asking[op] = w
	}
	f.mu.Unlock()
	if busy {
		return missing("this machine is asking too much at once")
	}
	defer func() {
		f.mu.Lock()
		delete(f.asking, op)
		f.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(ctx, answerWait)
	defer cancel()
	ring := f.ring.Load()
	asks, err := json.Marshal(question{At: f.cfg.Now().UTC(), Kind: kind, Text: text})
	if err != nil {
		return missing("the question is not JSON")
	}
	n := news{From: f.boot, Op: op, Ask: ring.Box(forQuestion(f.boot, op), asks)}
	if err := f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { p.Publish(ctx, newsChannel, n.seal(ring)) }); err != nil {
		return missing("the fleet's Redis cannot be used: " + why(err))
	}
	for len(w.from) > 0 {
		select {
		case n := <-w.got:
			r, awaited := w.from[n.From]
			if !awaited {
				continue
			}
			if r.Answer, r.Missing = f.read(op, n); r.Answer != nil || r.Missing != "" {
				delete(w.from, n.From)
				all = append(all, r)
			}
		case <-ctx.Done():
			f.mu.Lock()
			f.counts.Unanswered += uint64(len(w.from))
			f.mu.Unlock()
			return missing("it has not answered within a second")
		}
	}
	return sorted(all)
}

// whomToAsk are the machines that can be asked, and those of which it is known already that they will not answer.
func (f *Fleet) whomToAsk(kind string) (w *asking, others []Reply) {
	w = &asking{from: map[string]Reply{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	for boot, m := range f.machines {
		r := Reply{Machine: m.said.Name, Skew: m.skew}
		switch {
		case !m.fresh, m.left, !f.up(m) && f.replaced(m):
			continue
		case m.skew.Abs() >= maxSkew:
			r.Missing = "its clock is too far from this machine's"
		case !f.up(m):
			r.Missing = "nothing is heard of it"
		case !slices.Contains(m.said.Answers, kind):
			r.Missing = "its version does not know the question"
		default:
			w.from[boot] = r
			continue
		}
		others = append(others, r)
	}
	for _, m := range f.strange {
		if f.up(m) {
			others = append(others, Reply{Machine: m.said.Name, Missing: "it has another credentials.secret"})
		}
	}
	w.got = make(chan news, len(w.from))
	return w, others
}

func sorted(all []Reply) []Reply {
	slices.SortFunc(all, func(x, y Reply) int { return cmp.Compare(x.Machine, y.Machine) })
	return all
}

// read opens an answer. Neither is set if it is none.
func (f *Fleet) read(op uint64, n news) (text []byte, missing string) {
	boxed, err := f.ring.Load().Unbox(forAnswer(f.boot, op, n.From), n.Answer)
	var a answer
	switch {
	case err != nil:
		f.mu.Lock()
		f.counts.Forged++
		f.mu.Unlock()
		return nil, ""
	case json.Unmarshal(boxed, &a) != nil || a.Error == "" && len(a.Text) == 0:
		f.malformed()
		return nil, "its answer cannot be read"
	case a.Error != "":
		return nil, "it says: " + a.Error[:min(len(a.Error), 200)]
	}
	return a.Text, ""
}

// answeredWith hands an answer to whoever waits for it.
func (f *Fleet) answeredWith(n news) {
	f.mu.Lock()
	w := f.asking[n.Op]
	f.mu.Unlock()
	if w == nil {
		return // it comes too late, or again
	}
	select {
	case w.got <- n:
	default: // more answers than machines
	}
}

// askedFor keeps a question until it can be answered.
func (f *Fleet) askedFor(n news) {
	select {
	case f.questions <- n:
	default:
		f.refuse(func(c *Counts) { c.Busy++ })
	}
}

func (f *Fleet) refuse(count func(c *Counts)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	count(&f.counts)
}

// answering is what the goroutine that answers remembers.
type answering struct {
	seen  map[string]time.Time // questions that were answered, so that nobody has them answered again
	spent float64              // of perSecond
	at    time.Time
}

// answer answers other machines' questions until ctx ends.
func (f *Fleet) answer(ctx context.Context) {
	a := answering{seen: map[string]time.Time{}}
	for {
		select {
		case <-ctx.Done():
			return
		case n := <-f.questions:
			f.contained(func() { f.answerOne(ctx, &a, n) })
		}
	}
}

// answerOne answers a question, unless it is an old one, or there are too many.
func (f *Fleet) answerOne(ctx context.Context, a *answering, n news) {
	ring := f.ring.Load()
	boxed, err := ring.Unbox(forQuestion(n.From, n.Op), n.Ask)
	var q question
	switch {
	case err != nil:
		f.refuse(func(c *Counts) { c.Forged++ })
		return
	case len(boxed) > maxQuestion+maxQuestion/2 || json.Unmarshal(boxed, &q) != nil:
		f.refuse(func(c *Counts) { c.Malformed++ })
		return
	case !f.isOf(n.From, q.At) || a.before(n):
		f.refuse(func(c *Counts) { c.Stale++ })
		return
	case !a.take(n):
		f.refuse(func(c *Counts) { c.Busy++ })
		return
	}
	var said answer
	text, err := f.answerTo(q)
	switch {
	case err != nil:
		said.Error = err.Error()
	case len(text) > maxAnswer:
		said.Error = fmt.Sprintf("the answer would be longer than %d KiB", maxAnswer>>10)
	default:
		said.Text = text
	}
	written, err := json.Marshal(said)
	if err != nil {
		f.log.Error("an answer to another machine is no JSON: please report this", "error", err)
		return
	}
	back := news{From: f.boot, Op: n.Op, Answer: ring.Box(forAnswer(n.From, n.Op, f.boot), written)}
	_ = f.exchange(ctx, func(ctx context.Context, p redis.Pipeliner) { p.Publish(ctx, toChannel+n.From, back.seal(ring)) }) // counted; named there
	f.refuse(func(c *Counts) { c.Answered++ })
}

// answerTo asks what answers questions of that kind.
func (f *Fleet) answerTo(q question) ([]byte, error) {
	to := f.cfg.Answers[q.Kind]
	if to == nil {
		return nil, fmt.Errorf("this version does not know the question %.40q", q.Kind)
	}
	return to(q.Text)
}

// isOf reports whether a machine that is there can have asked now what it asked at a time of its clock.
func (f *Fleet) isOf(boot string, at time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.machines[boot]
	return m != nil && f.up(m) && f.cfg.Now().Sub(at.Add(-m.skew)).Abs() < askedWithin
}

// before reports whether a question was answered before, as far back as one may be old.
func (a *answering) before(n news) bool {
	at, before := a.seen[n.key()]
	return before && time.Since(at) < remember
}

func (n news) key() string { return n.From + " " + strconv.FormatUint(n.Op, 10) }

// take reports whether another question may be answered now, and remembers that it was.
func (a *answering) take(n news) bool {
	now := time.Now()
	a.spent = max(0, a.spent-perSecond*now.Sub(a.at).Seconds())
	a.at = now
	if a.spent+1 > perSecond {
		return false
	}
	a.spent++
	if len(a.seen) > perSecond*int(remember/time.Second) { // so many were answered in that time at most
		maps.DeleteFunc(a.seen, func(_ string, at time.Time) bool { return now.Sub(at) >= remember })
	}
	a.seen[n.key()] = now
	return true
}
