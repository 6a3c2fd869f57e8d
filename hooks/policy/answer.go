package policy

import "net/netip"

// Verdict is what was decided about a question. The zero value is No.
type Verdict uint8

// The verdicts.
const (
	No     Verdict = iota
	Yes            // as configured, or because hooks.upstream.fail_open lets through what could not be decided
	Failed         // nobody could decide now: it counts as no, but the same question may get another answer later
)

// Answer is a verdict and, in plain words without secrets, what led to it: for the why-record. A Yes may have no cause.
type Answer struct {
	Verdict Verdict
	Cause   string
}

// OK reports whether the answer is yes.
func (a Answer) OK() bool { return a.Verdict == Yes }

func yes() Answer                { return Answer{Verdict: Yes} }
func no(cause string) Answer     { return Answer{No, cause} }
func failed(cause string) Answer { return Answer{Failed, cause} }

// Request is a Node that wants to come in.
type Request struct {
	Node   string     // a valid id, as the Broker spells it
	Source netip.Addr // the address that the Node connects from; the zero value if only its Broker knows
	Data   []byte     // what the Node sent along, any JSON text; nil if it sent nothing
	Body   []byte     // the Broker's call as it came; nil if the Broker is in this process
}

// Message is one that went from a Node to another through the Broker.
type Message struct {
	From, To  string // any text
	Connected bool   // whether the Broker has To
	Body      []byte // the Broker's call as it came; nil if the Broker is in this process
}
