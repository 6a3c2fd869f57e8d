package nodes

import (
	"encoding/binary"
	"slices"
	"strings"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
)

// Kind says what an [Event] is about. A kind is a word of the program's own, never made from what a stranger sent.
type Kind string

// The kinds of events.
const (
	KindAllocated      Kind = "allocation"       // an allocation was opened
	KindMoved          Kind = "allocation-moved" // an allocation's client has another address or connection, or none for now
	KindClosed         Kind = "allocation-ended" // an allocation ended
	KindRefused        Kind = "refused"          // the TURN server refused or dropped something
	KindObserved       Kind = "observed"         // it would have refused something under another setting
	KindAuthentication Kind = "authentication"   // a Broker asked whether the Node may come in
	KindConfiguration  Kind = "configuration"    // a Broker asked for its RTC configuration, in vain
	KindAuthorization  Kind = "authorization"    // a Broker asked whether it may talk to another, and it may not
	KindValidity       Kind = "validity"         // a Broker was told to disconnect it
	KindCredential     Kind = "credential"       // a credential was issued
	KindConnected      Kind = "connected"        // it has joined a Broker
	KindLeft           Kind = "disconnected"     // it has left the Broker in this process, or could not join it
	KindSignal         Kind = "signal"           // it asked another Node for a connection through that Broker, or was asked
	KindBanned         Kind = "banned"           // a ban came into force
	KindUnbanned       Kind = "unbanned"         // a ban ended, by the operator or by the clock
	KindTested         Kind = "tested"           // a browser tested the connection by a link that was made for the Node
	KindLost           Kind = "lost"             // to subscribers only: events that they were too slow for
	KindAddress        Kind = "address"          // of the server: it has another address
	KindReloaded       Kind = "reloaded"         // of the server: another configuration is in force
	KindStarted        Kind = "started"          // of the server, in its history alone: it was started
)

// kept are the kinds that a why-record may hold.
var kept = [...]Kind{
	KindAllocated, KindClosed, KindRefused, KindObserved, KindAuthentication, KindConfiguration, KindAuthorization,
	KindValidity, KindCredential, KindConnected, KindBanned, KindUnbanned, KindLeft, KindSignal, KindTested,
	KindMoved,
}

// Event is one thing that happened to a Node.
type Event struct {
	Time   time.Time `json:"time"`
	Node   string    `json:"node,omitempty"` // left out in a why-record, which is all of one Node
	Kind   Kind      `json:"kind"`
	Failed bool      `json:"failed,omitempty"` // something did not work, or was taken from the Node
	Detail string    `json:"detail"`           // plain words; may quote what a stranger sent, control characters replaced
	Count  int       `json:"count,omitempty"`  // how often in a row the very same happened, the last time at Time; 0: once
	// Machine is where it happened, in a why-record of several machines; those of several that noted the same at once.
	Machine string `json:"machine,omitempty"`
}

// A Node's log is one slice with its events one after the other, the oldest first. For 100 000 Nodes with a few events each
// it takes a fifth of what structs and strings would, and the garbage collector has nothing to follow.
//
//	8 time, Unix microseconds | 4 count | 1 index in kept, and failedBit | 2 length of detail | detail
const (
	eventHead   = 8 + 4 + 1 + 2
	failedBit   = 0x80
	maxDetail   = 240
	fullLog     = 4096 // bytes of events kept per Node …
	squeezedLog = 512  // … and while all logs together are over their budget
	logStep     = 32   // logs grow by multiples of this
)

// The methods below note what happened to a Node: they add an event to its why-record and tell the subscribers. They never
// block on anything slow and cost well under a microsecond, so that they may be called for every refused packet. The very
// same event again is only counted. A node that is no valid id is ignored; a detail is cut at 240 bytes.

// Opened notes that an allocation was opened, and counts it as live.
func (r *Registry) Opened(node, detail string) { r.note(node, stranger, KindAllocated, false, detail) }

// Moved notes that an allocation's client has come from elsewhere, or is away.
func (r *Registry) Moved(node, detail string) { r.note(node, stranger, KindMoved, false, detail) }

// Ended notes that an allocation has ended, and counts it as gone.
func (r *Registry) Ended(node, detail string) { r.note(node, stranger, KindClosed, false, detail) }

// Refused notes that the TURN server refused the Node something, or dropped what it sent or was to receive. With an id that this program has
// made up for doctor that is no failure, but what doctor was after.
func (r *Registry) Refused(node, detail string) {
	r.note(node, stranger, KindRefused, !strings.HasPrefix(node, nodeid.DoctorPrefix), detail)
}

// Observed notes what the TURN server would have refused under another setting.
func (r *Registry) Observed(node, detail string) { r.note(node, stranger, KindObserved, false, detail) }

// Authenticated notes that the Node may come in.
func (r *Registry) Authenticated(node, detail string) {
	r.note(node, stranger, KindAuthentication, false, detail)
}

// AuthenticationRefused notes that it may not.
func (r *Registry) AuthenticationRefused(node, detail string) {
	r.note(node, stranger, KindAuthentication, true, detail)
}

// AuthorizationRefused notes that the Node may not talk to another.
func (r *Registry) AuthorizationRefused(node, detail string) {
	r.note(node, stranger, KindAuthorization, true, detail)
}

// Tested notes what a browser found that tested its connection by a link for the Node.
func (r *Registry) Tested(node string, failed bool, detail string) {
	r.note(node, stranger, KindTested, failed, detail)
}

// note adds an event. c is the least that the Node counts as from now on.
func (r *Registry) note(node string, c class, kind Kind, failed bool, detail string) {
	r.noteAnd(node, c, kind, failed, detail, nil)
}

// noteAnd is note, with a change of the Node in the same step.
func (r *Registry) noteAnd(node string, c class, kind Kind, failed bool, detail string, change func(n *entry)) {
	now := r.now()
	detail = cut(detail, maxDetail)
	r.with(node, c, now, func(s *shard, n *entry) {
		if change != nil {
			change(n)
			s.classify(n)
		}
		s.record(n, now, kind, failed, detail)
		switch kind {
		case KindAllocated:
			s.addRelays(n, 1)
		case KindClosed:
			s.addRelays(n, -1)
		}
	})
	r.kinds.add(kind, failed)
	if r.subs.n.Load() > 0 {
		r.subs.publish(Event{Time: now, Node: node, Kind: kind, Failed: failed, Detail: detail})
	}
}

// record appends an event to n's log, and drops the oldest ones when it is full.
func (s *shard) record(n *entry, now time.Time, kind Kind, failed bool, detail string) {
	what := byte(slices.Index(kept[:], kind))
	if failed {
		what |= failedBit
	}
	if n.last >= 0 {
		e := n.log[n.last:]
		if _, w, d, _ := parseEvent(e); w == what && string(d) == detail {
			binary.BigEndian.PutUint64(e, uint64(now.UnixMicro()))
			if c := binary.BigEndian.Uint32(e[8:]); c < 1<<32-1 {
				binary.BigEndian.PutUint32(e[8:], c+1)
			}
			return
		}
	}
	need := eventHead + len(detail)
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
	b = append(b, what)
	b = binary.BigEndian.AppendUint16(b, uint16(len(detail)))
	n.log = append(b, detail...)
}

// parseEvent reads the event at the start of b, which record wrote.
func parseEvent(b []byte) (head []byte, what byte, detail []byte, size int) {
	d := int(binary.BigEndian.Uint16(b[13:]))
	return b[:eventHead], b[12], b[eventHead : eventHead+d], eventHead + d
}

// decode makes an Event of the packed one at the start of b.
func decode(b []byte) (Event, int) {
	head, what, detail, size := parseEvent(b)
	e := Event{
		Time:   time.UnixMicro(int64(binary.BigEndian.Uint64(head))).UTC(),
		Kind:   kept[what&^failedBit],
		Failed: what&failedBit != 0,
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

// kindCounts counts events since the start by their index in kept: those that failed, and the others.
type kindCounts struct{ worked, failed [len(kept)]atomic.Uint64 }

func (k *kindCounts) add(kind Kind, failed bool) {
	i := slices.Index(kept[:], kind)
	if failed {
		k.failed[i].Add(1)
	} else {
		k.worked[i].Add(1)
	}
}

// snapshot returns the counts that are not 0: of all events by kind, and of those that failed.
func (k *kindCounts) snapshot() (all, failed map[Kind]uint64) {
	all, failed = make(map[Kind]uint64), make(map[Kind]uint64)
	for i, kind := range kept {
		f := k.failed[i].Load()
		if f > 0 {
			failed[kind] = f
		}
		if n := k.worked[i].Load() + f; n > 0 {
			all[kind] = n
		}
	}
	return all, failed
}
