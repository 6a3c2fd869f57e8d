// Package findings keeps what the running server has found wrong with its set-up: the admin API, the dashboard and doctor
// show it, and the log says it once.
package findings

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Finding is one thing that looks wrong with the set-up.
type Finding struct {
	ID     string `json:"id"`     // stays the same for as long as the cause does, such as "certificate.soon"
	Detail string `json:"detail"` // what is wrong, in plain words
	Remedy string `json:"remedy"` // what to do about it; may be empty
}

// sayAgain is how long a finding that comes and goes is not logged another time.
const sayAgain = time.Hour

// Set is the findings of the moment. Its methods may be called from any goroutine.
type Set struct {
	log *slog.Logger

	mu   sync.Mutex
	all  map[string]Finding // by id
	said map[Finding]time.Time
}

// NewSet returns an empty set that logs each new finding as a warning.
func NewSet(log *slog.Logger) *Set {
	return &Set{log: log, all: make(map[string]Finding), said: make(map[Finding]time.Time)}
}

// Replace makes now the findings whose id begins with prefix, in place of those there were. With none they are gone.
func (s *Set) Replace(prefix string, now []Finding) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.all, func(id string, _ Finding) bool { return strings.HasPrefix(id, prefix) })
	maps.DeleteFunc(s.said, func(_ Finding, at time.Time) bool { return time.Since(at) > sayAgain })
	for _, f := range now {
		s.all[f.ID] = f
		if _, ok := s.said[f]; !ok {
			s.log.Warn(f.line())
		}
		s.said[f] = time.Now()
	}
}

// All lists the findings by id.
func (s *Set) All() []Finding {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.SortedFunc(maps.Values(s.all), func(x, y Finding) int { return strings.Compare(x.ID, y.ID) })
}

// line is the finding as the log has it.
func (f Finding) line() string {
	if f.Remedy == "" {
		return f.Detail
	}
	return f.Detail + ": " + f.Remedy
}
