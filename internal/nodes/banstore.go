package nodes

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/durable"
	"github.com/crolang-p2p/crolang-aio/internal/findings"
)

// change is a ban to be put in force, or if ban is nil the lifting of one.
type change struct {
	id  string
	ban *Ban
	by  string // who bans, for the why-record

	elsewhere bool // it was decided at another machine, and said there

	done bool
	did  Banned
	err  error
}

// banStore holds the bans, in memory and in a file. The file has what is in force, unless the disk refuses to take it.
type banStore struct {
	file    banFile
	max     int
	now     func() time.Time
	inForce func(*change) (closed int)   // is told of each ban that came into force, whoever made it
	found   func(now []findings.Finding) // is told what is wrong now
	late    chan struct{}                // has room for one; filled when the file falls behind

	commit sync.Mutex     // held by the one who writes the file; only its holder changes what follows
	saved  map[string]Ban // those that the file has, or may have
	behind bool           // the file has other bans than are in force

	mu    sync.RWMutex
	bans  map[string]Ban // in force
	queue []*change      // waiting for the next write
}

// openBans reads the file. See New.
func openBans(cfg Config) (*banStore, error) {
	s := &banStore{max: cfg.MaxBans, now: cfg.Now, found: cfg.Found, late: make(chan struct{}, 1)}
	var err error
	if s.file, err = openBanFile(cfg.DataDir); err != nil {
		return nil, err
	}
	if s.bans, err = s.file.read(); err != nil {
		return nil, err
	}
	s.saved = s.bans
	return s, nil
}

// do makes c durable and then effective; a ban becomes effective even if the disk refuses it. Changes that arrive while
// the file is being written share the next write: a thousand at once cost a few writes.
func (s *banStore) do(c *change) error {
	s.doAll([]*change{c})
	return c.err
}

// doAll is do for many changes, which take one write together.
func (s *banStore) doAll(all []*change) {
	if len(all) == 0 {
		return
	}
	s.mu.Lock()
	s.queue = append(s.queue, all...)
	s.mu.Unlock()

	s.commit.Lock()
	if !all[0].done { // they stand in the queue together
		s.mu.Lock()
		batch := s.queue
		s.queue = nil
		s.mu.Unlock()
		s.apply(batch)
	}
	s.commit.Unlock()
	for _, c := range all {
		if c.err == nil && c.ban != nil {
			c.did.Closed = s.inForce(c)
		}
	}
}

// apply writes the outcome of batch to disk, then puts it in force. The caller holds commit.
func (s *banStore) apply(batch []*change) {
	now := s.now()
	next := maps.Clone(s.bans) // readers go on with the present ones until the next are on disk
	changed := false
	for _, c := range batch {
		c.done = true
		old, banned := next[c.id]
		switch {
		case c.ban == nil && (!banned || old.over(now)):
			c.err = ErrNotBanned
		case c.ban == nil:
			delete(next, c.id)
			changed = true
		case !banned && len(next) >= s.max && dropOver(next, now) == 0:
			c.err = fmt.Errorf("%w (%d of %d in use)", ErrTooManyBans, len(next), s.max)
		default:
			next[c.id] = *c.ban
			c.did.Replaced = banned && !old.over(now)
			changed = true
		}
	}
	if !changed {
		return
	}
	dropOver(next, now)
	err := s.write(next)
	if err != nil {
		next = s.force(batch, err)
		if s.behind || errors.Is(err, durable.ErrUnsynced) || !maps.Equal(next, s.saved) {
			s.fallBehind(err)
		}
	}
	for _, c := range batch {
		c.did.Kept = err == nil && c.err == nil
	}
	s.put(next)
}

// force returns the bans that are to be in force though the disk took nothing of batch. Lifting a ban has to wait for the
// disk, unless the disk never had that ban.
func (s *banStore) force(batch []*change, err error) map[string]Ban {
	next := maps.Clone(s.bans)
	for _, c := range batch {
		_, saved := s.saved[c.id]
		switch {
		case c.err != nil:
		case c.ban != nil:
			next[c.id] = *c.ban
		case saved:
			c.err = fmt.Errorf("the ban stays: %w; free or repair the disk and try again", err)
		default:
			delete(next, c.id)
		}
	}
	return next
}

// write replaces the file. The caller holds commit, and puts bans in force when it returns nil.
func (s *banStore) write(bans map[string]Ban) error {
	err := s.file.write(bans)
	switch {
	case err == nil:
		s.saved = bans
		if s.behind {
			s.behind = false
			s.found(nil)
		}
		return nil
	case errors.Is(err, durable.ErrUnsynced): // the file may have these or those from before
		s.saved = maps.Clone(s.saved)
		maps.Copy(s.saved, bans)
	}
	return err
}

// fallBehind reports that the file does not have the bans that are in force, and why. The caller holds commit.
func (s *banStore) fallBehind(err error) {
	s.behind = true
	s.found([]findings.Finding{{
		ID: "bans.unkept", Detail: "bans.json is behind the bans in force, so that a restart would lose some: " + err.Error(),
		Remedy: "free or repair the disk of data_dir; it is written as soon as that is possible",
	}})
	select {
	case s.late <- struct{}{}:
	default:
	}
}

// put puts bans in force.
func (s *banStore) put(bans map[string]Ban) {
	s.mu.Lock()
	s.bans = bans
	s.mu.Unlock()
}

// catchUp writes the file if it is behind, and reports whether it is up to date now.
func (s *banStore) catchUp() bool {
	s.commit.Lock()
	defer s.commit.Unlock()
	if !s.behind {
		return true
	}
	err := s.write(s.bans)
	if err != nil {
		s.fallBehind(err)
	}
	return err == nil
}

// dropOver forgets timed bans that have ended and returns how many.
func dropOver(bans map[string]Ban, now time.Time) int {
	n := len(bans)
	maps.DeleteFunc(bans, func(_ string, b Ban) bool { return b.over(now) })
	return n - len(bans)
}

// expire drops the bans that have ended, which did not apply any more, and returns their Nodes.
func (s *banStore) expire() []string {
	s.commit.Lock()
	defer s.commit.Unlock()
	now := s.now()
	var ended []string
	for id, b := range s.bans { // whoever holds commit may read without mu
		if b.over(now) {
			ended = append(ended, id)
		}
	}
	if len(ended) > 0 {
		next := maps.Clone(s.bans)
		dropOver(next, now)
		_ = s.write(next) // ended bans in the file do no harm, and go with the next write
		s.put(next)
	}
	return ended
}

func (s *banStore) get(id string) (Ban, bool) {
	s.mu.RLock()
	b, ok := s.bans[id]
	s.mu.RUnlock()
	if !ok || b.over(s.now()) {
		return Ban{}, false
	}
	return b, true
}

func (s *banStore) list() []Ban {
	now := s.now()
	list := []Ban{}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, b := range s.bans {
		if !b.over(now) {
			list = append(list, b)
		}
	}
	return list
}

func (s *banStore) count() int {
	now, n := s.now(), 0
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, b := range s.bans {
		if !b.over(now) {
			n++
		}
	}
	return n
}
