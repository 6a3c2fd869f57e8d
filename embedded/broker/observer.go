package broker

import (
	"net/netip"
	"time"
)

// Kind is what an [Event] is about.
type Kind uint8

// The kinds of events.
const (
	// Joined: Node is connected. From, Version, Runtime; Took since the connection was opened.
	Joined Kind = iota + 1
	// JoinRefused: Node was told no, for Cause; Answer is Unauthorized if a policy said so. From, Version, Runtime.
	JoinRefused
	// JoinFailed: Node was told to try again, for Cause. From, Version, Runtime.
	JoinFailed
	// Left: Node is not connected any more, for Cause; Took since it joined. Lost where neither the Node nor [Broker.Disconnect]
	// ended the connection. It is observed before another connection can join with the id.
	Left
	// Answered: Node sent the event Name for Peer, of Bytes, and was given Answer; Cause where a policy said no. Candidates
	// are those that were in it.
	Answered
	// Arrived: Peer, who is connected here, was sent the event Name of Node by another Broker. Bytes and Candidates are those of
	// the event; who Node is only its payload says.
	Arrived
)

// Answers of an [Event] that others look at.
const (
	OK           = answerOK
	Unauthorized = answerUnauthorized
)

// Event is something that happened to a Node. Contents of messages are never in it.
type Event struct {
	Kind       Kind
	Node, Peer string
	Name       string // one of the events of the protocol
	Answer     string // OK, ERROR, UNAUTHORIZED, NOT_CONNECTED, DISABLED
	Candidates Candidates
	Cause      string
	Version    string // of the Node's library
	Runtime    string // JVM, …
	From       netip.Addr
	Bytes      int
	Took       time.Duration
	Lost       bool
}

// Observer is told what happens. It is called from many goroutines at once and must not block.
type Observer interface{ Observe(Event) }

type noObserver struct{}

func (noObserver) Observe(Event) {}
