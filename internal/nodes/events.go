package nodes

import (
	"encoding/binary"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"
)

// Kinds of events. Callers may use others; these mean something to the registry or to the dashboard. A kind is a word or two
// from the program's own vocabulary, never made from what a stranger sent.
const (
	KindAllocated  = "allocation"       // an allocation was opened: counts it as live
	KindClosed     = "allocation-ended" // an allocation ended: counts it as gone
	KindRefused    = "refused"          // something was refused; the detail says what and why
	KindCredential = "credential"       // a credential was issued
	KindConnected  = "connected"        // a Broker's validity check named the Node for the first time in a while
	KindBanned     = "banned"           // by the operator
	KindUnbanned   = "unbanned"         // by the operator or by the clock
	KindLost       = "lost"             // to subscribers only: events that they were too slow for
)

// Event is one thing that happened to a Node.
type Event struct {
	Time   time.Time `json:"time"`
	Node   string    `json:"node,omitempty"` // left out in a why-record, which is all of one Node
	Kind   string    `json:"kind"`
	Detail string    `json:"detail"`          // plain words; may quote what a stranger sent, control characters replaced
	Count  int       `json:"count,omitempty"` // how often in a row the very same happened, the last time at Time; 0: once
}

// A Node's log is its events one after the other, oldest first, in one slice: for 100 000 Nodes with a few events each that
// is a fifth of what structs and strings take, and nothing for the garbage collector to follow.
//
//	8 time, Unix microseconds | 4 count | 1 length of kind | 2 length of detail | kind | detail
const (
	eventHead   = 8 + 4 + 1 + 2
	maxKind     = 32
	maxDetail   = 240
	fullLog     = 4096 // bytes of events kept per Node …
	squeezedLog = 512  // … and while all logs together are over their budget
	logStep     = 32   // logs grow by multiples of this
)

// Note adds an event to the why-record of a Node and tells the subscribers. It never blocks on anything slow and costs well
// under a microsecond: it may be called for every refused packet. The same event again is only counted.
// A node that is no valid id is ignored; kind is cut at 32 bytes, detail at 240.
func (r *Registry) Note(node, kind, detail string) {
	r.note(node, stranger, kind, detail)
}

func (r *Registry) note(node string, c class, kind, detail string) {
	now := r.now()
	kind, detail = cut(kind, maxKind), cut(detail, maxDetail)
	r.with(node, c, now, func(s *shard, n *entry) {
		s.record(n, now, kind, detail)
		switch kind {
		case KindAllocated:
			s.addRelays(n, 1)
		case KindClosed:
			s.addRelays(n, -1)
		}
	})
	r.kinds.add(kind)
	if r.subs.n.Load() > 0 {
		r.subs.publish(Event{Time: now, Node: node, Kind: kind, Detail: detail})
	}
}

// record appends an event to n's log, dropping the oldest ones where it is full.
func (s *shard) record(n *entry, now time.Time, kind, detail string) {
	if n.last >= 0 {
		if _, k, d, _ := parseEvent(n.log[n.last:]); string(k) == kind && string(d) == detail {
			e := n.log[n.last:]
			binary.BigEndian.PutUint64(e, uint64(now.UnixMicro()))
			if c := binary.BigEndian.Uint32(e[8:]); c < 1<<32-1 {
				binary.BigEndian.PutUint32(e[8:], c+1)
			}
			return
		}
	}
	need := eventHead + len(kind) + len(detail)
	limit := fullLog
	if s.logBytes+need > s.budget {
		limit = squeezedLog
	}
	drop := 0
	for len(n.log)-drop+need > limit && drop < len(n.log) {
		_, _, _, size := parseEvent(n.log[drop:])
		drop += size
	}
	keep := n.log[drop:]
	if want := len(keep) + need; want > cap(n.log) || cap(n.log) > max(2*limit, want) {
		grown := make([]byte, len(keep), (want+logStep-1)/logStep*logStep)
		copy(grown, keep)
		s.logBytes += cap(grown) - cap(n.log)
		n.log = grown
	} else if drop > 0 {
		n.log = n.log[:copy(n.log, keep)]
	}
	n.last = int32(len(n.log))
	b := binary.BigEndian.AppendUint64(n.log, uint64(now.UnixMicro()))
	b = binary.BigEndian.AppendUint32(b, 1)
	b = append(b, byte(len(kind)))
	b = binary.BigEndian.AppendUint16(b, uint16(len(detail)))
	b = append(b, kind...)
	n.log = append(b, detail...)
}

// parseEvent reads the event at the start of b, which record wrote.
func parseEvent(b []byte) (head, kind, detail []byte, size int) {
	k, d := int(b[12]), int(binary.BigEndian.Uint16(b[13:]))
	return b[:eventHead], b[eventHead : eventHead+k], b[eventHead+k : eventHead+k+d], eventHead + k + d
}

// decode makes an Event of the packed one at the start of b.
func decode(b []byte) (Event, int) {
	head, kind, detail, size := parseEvent(b)
	e := Event{
		Time:   time.UnixMicro(int64(binary.BigEndian.Uint64(head))).UTC(),
		Kind:   string(kind),
		Detail: string(detail),
	}
	if c := binary.BigEndian.Uint32(head[8:]); c > 1 {
		e.Count = int(c)
	}
	return e, size
}

// events decodes the whole log, oldest first. It is never nil.
func (n *entry) events() []Event {
	list := []Event{}
	for b := n.log; len(b) > 0; {
		e, size := decode(b)
		list = append(list, e)
		b = b[size:]
	}
	return list
}

// cut shortens s to at most n bytes, between two characters, and replaces what is not text.
func cut(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	clean := true
	for i := range len(s) {
		if s[i] < ' ' || s[i] >= 0x7f {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
	return s
}

// kindCounts counts events by kind. The number of kinds is bounded, since they become a metric's label.
type kindCounts struct {
	mu    sync.Mutex
	byKey atomic.Pointer[map[string]*atomic.Uint64] // replaced whole when a kind is new
}

const maxKinds = 64

func (k *kindCounts) add(kind string) {
	if m := k.byKey.Load(); m != nil {
		if c := (*m)[kind]; c != nil {
			c.Add(1)
			return
		}
		if len(*m) >= maxKinds {
			(*m)["other"].Add(1)
			return
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	grown := map[string]*atomic.Uint64{"other": new(atomic.Uint64)}
	if m := k.byKey.Load(); m != nil {
		for key, c := range *m {
			grown[key] = c
		}
	}
	if len(grown) >= maxKinds {
		kind = "other"
	}
	if grown[kind] == nil {
		grown[strings.Clone(kind)] = new(atomic.Uint64)
	}
	grown[kind].Add(1)
	k.byKey.Store(&grown)
}

func (k *kindCounts) snapshot() map[string]uint64 {
	out := make(map[string]uint64)
	if m := k.byKey.Load(); m != nil {
		for kind, c := range *m {
			if n := c.Load(); n > 0 {
				out[kind] = n
			}
		}
	}
	return out
}
