package broker

import (
	"context"
	"net/netip"
)

// Outcome is how a question to the Decider ended. The zero value is Failed, so that nothing is allowed by accident.
type Outcome uint8

// The outcomes.
const (
	Failed  Outcome = iota // nobody could say: a Node is told to try again
	Allowed                // yes
	Refused                // a decided no, which a Node takes as final
)

// Verdict is an answer of the Decider. Cause is a few plain words for the why-record, without secrets; it may be empty.
type Verdict struct {
	Outcome Outcome
	Cause   string
}

// Admission is the answer to a Node that wants to join. Proven says that the Node showed something which others do not have
// (a token, a signature), so that it may take its id over from an older connection wherever it comes from now.
type Admission struct {
	Verdict

	Proven bool
}

// Join is what a Node says of itself when it connects.
type Join struct {
	Node, Version, Runtime string

	// Data is what the Node gave as data: nil if it gave none, one string as nearly always, or several.
	Data []string
	// Source is where the Node connects from, so that nobody's tries delay those of others.
	Source netip.Addr
}

// Decider knows who may join, who may talk to whom, and what a joining Node is told. It is called from many goroutines at
// once, with ids of every kind, and may take its time: ctx ends when the Node that it concerns has gone.
type Decider interface {
	// Authenticate decides whether the Node may join.
	Authenticate(ctx context.Context, join Join) Admission
	// Configuration makes the Node's RTC configuration, JSON. nil with Allowed is an answer without one: the Node is sent
	// null. source is where it connects from.
	Configuration(ctx context.Context, node string, source netip.Addr) ([]byte, Verdict)
	// Authorize decides whether from may ask to for a connection, or send it a message through the Broker.
	Authorize(ctx context.Context, from, to string) Verdict
	// Invalid is given all Nodes that are connected here, and names those that must go. A failure names nobody.
	Invalid(ctx context.Context, nodes []string, name func(node, cause string))
	// Message takes note of a message that from sends to through the Broker. It must not block.
	Message(from, to string, connected bool)
}
