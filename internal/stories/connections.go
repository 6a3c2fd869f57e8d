package stories

import "time"

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
	soon        = time.Minute
)

// attempts are the last connections, the oldest first, in a ring. What is dropped from it stays with its story.
type attempts struct {
	ring  []*Connection
	next  int // where the next one goes once the ring is full
	total uint64
}

// begin keeps a new attempt. before is the last one of the same two, nil if there was none.
func (a *attempts) begin(s Signal, before *Connection) *Connection {
	if before != nil && before.Accepted() && before.Path != Relayed && s.At.Sub(before.At) < soon {
		before.Again = s.At
	}
	a.total++
	c := &Connection{Number: a.total, Asker: s.From, Asked: s.To, At: s.At, Answer: s.Answer, Cause: s.Cause}
	if len(a.ring) < maxAttempts {
		a.ring = append(a.ring, c)
		return c
	}
	a.ring[a.next] = c
	a.next = (a.next + 1) % maxAttempts
	return c
}

// forget drops the attempts that a Node had a part in, and reports whether there were any.
func (a *attempts) forget(node string) bool {
	n := len(a.ring)
	kept := make([]*Connection, 0, n)
	for i := range n {
		if c := a.ring[(a.next+i)%n]; c.Asker != node && c.Asked != node {
			kept = append(kept, c)
		}
	}
	a.ring, a.next = kept, 0
	return len(kept) < n
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
// last 4 096 of all are known.
func (k *Keeper) Connections(since time.Time, node string) []Connection {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := []Connection{}
	n := len(k.attempts.ring)
	for i := range n {
		c := k.attempts.ring[(k.attempts.next+n-1-i)%n]
		if c.At.Before(since) {
			break
		}
		if node == "" || c.Asker == node || c.Asked == node {
			list = append(list, *c)
		}
	}
	return list
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
	for _, c := range k.attempts.ring {
		if c.Number == number {
			c.Path = path
			return
		}
	}
}
