package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crolang-p2p/crolang-aio/embedded/redis"
)

// embeddedRedis runs the Redis of the process.
func embeddedRedis(t testing.TB) (url string) {
	t.Helper()
	s, err := redis.New(redis.Config{Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return "redis://" + s.Addr().String()
}

// answers has a machine answer questions of one kind.
func answers(kind string, how Answerer) option {
	return func(c *Config) {
		if c.Answers == nil {
			c.Answers = map[string]Answerer{}
		}
		c.Answers[kind] = how
	}
}

// echo answers with the question.
func echo(question []byte) ([]byte, error) { return question, nil }

// said puts replies into words.
func said(all []Reply) string {
	var words []string
	for _, r := range all {
		words = append(words, fmt.Sprintf("%s: %s%s", r.Machine, r.Answer, r.Missing))
	}
	return strings.Join(words, "; ")
}

// Every other machine answers; what one cannot is told in words, and one that does not know the question is not waited for.
func TestAsk(t *testing.T) {
	for name, url := range map[string]func(testing.TB) string{
		"embedded": embeddedRedis, "redis-server": func(t testing.TB) string { return redisAt(serveRedis(t)) },
	} {
		t.Run(name, func(t *testing.T) {
			at := url(t)
			one := start(t, at, "one", "", answers("node", echo))
			start(t, at, "two", "", answers("node", echo))
			start(t, at, "three", "", answers("node", func([]byte) ([]byte, error) { return nil, errors.New("no idea") }))
			start(t, at, "old", "")
			start(t, at, "long", "", answers("node", func([]byte) ([]byte, error) { return []byte(`"` + strings.Repeat("x", maxAnswer) + `"`), nil }))
			start(t, at, "strange", "", secrets("another"), answers("node", echo))
			one.until("it sees all", func() bool { return len(one.Machines()) == 6 })
			want := `long: it says: the answer would be longer than 256 KiB; old: its version does not know the question; ` +
				`strange: it has another credentials.secret; three: it says: no idea; two: "alice"`
			one.until("all answer", func() bool { return said(one.Ask(t.Context(), "node", []byte(`"alice"`))) == want })
			if got := said(one.Ask(t.Context(), "node", []byte(`"`+strings.Repeat("x", maxQuestion)+`"`))); !strings.Contains(got, "two: the question is too long") {
				t.Error(got)
			}
			if got := said(one.Ask(t.Context(), "other", []byte(`1`))); strings.Count(got, "does not know") != 4 {
				t.Error(got)
			}
		})
	}
}

// A machine that does not answer within a second is named, and costs no more than that.
func TestAskOneThatHangs(t *testing.T) {
	at := embeddedRedis(t)
	release := make(chan struct{})
	one := start(t, at, "one", "", answers("node", echo))
	two := start(t, at, "two", "", answers("node", func([]byte) ([]byte, error) { <-release; return []byte("1"), nil }))
	for _, b := range []*box{one, two} {
		b.until("it sees both", func() bool { return b.upNow() == 2 })
	}
	if got := said(one.Ask(t.Context(), "node", []byte("1"))); got != "two: it has not answered within a second" {
		t.Error(got)
	}
	if n := one.Counts().Unanswered; n != 1 {
		t.Errorf("%d unanswered", n)
	}
	close(release)
	two.die()
	one.until("the other is silent", func() bool { return one.state("two") == Silent })
	if got := said(one.Ask(t.Context(), "node", []byte("1"))); got != "two: nothing is heard of it" {
		t.Error(got)
	}
}

// While Redis stands still or is away, the machines are named.
func TestAskWithoutRedis(t *testing.T) {
	server := serveRedis(t)
	one := start(t, redisAt(server), "one", "", answers("node", echo))
	start(t, redisAt(server), "two", "", answers("node", echo))
	one.until("the other answers", func() bool { return said(one.Ask(t.Context(), "node", []byte("1"))) == "two: 1" })
	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	got := said(one.Ask(t.Context(), "node", []byte("1")))
	if err := server.Continue(); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(got, "two: the fleet's Redis cannot be used: ") && got != "two: it has not answered within a second" {
		t.Errorf("%s after %s", got, time.Since(began))
	}
	server.Kill()
	one.until("Redis is away", func() bool { return one.Health().Fault != "" })
	if got := said(one.Ask(t.Context(), "node", []byte("1"))); !strings.HasPrefix(got, "two: ") {
		t.Error(got)
	}
}

// What goes through Redis tells nothing, and is good for nothing a second time.
func TestAskIsConfidentialAndOnce(t *testing.T) {
	at := embeddedRedis(t)
	one := start(t, at, "one", "", answers("node", echo))
	two := start(t, at, "two", "", answers("node", func([]byte) ([]byte, error) { return []byte(`"198.51.100.7"`), nil }))
	for _, b := range []*box{one, two} {
		b.until("it sees both", func() bool { return b.upNow() == 2 })
	}
	heard := one.client.Subscribe(t.Context(), newsChannel, toChannel+one.boot)
	defer heard.Close()
	for range 2 {
		if _, err := heard.Receive(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := said(one.Ask(t.Context(), "node", []byte(`"alice"`))); got != `two: "198.51.100.7"` {
		t.Fatal(got)
	}
	var kept []string
	for len(kept) < 2 {
		m, err := heard.ReceiveMessage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(m.Payload, `"ask":`) && !strings.Contains(m.Payload, `"answer":`) {
			continue
		}
		if strings.Contains(m.Payload, "alice") || strings.Contains(m.Payload, "198.51") || strings.Contains(m.Payload, "node") {
			t.Errorf("it can be read: %s", m.Payload)
		}
		kept = append(kept, m.Payload)
	}
	slices.SortFunc(kept, func(x, y string) int { return strings.Index(y, `"ask":`) - strings.Index(x, `"ask":`) })
	for range 3 {
		one.client.Publish(t.Context(), newsChannel, kept[0])
		one.client.Publish(t.Context(), toChannel+one.boot, kept[1])
	}
	two.until("it has looked at all three", func() bool { return two.Counts().Stale == 3 })
	if n := two.Counts().Answered; n != 1 {
		t.Errorf("a question was answered %d times", n)
	}
}

// Answers and questions are bound to who asks, to the number of the question, and to who answers.
func TestAskForged(t *testing.T) {
	at := embeddedRedis(t)
	all := []*box{start(t, at, "one", "", answers("node", echo)), start(t, at, "two", "", answers("node", echo))}
	one, two := all[0], all[1]
	for _, b := range all {
		b.until("it sees both", func() bool { return b.upNow() == 2 })
	}
	ring := one.ring.Load()
	var a answering
	a.seen = map[string]time.Time{}
	ask := func(from string, op uint64, boxed string) Counts {
		two.answerOne(t.Context(), &a, news{From: from, Op: op, Ask: boxed})
		return two.Counts()
	}
	fresh := []byte(fmt.Sprintf(`{"at":%q,"kind":"node","text":1}`, time.Now().UTC().Format(time.RFC3339Nano)))
	stale := []byte(fmt.Sprintf(`{"at":%q,"kind":"node","text":1}`, time.Now().UTC().Add(-time.Minute).Format(time.RFC3339Nano)))
	if c := ask(one.boot, 8, ring.Box(forQuestion(one.boot, 7), fresh)); c.Forged != 1 {
		t.Errorf("a question of another number: %+v", c)
	}
	if c := ask(one.boot, 7, ring.Box(forQuestion(one.boot, 7), stale)); c.Stale != 1 {
		t.Errorf("one of a minute ago: %+v", c)
	}
	if c := ask("nobody", 7, ring.Box(forQuestion("nobody", 7), fresh)); c.Stale != 2 {
		t.Errorf("one of nobody: %+v", c)
	}
	if c := ask(one.boot, 7, ring.Box(forQuestion(one.boot, 7), []byte("?"))); c.Malformed != 1 {
		t.Errorf("one that is none: %+v", c)
	}
	if c := ask(one.boot, 7, ring.Box(forQuestion(one.boot, 7), fresh)); c.Answered != 1 {
		t.Errorf("a good one: %+v", c)
	}
	a.spent, a.at = perSecond, time.Now().Add(time.Hour)
	if c := ask(one.boot, 9, ring.Box(forQuestion(one.boot, 9), fresh)); c.Busy != 1 || c.Answered != 1 {
		t.Errorf("one too many: %+v", c)
	}
	good := ring.Box(forAnswer(one.boot, 7, two.boot), []byte(`{"text":1}`))
	if text, missing := one.read(7, news{From: two.boot, Answer: good}); string(text) != "1" || missing != "" {
		t.Errorf("%s, %s", text, missing)
	}
	for _, n := range []news{{From: two.boot, Op: 8, Answer: good}, {From: "x", Op: 7, Answer: good}, {From: two.boot, Op: 7, Answer: "x"}} {
		if text, missing := one.read(n.Op, n); text != nil || missing != "" {
			t.Errorf("%+v was taken for an answer", n)
		}
	}
	if n := one.Counts().Forged; n != 3 {
		t.Errorf("%d forged answers", n)
	}
}

// Questions have a bound each way, and those that are not answered are counted.
func TestAskTooMuch(t *testing.T) {
	at := embeddedRedis(t)
	one := start(t, at, "one", "", answers("node", echo))
	start(t, at, "two", "", answers("node", echo))
	one.until("it sees both", func() bool { return one.upNow() == 2 })
	one.mu.Lock()
	for i := range maxAsking {
		one.asking[uint64(1000+i)] = &asking{}
	}
	one.mu.Unlock()
	if got := said(one.Ask(t.Context(), "node", []byte("1"))); got != "two: this machine is asking too much at once" {
		t.Error(got)
	}
	f := &Fleet{questions: make(chan news, 1)}
	f.askedFor(news{})
	f.askedFor(news{})
	if n := f.Counts().Busy; n != 1 {
		t.Errorf("%d", n)
	}
}
