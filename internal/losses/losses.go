// Package losses watches the counters of what is refused, displaced or dropped, so that nothing is lost in silence. While
// something goes on there is a finding with its cause and remedy, and at most one line of the log a minute; if a Node is
// known, it is in the Node's why-record too.
//
// It does not depend on which counters there are: a further cause is shown at once, in general words until [Causes] has
// better ones.
package losses

import "strings"

// Area groups causes by what is lost.
type Area string

// The areas.
const (
	Requests    Area = "requests"    // of clients to the TURN server, that were answered with an error
	Relays      Area = "relays"      // live ones, that ended before their time
	Connections Area = "connections" // of clients to the TURN server, over TCP, TLS and DTLS
	Datagrams   Area = "datagrams"   // that were not relayed or not answered
	Upstream    Area = "upstream"    // questions to the operator's own webhooks
	Messages    Area = "messages"    // notices of messages to them
	Tokens      Area = "tokens"      // of Nodes, that were not checked
	HTTP        Area = "http"        // requests to the listeners of HTTP; a cause is "admin 401"
	Broker      Area = "broker"      // connections of Nodes to the Broker in this process
	Fleet       Area = "fleet"       // entries in the Redis that machines share
	Redis       Area = "redis"       // connections to the embedded Redis, and commands for it
	Records     Area = "records"     // what was known of Nodes
)

// Areas lists them.
func Areas() []Area {
	return []Area{Requests, Relays, Connections, Datagrams, Upstream, Messages, Tokens, HTTP, Broker, Fleet, Redis, Records}
}

// Count is how often something was lost for one cause since the start.
type Count struct {
	Area  Area
	Cause string // a word of the program's own, such as "no_port"
	N     uint64
}

// Cause is what a count means to an operator.
type Cause struct {
	Means  string // in plain words
	Remedy string // what to do about it
	// Least is how many within a minute are worth a finding: more of what any stranger can cause than of what shows that a
	// limit is reached.
	Least uint64
}

// From how many a minute on a cause is found that is usual, or that anybody can bring about.
const (
	some = 20
	many = 200
	mass = 5000
)

// Of returns what is known of a cause, or general words for one that is not in Causes.
func Of(area Area, cause string) Cause {
	if c, ok := causes[area][cause]; ok {
		return c
	}
	return Cause{
		Means:  general[area] + " (" + strings.ReplaceAll(cause, "_", " ") + ")",
		Remedy: "see docs/operations.md", Least: many,
	}
}

// Causes lists the causes of an area that have words of their own.
func Causes(area Area) map[string]Cause { return causes[area] }

var general = map[Area]string{
	Requests: "requests of clients are refused", Relays: "relays are ended", Connections: "connections of clients are turned away", Datagrams: "datagrams are dropped",
	Upstream: "questions to your own webhook have no answer", Messages: "notices of messages are dropped",
	Tokens: "tokens of Nodes are not checked", HTTP: "HTTP requests are refused", Broker: "connections of Nodes are let go", Fleet: "what stands in the fleet's Redis is not believed", Redis: "the embedded Redis refuses something",
	Records: "something that was known of Nodes is lost",
}
