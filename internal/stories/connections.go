package stories

import (
	"container/list"
	"time"
)

// Kinds is a set of kinds of ICE candidates.
type Kinds uint8

// The kinds (RFC 8445 section 4).
const (
	Host  Kinds = 1 << iota
	Srflx       // the address under which a STUN server sees the Node
	Prflx
	Relay
	Other
)

func kindOf(candidate string) Kinds {
	switch candidate {
	case "host":
		return Host
	case "srflx":
		return Srflx
	case "prflx":
		return Prflx
	case "relay":
		return Relay
	}
	return Other
}

// Path is which way a connection took, as far as this server can tell.
type Path uint8

// The paths of a connection.
const (
	Unsettled Path = iota // nobody has looked yet, or it did not come about
	Relayed               // datagrams went on over a relay of one of the two
	Direct                // none did, though it was accepted
	Unclear               // it was over before that could be told
)

// Connection is one attempt of a Node to connect to another.
type Connection struct {
	Number       uint64 // unique while the process runs
	Asker, Asked string
	At           time.Time
	Answer       string    // the Broker's
	Cause        string    // why a policy said no
	Reply        string    // the event with which Asked answered; empty: none came
	Replied      time.Time // when; zero: never
	FromAsker    Kinds     // of the candidates that passed the Broker
	FromAsked    Kinds
	Path         Path
	Again        time.Time // when the same two tried again soon after, so that it can be taken to have failed; zero: they did not
}

// Accepted reports whether the other Node accepted.
func (c *Connection) Accepted() bool { return c.Reply == Acceptance }

const (
	maxAttempts = 4096 // the last ones that are kept
	maxOfOne    = 256  // of them, one Node's own: it cannot push out what others asked for
	soon        = time.Minute
)

// attempts are the last connections, the oldest first. What is dropped stays with its story.
type attempts struct {
	all   list.List             // of *Connection
	of    map[string]*list.List // of the elements of all that a Node asked for
	total uint64
}

// begin keeps a new attempt. before is the last one of the same two, nil if there was none.
func (a *attempts) begin(s Signal, before *Connection) *Connection {
	if before != nil && before.Accepted() && before.Path != Relayed && s.At.Sub(before.At) < soon {
		before.Again = s.At
	}
	a.total++
	c := &Connection{Number: a.total, Asker: s.From, Asked: s.To, At: s.At, Answer: s.Answer, Cause: s.Cause}
	if own := a.of[c.Asker]; own != nil && own.Len() >= maxOfOne {
		a.remove(own.Front().Value.(*list.Element))
	} else if a.all.Len() >= maxAttempts {
		a.remove(a.all.Front())
	}
	a.add(c)
	return c
}

func (a *attempts) add(c *Connection) {
	if a.of == nil {
		a.of = make(map[string]*list.List)
	}
	own := a.of[c.Asker]
	if own == nil {
		own = list.New()
		a.of[c.Asker] = own
	}
	own.PushBack(a.all.PushBack(c))
}

// remove drops an attempt that is the oldest of its asker.
func (a *attempts) remove(e *list.Element) {
	c := a.all.Remove(e).(*Connection)
	own := a.of[c.Asker]
	own.Remove(own.Front())
	if own.Len() == 0 {
		delete(a.of, c.Asker)
	}
}

// forget drops the attempts that a Node had a part in, and reports whether there were any.
func (a *attempts) forget(node string) bool {
	var kept []*Connection
	for e := a.all.Front(); e != nil; e = e.Next() {
		if c := e.Value.(*Connection); c.Asker != node && c.Asked != node {
			kept = append(kept, c)
		}
	}
	if len(kept) == a.all.Len() {
		return false
	}
	a.all.Init()
	clear(a.of)
	for _, c := range kept {
		a.add(c)
	}
	return true
}

// reply notes how the other Node answered. Without an attempt there is nothing to note it of.
func (c *Connection) reply(s Signal) {
	if c != nil {
		c.Reply, c.Replied = s.Event, s.At
	}
}

func (c *Connection) candidates(s Signal) {
	if c == nil {
		return
	}
	of := &c.FromAsked
	if s.From == c.Asker {
		of = &c.FromAsker
	}
	for kind := range s.Candidates {
		*of |= kindOf(kind)
	}
}

// Connections returns the attempts at since or later, the newest first; where node is not empty those of that Node alone. The
// last 4 096 of all are known, and of those the last 256 that one Node asked for.
func (k *Keeper) Connections(since time.Time, node string) []Connection {
	k.mu.Lock()
	defer k.mu.Unlock()
	found := []Connection{}
	for e := k.attempts.all.Back(); e != nil; e = e.Prev() {
		c := e.Value.(*Connection)
		if c.At.Before(since) {
			break
		}
		if node == "" || c.Asker == node || c.Asked == node {
			found = append(found, *c)
		}
	}
	return found
}

// Open returns the accepted attempts at since or later whose path nobody has settled.
func (k *Keeper) Open(since time.Time) []Connection {
	all := k.Connections(since, "")
	open := all[:0]
	for _, c := range all {
		if c.Accepted() && c.Path == Unsettled {
			open = append(open, c)
		}
	}
	return open
}

// Settle notes which way a connection took.
func (k *Keeper) Settle(number uint64, path Path) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for e := k.attempts.all.Back(); e != nil; e = e.Prev() { // it is one of the last, most likely
		if c := e.Value.(*Connection); c.Number == number {
			c.Path = path
			return
		}
	}
}
