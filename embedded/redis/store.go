package redis

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/crolang-p2p/crolang-aio/internal/contain"
)

const (
	// keyCost is what miniredis needs for a key beside its name and value: a place in six maps.
	keyCost = 400
	// tickShare bounds the time that letting keys expire takes: miniredis looks at all of them each time its clock
	// moves, so with many keys its clock moves in steps of tickShare times what a look takes.
	tickShare = 20
	minTick   = time.Millisecond
	// cheapTick is a step so short that the clock may move for a single command, which keeps short lives exact.
	cheapTick = 200 * time.Millisecond
	// rebuildEvery is how often a full store may be looked through.
	rebuildEvery = time.Second
)

var (
	errFull = errors.New("OOM command not allowed when used memory > 'maxmemory'; " +
		"the embedded Redis is for development, use a Redis server for more")
	errBroken = errors.New("ERR the embedded Redis failed at this command and has started anew, empty")
)

// store is the keys: a miniredis without a network, one command at a time.
//
// miniredis remembers a version for every key that ever was. So used counts up with each write, and when it reaches
// most, what is alive moves into a new miniredis: that frees the rest, and gives the exact size.
type store struct {
	now func() time.Time
	log *slog.Logger

	mu      sync.Mutex
	mr      *miniredis.Miniredis
	used    int64 // bytes of keys and values, an upper estimate
	held    int64 // bytes of subscriptions, likewise
	most    int64
	built   time.Time     // last rebuild
	ticked  time.Time     // miniredis' clock
	tick    time.Duration // until it moves again
	took    time.Duration // the last look
	panics  contain.Panics
	stopped bool
}

func newStore(most int64, now func() time.Time, log *slog.Logger) (*store, error) {
	s := &store{now: now, log: log, most: most}
	var err error
	s.mr, err = s.fresh()
	return s, err
}

// fresh is an empty miniredis whose keys expire by the store's clock.
func (s *store) fresh() (*miniredis.Miniredis, error) {
	mr := miniredis.NewMiniRedis()
	// Dial starts it without a listener; the connection itself is not needed.
	conn, err := mr.Dial()
	if err != nil {
		return nil, fmt.Errorf("start miniredis: %w", err)
	}
	conn.Close()
	s.ticked, s.tick, s.took = s.now(), minTick, 0
	mr.SetTime(s.ticked)
	mr.ClockTTL(true)
	return mr, nil
}

func (s *store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.stopped = true
		s.mr.Close()
	}
}

// advance lets keys expire, if it is time. Held: mu.
func (s *store) advance() {
	if d := s.now().Sub(s.ticked); d < 0 || d >= s.tick {
		s.move()
	}
}

// exact is for a command that gives a key ttl to live: a clock that is behind would take its lag off that. Held: mu.
func (s *store) exact(ttl time.Duration) {
	if lag := s.now().Sub(s.ticked); lag > ttl/100 && s.tick <= cheapTick {
		s.move()
	}
}

// move sets miniredis' clock, at which it looks at all keys. Held: mu.
func (s *store) move() {
	s.ticked = s.now()
	start := time.Now()
	s.mr.SetTime(s.ticked)
	s.mr.DB(0) // any access moves the clock of all databases
	took := time.Since(start)
	// The lesser of two: a look during which the process slept says nothing.
	s.tick = max(minTick, tickShare*min(took, s.took))
	s.took = took
}

// sweep lets keys expire while nobody asks.
func (s *store) sweep() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
}

// effect is what a command adds to the store.
type effect struct {
	bytes int64         // 0: it keeps nothing new
	ttl   time.Duration // 0: it gives none
}

// dispatch executes words for c, whose reply buffer has the answer then. An error is an answer by itself.
func (s *store) dispatch(c *client, words []string, e effect) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.execute(c, words, e)
}

// dispatchIf is dispatch if the value of key is value; it reports whether it was.
func (s *store) dispatchIf(c *client, key, value string, words []string, e effect) (done bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return false, errBroken
	}
	s.advance()
	if e.ttl > 0 {
		s.exact(e.ttl)
	}
	if now, err := s.mr.DB(c.db).Get(key); err != nil || now != value {
		return false, nil // there is no such key
	}
	return true, s.execute(c, words, e)
}

// execute is dispatch. Held: mu.
func (s *store) execute(c *client, words []string, e effect) (err error) {
	if s.stopped {
		return errBroken
	}
	s.advance()
	if e.ttl > 0 {
		s.exact(e.ttl)
	}
	if e.bytes > 0 && !s.room(e.bytes) {
		return errFull
	}
	defer func() {
		if r := recover(); r != nil {
			c.reply = replyBuffer{}
			c.flush.Reset(&c.reply)
			err = s.broken(words[0], r)
		}
	}()
	s.mr.Server().Dispatch(c.peer, words)
	return nil
}

// broken replaces a miniredis that panicked, and may hold its lock for ever. Held: mu.
func (s *store) broken(command string, cause any) error {
	s.panics.Stopped(s.log.With("command", command), "redis: a command failed unexpectedly, all keys are lost: please report this", cause)
	s.mr.CtxCancel()
	mr, err := s.fresh()
	if err != nil {
		s.stopped = true
		s.log.Error("redis: no key can be kept any more, restart crolang-aio", "error", err)
		return errBroken
	}
	s.mr, s.used = mr, 0
	return errBroken
}

// room reports whether cost more bytes of keys and values may be kept, and counts them. Held: mu.
func (s *store) room(cost int64) bool {
	if !s.fits(cost) {
		return false
	}
	s.used += cost
	return true
}

// fits reports whether cost more bytes may be kept. Held: mu.
func (s *store) fits(cost int64) bool {
	if s.used+s.held+cost > s.most && s.now().Sub(s.built).Abs() >= rebuildEvery {
		s.rebuild()
	}
	return s.used+s.held+cost <= s.most
}

// hold counts a subscription of cost bytes, if there is room for it. release gives them back.
func (s *store) hold(cost int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.fits(cost) {
		return false
	}
	s.held += cost
	return true
}

func (s *store) release(cost int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held -= cost
}

// rebuild moves what is alive into a new miniredis. Held: mu.
func (s *store) rebuild() {
	s.built = s.now()
	mr, err := s.fresh()
	if err != nil {
		s.log.Error("redis: memory of keys that are gone is not freed", "error", err)
		return
	}
	old := s.mr
	old.SetTime(s.ticked) // the same clock on both sides: no time is lost or gained
	used := int64(0)
	for i := range databases {
		from, to := old.DB(i), mr.DB(i)
		for _, key := range from.Keys() {
			used += move(from, to, key)
		}
	}
	s.mr, s.used = mr, used
	old.Close()
}

// reset forgets everything.
func (s *store) reset() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return errBroken
	}
	mr, err := s.fresh()
	if err != nil {
		return fmt.Errorf("ERR %w", err)
	}
	s.mr.Close()
	s.mr, s.used = mr, 0
	return nil
}

// keys lists a database, sorted.
func (s *store) keys(db int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	return s.mr.DB(db).Keys()
}

// ttl is what remains of a key's life; 0: for ever.
func (s *store) ttl(db int, key string) (left time.Duration, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	d := s.mr.DB(db)
	return d.TTL(key), d.Exists(key)
}

// size is the number of keys, and an upper estimate of the bytes of all that is kept.
func (s *store) size() (keys int, bytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	for i := range databases {
		keys += len(s.mr.DB(i).Keys())
	}
	return keys, s.used + s.held
}

// keyspace is that section of INFO.
func (s *store) keyspace() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance()
	var b strings.Builder
	for i := range databases {
		if n := len(s.mr.DB(i).Keys()); n > 0 {
			fmt.Fprintf(&b, "db%d:keys=%d,expires=0,avg_ttl=0\r\n", i, n)
		}
	}
	return b.String()
}
