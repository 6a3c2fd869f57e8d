package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/adminapi"
	"github.com/crolang-p2p/crolang-aio/internal/nodeid"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// Told is what came of a question at another machine.
type Told struct {
	Machine string        // its name
	Answer  []byte        // nil: there is none
	Missing string        // why there is none, in words
	Skew    time.Duration // of its clock from this one's
}

// The questions that machines ask each other. What stands in them, and in the answers, may gain fields, and lose none: versions
// understand each other.
const (
	askNode   = "node"   // a nodeQuestion; the answer is a nodePart
	askStory  = "story"  // a storyQuestion; a storyPart
	askToward = "toward" // a towardQuestion; a towardPart
)

// Questions are the kinds that [Admin.Answer] takes.
func Questions() []string { return []string{askNode, askStory, askToward} }

const (
	// maxElsewhere is how many allocations of one Node another machine lists.
	maxElsewhere = 200
	// sameMoment is how far apart two machines may note the same thing.
	sameMoment = 3 * time.Second
	// sayClock is from when on a machine's times are turned into this one's; below that the difference is not known well enough.
	sayClock = 30 * time.Second
)

var errQuestion = errors.New("the question cannot be read")

// Answer answers another machine's question.
func (a *Admin) Answer(kind string, question []byte) ([]byte, error) {
	switch kind {
	case askNode:
		return answerTo(question, a.nodePart)
	case askStory:
		return answerTo(question, a.storyPart)
	case askToward:
		return answerTo(question, a.towardPart)
	}
	return nil, errQuestion
}

func answerTo[Q interface{ ok() bool }, A any](question []byte, answer func(Q) A) ([]byte, error) {
	var q Q
	if json.Unmarshal(question, &q) != nil || !q.ok() {
		return nil, errQuestion
	}
	return json.Marshal(answer(q))
}

// isNode reports whether a text can be a Node's id.
func isNode(id string) bool { return id != "" && len(id) <= nodeid.MaxLen }

// nodeQuestion asks what is known of a Node.
type nodeQuestion struct {
	Node string `json:"node"`
}

func (q nodeQuestion) ok() bool { return isNode(q.Node) }

// nodePart is what one machine knows of it.
type nodePart struct {
	Known  bool                `json:"known"`
	Record adminapi.NodeRecord `json:"record"`
}

func (a *Admin) nodePart(q nodeQuestion) nodePart {
	var p nodePart
	p.Record, p.Known = a.recordOf(nodeid.Canonical(q.Node))
	if all := p.Record.Allocations; len(all) > maxElsewhere {
		slices.SortFunc(all, func(x, y adminapi.Allocation) int { return y.Created.Compare(x.Created) })
		p.Record.Allocations, p.Record.LeftOut = all[:maxElsewhere], len(all)-maxElsewhere
	}
	return p
}

// ask asks every other machine. tell is called with each answer; who has none, or one that cannot be read, is returned.
func ask[A any](f Fleet, kind string, question any, tell func(from Told, answer A)) (unanswered []adminapi.Unanswered) {
	text, err := json.Marshal(question)
	if err != nil {
		return nil // our own types: it cannot be
	}
	for _, told := range f.Ask(kind, text) {
		var answer A
		if told.Answer != nil && json.Unmarshal(told.Answer, &answer) != nil {
			told.Answer, told.Missing = nil, "its answer cannot be read"
		}
		if told.Answer == nil {
			unanswered = append(unanswered, adminapi.Unanswered{Machine: told.Machine, Why: told.Missing})
			continue
		}
		tell(told, answer)
	}
	return unanswered
}

// withoutThose says whose part is missing.
func withoutThose(all []adminapi.Unanswered) string {
	var words []string
	for _, u := range all {
		words = append(words, fmt.Sprintf("%s: %s", u.Machine, u.Why))
	}
	if len(words) == 0 {
		return ""
	}
	return " where it was asked for (" + strings.Join(words, "; ") + ")"
}

// wholeRecord makes a record of this machine one of all, and reports whether another knows anything of the Node.
func (a *Admin) wholeRecord(r *adminapi.NodeRecord) (known bool) {
	f := a.cfg.Fleet
	at(r, f.Name(), 0)
	if r.Connected {
		r.ConnectedAt = append(r.ConnectedAt, r.Machine)
	}
	partners := [][]string{r.Partners}
	r.Unanswered = ask(f, askNode, nodeQuestion{r.Node}, func(from Told, p nodePart) {
		if !p.Known {
			return
		}
		known = true
		at(&p.Record, from.Machine, from.Skew)
		partners = append(partners, p.Record.Partners)
		addRecord(r, &p.Record)
	})
	for _, name := range f.ConnectedAt(r.Node) { // those that answer know better
		if slices.ContainsFunc(r.Unanswered, func(u adminapi.Unanswered) bool { return u.Machine == name }) {
			r.Connected, r.ConnectedAt = true, append(r.ConnectedAt, name)
		}
	}
	slices.Sort(r.ConnectedAt)
	r.Partners = inTurns(partners, maxPartners)
	r.Events = oneOfEach(r.Events)
	r.Connections = oneOfEachConnection(r.Connections)
	return known
}

// at names the machine of what is in a record, and turns times of a clock that is far away into this one's.
func at(r *adminapi.NodeRecord, machine string, skew time.Duration) {
	r.Machine = machine
	if skew.Abs() < sayClock {
		skew = 0
	}
	for i := range r.Events {
		r.Events[i].Machine, r.Events[i].Time = machine, r.Events[i].Time.Add(-skew)
	}
	for i := range r.Connections {
		r.Connections[i].Machine, r.Connections[i].At = machine, r.Connections[i].At.Add(-skew)
	}
	for i := range r.Allocations {
		r.Allocations[i].Machine = machine
	}
	if r.Broker != nil {
		r.Broker.Machine = machine
	}
}

// addRecord adds what another machine knows of the same Node.
func addRecord(r, other *adminapi.NodeRecord) {
	if other.Connected {
		r.Connected, r.ConnectedAt = true, append(r.ConnectedAt, other.Machine)
	}
	r.Checked, r.Seen, r.CredentialEnds = later(r.Checked, other.Checked), later(r.Seen, other.Seen), later(r.CredentialEnds, other.CredentialEnds)
	r.CredentialsIssued += other.CredentialsIssued
	for _, ip := range other.Addresses {
		if !slices.Contains(r.Addresses, ip) {
			r.Addresses = append(r.Addresses, ip)
		}
	}
	r.Allocations = append(r.Allocations, other.Allocations...)
	r.LeftOut += other.LeftOut
	r.Events = append(r.Events, other.Events...)
	r.Connections = append(r.Connections, other.Connections...)
	if other.Broker != nil && (r.Broker == nil || other.Broker.Since.After(r.Broker.Since)) {
		r.Broker = other.Broker
	}
	if u := r.Usage; u != nil && other.Usage != nil && u.Month == other.Usage.Month {
		u.In += other.Usage.In
		u.Out += other.Usage.Out
		u.Seconds += other.Usage.Seconds
		u.Allocations += other.Usage.Allocations
		u.Messages += other.Usage.Messages
	}
}

func later(x, y time.Time) time.Time {
	if y.After(x) {
		return y
	}
	return x
}

// inTurns takes from each list in turn what was not taken yet, up to most.
func inTurns(lists [][]string, most int) []string {
	all := []string{}
	for i, more := 0, true; more && len(all) < most; i++ {
		more = false
		for _, list := range lists {
			if i >= len(list) {
				continue
			}
			more = true
			if !slices.Contains(all, list[i]) && len(all) < most {
				all = append(all, list[i])
			}
		}
	}
	return all
}

// oneOfEach sorts events, the oldest first. What several machines noted at once, such as a ban, is one.
func oneOfEach(all []nodes.Event) []nodes.Event {
	slices.SortStableFunc(all, func(x, y nodes.Event) int { return x.Time.Compare(y.Time) })
	kept := []nodes.Event{}
	for _, e := range all {
		if i := sameAs(kept, &e); i >= 0 {
			kept[i].Machine += ", " + e.Machine
			continue
		}
		kept = append(kept, e)
	}
	return kept
}

// sameAs finds the event that another machine noted as e, -1 if there is none.
func sameAs(kept []nodes.Event, e *nodes.Event) int {
	for i := len(kept) - 1; i >= 0 && e.Time.Sub(kept[i].Time) < sameMoment; i-- {
		k := &kept[i]
		if k.Kind == e.Kind && k.Failed == e.Failed && k.Detail == e.Detail && k.Count == e.Count &&
			!slices.Contains(strings.Split(k.Machine, ", "), e.Machine) {
			return i
		}
	}
	return -1
}

// oneOfEachConnection sorts attempts, the newest first. Both machines know one of two Nodes at two: the one that knows more of it
// tells it.
func oneOfEachConnection(all []adminapi.Connection) []adminapi.Connection {
	slices.SortStableFunc(all, func(x, y adminapi.Connection) int { return y.At.Compare(x.At) })
	kept := []adminapi.Connection{}
	for _, c := range all {
		i := slices.IndexFunc(kept, func(k adminapi.Connection) bool {
			return k.Asker == c.Asker && k.Asked == c.Asked && k.Machine != c.Machine && k.At.Sub(c.At) < sameMoment
		})
		switch {
		case i < 0:
			kept = append(kept, c)
		case knows(&c) > knows(&kept[i]):
			c.At = kept[i].At
			kept[i] = c
		}
	}
	return kept[:min(len(kept), maxConnections)]
}

// knows is how much is known of an attempt.
func knows(c *adminapi.Connection) int {
	switch {
	case c.Outcome == adminapi.ConnectionMade && c.Path == adminapi.PathRelayed:
		return 5
	case c.Outcome == adminapi.ConnectionMade && c.Path == adminapi.PathDirect:
		return 4
	case c.Outcome == adminapi.ConnectionMade && c.Path == adminapi.PathOpen:
		return 3
	case c.Outcome == adminapi.ConnectionMade:
		return 2
	case c.Outcome == adminapi.ConnectionFailed:
		return 1
	}
	return 0
}

// addresses that may be asked about, of one Node.
const maxPeers = 64

func bounded(all []netip.Addr) []netip.Addr { return all[:min(len(all), maxPeers)] }
