package adminapi

import (
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// Recent answers GET /api/events/recent: what happened to all Nodes and to the server, the newest first, as far as why-records
// have it. Query: minutes (60; at most a day), limit (500 at most), failed=1 (only what did not work), node (of one Node alone).
type Recent struct {
	Since  time.Time     `json:"since"`
	Events []nodes.Event `json:"events"`
}

// Connections answers GET /api/connections: what became of the connections that Nodes asked each other for through the Broker in
// the server's process. Query: minutes (60; at most a day), node (those of one Node). The last 4 096 attempts are known.
type Connections struct {
	Since    time.Time     `json:"since"`
	Known    bool          `json:"known"` // false: no Broker runs in the server's process, so nothing is known
	Attempts int           `json:"attempts"`
	Made     int           `json:"made"`     // accepted by the other Node, and not asked for again soon
	Failed   int           `json:"failed"`   // not passed on, refused, not answered, or asked for again within a minute
	Open     int           `json:"open"`     // not answered yet
	Relayed  int           `json:"relayed"`  // of those made: over the relay
	Direct   int           `json:"direct"`   // nothing went over the relay
	Unclear  int           `json:"unclear"`  // over before it could be told, or made just now
	Reasons  []RelayReason `json:"reasons"`  // why those needed the relay, the most frequent first
	Failures []Connection  `json:"failures"` // the newest first, at most 20
}

// History answers GET /api/history: what was relayed over time, in bytes per second. Query: step (minute, of the last day; or hour,
// of the last thirty days), node (what one Node relayed at this machine, with the headers of IP and UDP). In and Out are the means of
// the time in which the server ran; null: it did not run. The last is of the step that is not over, at Until; those before it end at
// whole minutes or hours.
type History struct {
	Step  int           `json:"step"` // seconds
	Until time.Time     `json:"until"`
	In    []*uint64     `json:"in"` // from Nodes to their peers
	Out   []*uint64     `json:"out"`
	Marks []nodes.Event `json:"marks"` // what may explain it, the oldest first: starts, reloads, bans and their ends
}

// RelayReason says why connections needed the relay, as the candidates tell that the Broker passed on.
type RelayReason struct {
	Reason  string    `json:"reason"` // "relay_only", "no_outside", "nat" or "unseen"
	Words   string    `json:"words"`
	Count   int       `json:"count"`
	Example [2]string `json:"example"` // two Nodes whose [Story] shows it
}

// Outcome is what became of an attempt.
type Outcome string

// The outcomes.
const (
	ConnectionMade   Outcome = "made"
	ConnectionFailed Outcome = "failed"
	ConnectionOpen   Outcome = "open"
)

// Path is which way a connection took, judged by what its relays pass half a minute after it was accepted.
type Path string

// The paths.
const (
	PathOpen    Path = "open" // not judged yet
	PathRelayed Path = "relayed"
	PathDirect  Path = "direct"
	PathUnclear Path = "unclear"
)

// Connection is one attempt.
type Connection struct {
	Asker   string    `json:"asker"`
	Asked   string    `json:"asked"`
	At      time.Time `json:"at"`
	Outcome Outcome   `json:"outcome"`
	Path    Path      `json:"path,omitempty"`    // of one that was made
	Reason  string    `json:"reason,omitempty"`  // of one that is relayed, see [RelayReason]
	Words   string    `json:"words"`             // what became of it
	Machine string    `json:"machine,omitempty"` // of a fleet, which knows it best; in a [NodeRecord] alone
}

// Add counts one attempt in.
func (c *Connections) Add(x Connection) {
	c.Attempts++
	switch x.Outcome {
	case ConnectionFailed:
		c.Failed++
	case ConnectionOpen:
		c.Open++
	case ConnectionMade:
		c.Made++
		switch x.Path {
		case PathRelayed:
			c.Relayed++
		case PathDirect:
			c.Direct++
		case PathOpen, PathUnclear:
			c.Unclear++
		}
	}
}
