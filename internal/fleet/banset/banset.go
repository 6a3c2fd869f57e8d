// Package banset keeps the bans of a fleet so that all machines come to the same ones, in whatever order they hear of them,
// how often, and however late: it is a set of bans by id, and of ids that were lifted.
//
// A ban's id is made of what it says. Lifting names the ids that whoever lifts knows of; a ban that they had not heard of
// stays. So in doubt a ban holds. Of several bans on one Node the one that lasts longest counts.
package banset

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// Bounds. A ban of a time is forgotten some time after it is over, so that machines whose clocks differ agree meanwhile. A
// lifting is remembered at least as long as the ban would have lasted, but for one without an end: a machine that was away
// for longer than that brings it back.
const (
	afterEnd  = time.Hour
	LiftedFor = 365 * 24 * time.Hour
	maxReason = 1024
	maxName   = 256
	idLen     = 32 // hexadecimal digits
	banKind   = "ban"
	liftKind  = "lift"
)

// ErrRecord is the error of what cannot be a record.
var ErrRecord = errors.New("not a ban of a fleet")

// Record is a ban, or the lifting of one. It never changes.
type Record struct {
	Kind   string    `json:"kind"`         // "ban" or "lift"
	ID     string    `json:"id,omitempty"` // of the ban that is lifted; a ban's own is computed
	Node   string    `json:"node"`
	Reason string    `json:"reason,omitempty"`
	Since  time.Time `json:"since"`          // when the ban came into force, or was lifted
	Until  time.Time `json:"until,omitzero"` // of the ban; zero: it has no end
	By     string    `json:"by,omitempty"`   // the machine at which the operator did it
}

// Ban makes the record of a ban.
func Ban(node, reason string, since, until time.Time, by string) Record {
	r := Record{Kind: banKind, Node: node, Reason: reason, Since: since, Until: until, By: by}
	r.cut()
	r.ID = r.id()
	return r
}

// Lift makes the record of a ban's lifting.
func (r Record) Lift(at time.Time, by string) Record {
	return Record{Kind: liftKind, ID: r.ID, Node: r.Node, Since: at.UTC().Truncate(time.Millisecond), Until: r.Until, By: by}
}

// cut brings times to whole milliseconds in UTC, by which records are the same.
func (r *Record) cut() {
	r.Since = r.Since.UTC().Truncate(time.Millisecond)
	if !r.Until.IsZero() {
		r.Until = r.Until.UTC().Truncate(time.Millisecond)
	}
}

// Lifts reports whether r lifts a ban.
func (r Record) Lifts() bool { return r.Kind == liftKind }

// id is made of all that a ban says but of who says it.
func (r Record) id() string {
	h := sha256.New()
	var n [8]byte
	for _, part := range []string{r.Node, r.Reason} {
		h.Write(binary.BigEndian.AppendUint64(n[:0], uint64(len(part))))
		h.Write([]byte(part))
	}
	end := int64(0)
	if !r.Until.IsZero() {
		end = r.Until.UnixMilli()
	}
	h.Write(binary.BigEndian.AppendUint64(n[:0], uint64(r.Since.UnixMilli())))
	h.Write(binary.BigEndian.AppendUint64(n[:0], uint64(end)))
	return hex.EncodeToString(h.Sum(nil)[:idLen/2])
}

// Encode writes r as Redis and the disk have it.
func (r Record) Encode() []byte {
	if !r.Lifts() {
		r.ID = ""
	}
	text, err := json.Marshal(r)
	if err != nil { // only a time that no ban has could do it
		return nil
	}
	return text
}

// Decode reads what Encode wrote. Fields that a later version may add are passed over.
func Decode(text []byte) (r Record, err error) {
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return r, r.settle()
}

// settle checks r, and gives a ban its id.
func (r *Record) settle() error {
	switch {
	case nodeid.Valid(r.Node) != nil || nodeid.Canonical(r.Node) != r.Node:
		return fmt.Errorf("%w: it has no Node", ErrRecord)
	case len(r.Reason) > maxReason || !utf8.ValidString(r.Reason) || strings.ContainsFunc(r.Reason, unicode.IsControl):
		return fmt.Errorf("%w: its reason", ErrRecord)
	case len(r.By) > maxName || !utf8.ValidString(r.By) || strings.ContainsFunc(r.By, unicode.IsControl):
		return fmt.Errorf("%w: its machine", ErrRecord)
	case r.Since.Year() < 1970 || r.Since.Year() > 9000 || r.Until.Year() > 9000:
		return fmt.Errorf("%w: its time", ErrRecord)
	}
	r.cut()
	switch {
	case r.Lifts():
		if id, err := hex.DecodeString(r.ID); err != nil || len(id) != idLen/2 {
			return fmt.Errorf("%w: its id", ErrRecord)
		}
		return nil
	case r.Kind != banKind:
		return fmt.Errorf("%w: its kind", ErrRecord)
	}
	r.ID = r.id()
	return nil
}

// over reports whether the ban itself does not hold any more.
func (r Record) over(now time.Time) bool { return !r.Until.IsZero() && !now.Before(r.Until) }

// stale reports whether r can be forgotten.
func (r Record) stale(now time.Time) bool {
	switch {
	case !r.Until.IsZero():
		return now.Sub(r.Until) > afterEnd
	case r.Lifts():
		return now.Sub(r.Since) > LiftedFor
	}
	return false
}

// Set is the records of one machine. The zero value is not usable; it may be used by one goroutine at a time.
type Set struct {
	byID   map[string]Record
	byNode map[string][]string
	sum    Digest
	lifted int
}

// Digest tells sets apart.
type Digest [16]byte

// NewSet makes an empty one.
func NewSet() *Set { return &Set{byID: map[string]Record{}, byNode: map[string][]string{}} }

// Add takes a record in, and reports whether that changed the set. A ban that was lifted stays so.
func (s *Set) Add(r Record, now time.Time) bool {
	old, known := s.byID[r.ID]
	if known && (old.Lifts() || !r.Lifts()) || r.stale(now) {
		return false
	}
	if known {
		s.mix(old)
	} else {
		s.byNode[r.Node] = append(s.byNode[r.Node], r.ID)
	}
	if r.Lifts() {
		s.lifted++
	}
	s.byID[r.ID] = r
	s.mix(r)
	return true
}

// mix adds a record to the digest, or takes it out.
func (s *Set) mix(r Record) {
	sum := sha256.Sum256([]byte(r.Kind + r.ID))
	for i := range s.sum {
		s.sum[i] ^= sum[i]
	}
}

// Get is the record of a ban.
func (s *Set) Get(id string) (Record, bool) {
	r, ok := s.byID[id]
	return r, ok
}

// InForce lists the bans on a Node that hold, that which counts first.
func (s *Set) InForce(node string, now time.Time) []Record {
	var all []Record
	for _, id := range s.byNode[node] {
		if r := s.byID[id]; !r.Lifts() && !r.over(now) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(x, y Record) int {
		return cmp.Or(-longer(x, y), -x.Since.Compare(y.Since), cmp.Compare(x.ID, y.ID))
	})
	return all
}

// longer compares how long two bans last.
func longer(x, y Record) int {
	switch {
	case x.Until.IsZero() || y.Until.IsZero():
		return cmp.Compare(truth(x.Until.IsZero()), truth(y.Until.IsZero()))
	}
	return x.Until.Compare(y.Until)
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// Len is how many records there are.
func (s *Set) Len() int { return len(s.byID) }

// Lifted is how many of them lift a ban.
func (s *Set) Lifted() int { return s.lifted }

// Digest is the same for sets with the same records.
func (s *Set) Digest() Digest { return s.sum }

// All calls f for each record, until it returns false.
func (s *Set) All(f func(Record) bool) {
	for _, r := range s.byID {
		if !f(r) {
			return
		}
	}
}

// Forget drops what is not needed any more, and returns the ids.
func (s *Set) Forget(now time.Time) (ids []string) {
	for id, r := range s.byID {
		if !r.stale(now) {
			continue
		}
		ids = append(ids, id)
		s.mix(r)
		delete(s.byID, id)
		if r.Lifts() {
			s.lifted--
		}
		rest := slices.DeleteFunc(s.byNode[r.Node], func(other string) bool { return other == id })
		if len(rest) == 0 {
			delete(s.byNode, r.Node)
		} else {
			s.byNode[r.Node] = rest
		}
	}
	return ids
}
