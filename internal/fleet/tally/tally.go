// Package tally adds up what each machine of a fleet counts of Nodes, so that a limit can hold over all of them. It does no I/O.
//
// A machine says how many it has now, never how many more: so what is heard twice, or late, or after something was missed does
// not make a sum wrong.
package tally

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
)

// Mark stands for a Node between machines.
type Mark [8]byte

// MarkOf is that of a Node id.
func MarkOf(node string) Mark {
	sum := sha256.Sum256([]byte(node))
	return Mark(sum[:8])
}

// Counts are numbers by Node. One that is 0 says that the Node has none any more.
type Counts map[Mark]uint64

// Encode writes them, in no order: marks and varints.
func (c Counts) Encode() []byte {
	text := make([]byte, 0, len(c)*12)
	for m, n := range c {
		text = binary.AppendUvarint(append(text, m[:]...), n)
	}
	return text
}

// ErrCounts is returned for what Encode did not write.
var ErrCounts = errors.New("not counts by Node")

// Decode reads what Encode wrote.
func Decode(text []byte) (Counts, error) {
	c := make(Counts, len(text)/12)
	for len(text) > 0 {
		if len(text) <= len(Mark{}) {
			return nil, ErrCounts
		}
		m := Mark(text)
		n, size := binary.Uvarint(text[len(m):])
		if size <= 0 {
			return nil, ErrCounts
		}
		c[m] = n
		text = text[len(m)+size:]
	}
	return c, nil
}

// Sums are what all sources have together. The zero value is empty and has no bound; its methods may be called from any
// goroutine, and Of is quick.
type Sums struct {
	Most int // counts of all sources together; 0: any number. Further ones are left out

	mu   sync.RWMutex
	by   map[string]Counts
	sums Counts
	n    int
}

// Of is the sum of a Node.
func (s *Sums) Of(m Mark) uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.sums[m]
}

// Set takes in what a source has now of some Nodes. What it has of others stays.
func (s *Sums) Set(source string, counts Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set(source, counts)
}

// Replace takes in all that a source has.
func (s *Sums) Replace(source string, counts Counts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(source)
	s.set(source, counts)
}

// Drop forgets a source.
func (s *Sums) Drop(source string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(source)
}

// Has reports whether anything of a source was taken in, and is not dropped.
func (s *Sums) Has(source string) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	_, has := s.by[source]
	return has
}

// Sources calls f for each source with all that it has, until f returns false. f must neither call s nor keep counts.
func (s *Sums) Sources(f func(source string, counts Counts) bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for source, counts := range s.by {
		if !f(source, counts) {
			return
		}
	}
}

func (s *Sums) set(source string, counts Counts) {
	if s.by == nil {
		s.by, s.sums = map[string]Counts{}, Counts{}
	}
	have := s.by[source]
	if have == nil {
		have = make(Counts, len(counts))
		s.by[source] = have
	}
	for m, n := range counts {
		was, known := have[m]
		switch {
		case n == 0 && !known, !known && s.Most > 0 && s.n >= s.Most:
			continue
		case n == 0:
			delete(have, m)
			s.n--
		default:
			if !known {
				s.n++
			}
			have[m] = n
		}
		s.add(m, n-was)
	}
}

// add changes a sum; less is what wraps around.
func (s *Sums) add(m Mark, by uint64) {
	if sum := s.sums[m] + by; sum == 0 {
		delete(s.sums, m)
	} else {
		s.sums[m] = sum
	}
}

func (s *Sums) drop(source string) {
	for m, n := range s.by[source] {
		s.n--
		s.add(m, -n)
	}
	delete(s.by, source)
}
