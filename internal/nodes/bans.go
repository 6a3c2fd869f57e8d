package nodes

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// What may be wrong with a ban. ErrBansFile wraps whatever is wrong with the file at start.
var (
	ErrBansFile    = errors.New("the bans cannot be read")
	ErrTooManyBans = errors.New("too many bans: lift some first")
	ErrReason      = errors.New("a ban's reason must be at most 1024 bytes of text without control characters")
	ErrDuration    = errors.New("a ban must last longer than nothing")
	ErrNotBanned   = errors.New("this Node is not banned")
)

const maxReason = 1024

// Ban is a Node that may not come in.
type Ban struct {
	Node   string    `json:"node"`
	Reason string    `json:"reason"`
	Since  time.Time `json:"since"`
	Until  time.Time `json:"until,omitzero"` // zero: until it is lifted
}

func (b Ban) over(now time.Time) bool { return !b.Until.IsZero() && !now.Before(b.Until) }

// Banned is what a ban did.
type Banned struct {
	Closed   int  // live allocations
	Replaced bool // reason and time of an earlier ban
}

// Ban bans a Node, for the given time or, where that is 0, until it is unbanned, and closes its live allocations. Banning a
// banned Node replaces reason and time.
//
// When it returns nil the ban is on disk, in force, and closed allocations of the Node were ended. With an error the ban is
// not in force and nothing was closed: the errors of nodeid.Valid, ErrReason, ErrDuration, ErrTooManyBans, or what the disk said.
func (r *Registry) Ban(node, reason string, lasting time.Duration) (done Banned, err error) {
	if err := nodeid.Valid(node); err != nil {
		return done, err
	}
	if len(reason) > maxReason || !utf8.ValidString(reason) || strings.ContainsFunc(reason, unicode.IsControl) {
		return done, ErrReason
	}
	if lasting < 0 {
		return done, ErrDuration
	}
	now := r.now().UTC().Truncate(time.Millisecond)
	b := Ban{Node: strings.Clone(node), Reason: strings.Clone(reason), Since: now}
	detail := "banned by the operator"
	if reason != "" {
		detail += ": " + reason
	}
	if lasting > 0 {
		b.Until = now.Add(lasting)
		detail += ", until " + Clock(b.Until, now)
	}
	c := change{id: b.Node, ban: &b}
	if err := r.bans.do(&c); err != nil {
		return done, err
	}
	done.Replaced = c.replaced
	if relays := r.attached(); relays != nil {
		done.Closed = relays.CloseNode(node, detail)
	}
	r.note(node, stranger, KindBanned, true, detail+"; "+plural(done.Closed, "allocation")+" closed")
	said := []any{"node", node}
	if reason != "" {
		said = append(said, "reason", reason)
	}
	if lasting > 0 { // what is left out is for good: a time, where there is one, can be read as one
		said = append(said, "until", b.Until)
	}
	r.log.Info("the operator banned a Node", append(said, "closed", done.Closed, "replaced", done.Replaced)...)
	return done, nil
}

// Unban lifts a ban; when it returns nil that is on disk. ErrNotBanned where there is none.
func (r *Registry) Unban(node string) error {
	if err := r.bans.do(&change{id: node}); err != nil {
		return err
	}
	r.note(node, stranger, KindUnbanned, false, "the operator lifted the ban")
	r.log.Info("the operator lifted a ban", "node", node)
	return nil
}

// Banned says whether a ban on node is in force.
func (r *Registry) Banned(node string) bool {
	_, ok := r.bans.get(node)
	return ok
}

// BanOf returns the ban in force on node.
func (r *Registry) BanOf(node string) (Ban, bool) { return r.bans.get(node) }

// BanReason reports whether node is banned, and the operator's reason, which may be empty.
func (r *Registry) BanReason(node string) (reason string, banned bool) {
	ban, banned := r.bans.get(node)
	return ban.Reason, banned
}

// Bans lists the bans in force, the newest first.
func (r *Registry) Bans() []Ban {
	list := r.bans.list()
	slices.SortFunc(list, func(a, b Ban) int {
		if c := b.Since.Compare(a.Since); c != 0 {
			return c
		}
		return strings.Compare(a.Node, b.Node)
	})
	return list
}

// change is a ban to be put in force, or where ban is nil the lifting of one.
type change struct {
	id       string
	ban      *Ban
	done     bool
	replaced bool // there was a ban in force
	err      error
}

// banStore holds the bans, in memory and in a file that is never behind what was acknowledged.
type banStore struct {
	file banFile
	max  int
	now  func() time.Time

	commit sync.Mutex // held by the one who writes the file; only its holder changes bans

	mu    sync.RWMutex
	bans  map[string]Ban
	queue []*change // waiting for the next write
}

// openBans reads the file. See New.
func openBans(dir string, limit int, now func() time.Time) (*banStore, error) {
	s := &banStore{max: limit, now: now}
	var err error
	if s.file, err = openBanFile(dir); err != nil {
		return nil, err
	}
	if s.bans, err = s.file.read(); err != nil {
		return nil, err
	}
	return s, nil
}

// do makes c durable and then effective. Changes that come while the file is being written share the next write: a thousand
// at once cost a few.
func (s *banStore) do(c *change) error {
	s.mu.Lock()
	s.queue = append(s.queue, c)
	s.mu.Unlock()

	s.commit.Lock()
	defer s.commit.Unlock()
	if !c.done {
		s.mu.Lock()
		batch := s.queue
		s.queue = nil
		s.mu.Unlock()
		s.apply(batch)
	}
	return c.err
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
			c.replaced = banned && !old.over(now)
			changed = true
		}
	}
	if !changed {
		return
	}
	dropOver(next, now)
	if err := s.file.write(next); err != nil {
		for _, c := range batch {
			if c.err == nil {
				c.err = err
			}
		}
		return
	}
	s.mu.Lock()
	s.bans = next
	s.mu.Unlock()
}

// dropOver forgets timed bans that have ended and returns how many.
func dropOver(bans map[string]Ban, now time.Time) int {
	n := len(bans)
	maps.DeleteFunc(bans, func(_ string, b Ban) bool { return b.over(now) })
	return n - len(bans)
}

// expire drops the bans that have ended and returns their Nodes. They had ceased to apply before.
func (s *banStore) expire() ([]string, error) {
	s.commit.Lock()
	defer s.commit.Unlock()
	now := s.now()
	ended := []string{}
	for id, b := range s.bans { // whoever holds commit may read without mu
		if b.over(now) {
			ended = append(ended, id)
		}
	}
	if len(ended) == 0 {
		return nil, nil
	}
	next := maps.Clone(s.bans)
	dropOver(next, now)
	if err := s.file.write(next); err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.bans = next
	s.mu.Unlock()
	return ended, nil
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
