// Package adminapi is the language of the admin API: what its server (package admin) answers, and a [Client] that asks it. The
// commands, doctor and the metrics speak it without knowing the server.
package adminapi

import (
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/findings"
	"github.com/crolang-p2p/crolang-aio/internal/nodes"
)

// The answers of the API, as the server writes them and the Client reads them. Lists are never null.

// NodeSummary is a line of GET /api/nodes.
type NodeSummary struct {
	Node              string       `json:"node"`
	Connected         bool         `json:"connected"` // it has joined a Broker
	Banned            bool         `json:"banned"`
	Seen              time.Time    `json:"seen"`
	CredentialsIssued int          `json:"credentials_issued"`
	CredentialEnds    time.Time    `json:"credential_ends,omitzero"`
	Allocations       int          `json:"allocations"` // live ones
	BytesIn           uint64       `json:"bytes_in"`    // of the live ones: from the Node to its peers
	BytesOut          uint64       `json:"bytes_out"`
	Rate              float64      `json:"rate,omitempty"` // of the live ones, bytes per second both ways; 0 until it has been measured
	LastEvent         *nodes.Event `json:"last_event,omitempty"`
	Addresses         []netip.Addr `json:"addresses"` // where it was seen, the newest first
	Broker            *BrokerLink  `json:"broker,omitempty"`
}

// BrokerLink is a Node's connection to the Broker in the server's process. What it counts is of this connection.
type BrokerLink struct {
	From        netip.Addr `json:"from"`
	Runtime     string     `json:"runtime"` // of its library, as it says itself
	Version     string     `json:"version"`
	Since       time.Time  `json:"since"`
	Attempts    uint32     `json:"attempts"` // it has sent, and they were passed on; likewise the next four
	Acceptances uint32     `json:"acceptances"`
	Refusals    uint32     `json:"refusals"`
	Candidates  uint32     `json:"candidates"`
	Messages    uint32     `json:"messages"`
	SentBytes   uint64     `json:"sent_bytes"` // of all of these
	GotBytes    uint64     `json:"got_bytes"`
	RoundTrip   float64    `json:"round_trip_ms,omitempty"` // to the Broker and back, measured every 25 s; left out: not yet
	Machine     string     `json:"machine,omitempty"`       // of a fleet, where that Broker is
}

// Story answers GET /api/story?id=NODE&with=OTHER: how far a connection of two Nodes has come, the one that asked first. It is
// known where the Broker runs in the server's process.
type Story struct {
	Nodes        [2]string   `json:"nodes"`
	Steps        []StoryStep `json:"steps"`             // in the order in which a connection comes about
	Missing      string      `json:"missing,omitempty"` // the first step that is not done; empty: none
	Conclusion   string      `json:"conclusion"`
	Messages     int         `json:"messages"` // that they sent each other through the Broker
	MessageBytes uint64      `json:"message_bytes"`
	Last         time.Time   `json:"last,omitzero"` // when the Broker last passed anything on between them
	// Unanswered are machines of the fleet whose part is not in it.
	Unanswered []Unanswered `json:"unanswered,omitempty"`
}

// StoryStep is one step of a connection.
type StoryStep struct {
	Name   string    `json:"name"`
	State  StepState `json:"state"`
	Detail string    `json:"detail"`
}

// StepState is how a step stands.
type StepState string

// The states of steps.
const (
	StepDone    StepState = "done"
	StepMissing StepState = "missing" // it has not come
	StepFailed  StepState = "failed"  // it came, and the answer was no
)

// NodeList answers GET /api/nodes. Query: q (part of an id), state (connected, relaying, refused: its newest event is a failure,
// or banned), sort (seen, rate, traffic or name), limit, offset.
type NodeList struct {
	Nodes []NodeSummary `json:"nodes"`
	Total int           `json:"total"` // that matched, of which limit are listed
}

// NodeRecord answers GET /api/nodes/{id}: all that is known of one Node, with the why-record, oldest event first.
type NodeRecord struct {
	Node              string        `json:"node"`
	Banned            bool          `json:"banned"`
	Ban               *nodes.Ban    `json:"ban,omitempty"`
	Connected         bool          `json:"connected"`
	Checked           time.Time     `json:"checked,omitzero"`
	Seen              time.Time     `json:"seen,omitzero"`
	CredentialsIssued int           `json:"credentials_issued"`
	CredentialEnds    time.Time     `json:"credential_ends,omitzero"`
	Addresses         []netip.Addr  `json:"addresses"`
	Allocations       []Allocation  `json:"allocations"`
	Events            []nodes.Event `json:"events"`
	Broker            *BrokerLink   `json:"broker,omitempty"`
	Partners          []string      `json:"partners"`    // whom it has a [Story] with, the latest first
	Connections       []Connection  `json:"connections"` // attempts of the last day that it had a part in, the newest first
	Usage             *UsageOfMonth `json:"usage,omitempty"`

	// Where there are several machines the record is of all, as far as they have answered. Ban is what is in force here.
	Machine     string       `json:"machine,omitempty"`      // which answers; empty: it is alone
	ConnectedAt []string     `json:"connected_at,omitempty"` // machines at which the Node is connected to a Broker, or was a moment ago
	Unanswered  []Unanswered `json:"unanswered,omitempty"`   // machines whose part is not in it
	LeftOut     int          `json:"left_out,omitempty"`     // allocations at other machines that are not listed, since there are so many
}

// Allocation is a live allocation, as the TURN server lists it. Counters are as of the listing.
type Allocation struct {
	ID        string         `json:"id"` // unique while the process runs
	Node      string         `json:"node"`
	Transport string         `json:"transport"` // "udp", "tcp", "tls" or "dtls": between client and server
	Client    netip.AddrPort `json:"client"`
	Relayed   netip.AddrPort `json:"relayed"` // as told to the client
	// Also is the relayed address in the other family, of a client that asked for both.
	Also         netip.AddrPort `json:"also_relayed,omitzero"`
	Created      time.Time      `json:"created"`
	Expires      time.Time      `json:"expires"`  // unless it is refreshed
	BytesIn      uint64         `json:"bytes_in"` // payload from the client to its peers
	BytesOut     uint64         `json:"bytes_out"`
	DatagramsIn  uint64         `json:"datagrams_in"`
	DatagramsOut uint64         `json:"datagrams_out"`
	Drops        uint64         `json:"drops"`          // datagrams not relayed, both ways
	Rate         float64        `json:"rate,omitempty"` // bytes per second both ways; 0 until it has been measured
	Peers        int            `json:"peers"`          // permissions in force
	Channels     int            `json:"channels"`
	// Relays is "tcp" for a relay of TCP (RFC 6062), and empty for those of UDP. Its datagrams are full segments, and its drops
	// are connections that came to nothing.
	Relays      string `json:"relays,omitempty"`
	Connections int    `json:"connections,omitempty"` // with peers, of a relay of TCP
	Machine     string `json:"machine,omitempty"`     // of a fleet, where it is; in a [NodeRecord] alone
}

// Addresses are the relayed addresses, for people, and that they are for TCP if they are.
func (a *Allocation) Addresses() string {
	all := a.Relayed.String()
	if a.Also.IsValid() {
		all += " and " + a.Also.String()
	}
	if a.Relays == "tcp" {
		all += " for TCP"
	}
	return all
}

// AllocationList answers GET /api/allocations. Query: node (exactly), q (part of an id or address), sort (newest, rate, traffic or
// drops), limit, offset.
type AllocationList struct {
	Allocations []Allocation `json:"allocations"`
	Total       int          `json:"total"`
}

// BanList answers GET /api/bans. Query: q (part of an id), limit, offset.
type BanList struct {
	Bans  []Ban `json:"bans"`
	Total int   `json:"total"`
}

// BanRequest is the body of POST /api/bans. For is a Go duration or a number of days ("1h30m", "365d"); empty: for good.
type BanRequest struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
	For    string `json:"for"`
}

// BanAnswer answers it, with 201: the ban is in force, so many allocations of the Node were closed, and an earlier ban on it
// was replaced or not. Kept is false while the disk takes nothing: a restart would lose the ban until it does.
type BanAnswer struct {
	Node     string `json:"node"`
	Closed   int    `json:"closed"`
	Cut      bool   `json:"disconnected,omitempty"` // from the Broker in the server's process
	Kept     bool   `json:"kept"`
	Replaced bool   `json:"replaced,omitempty"`
	// Fleet is how far it has come where there are more machines; Closed counts what those closed too.
	Fleet *Spread `json:"fleet,omitempty"`
}

// Readiness answers GET /readyz: 200 if NotReady is empty, else 503.
type Readiness struct {
	Ready    bool     `json:"ready"`
	NotReady []string `json:"not_ready"` // names of parts, such as "turn" or "draining"
	// Degraded names the parts that serve, but not all clients as they should, such as "certificate". The server is ready
	// all the same.
	Degraded []string `json:"degraded,omitempty"`
	Drain    *Drain   `json:"drain,omitempty"`
}

// Drain answers POST /api/drain, with 202: from now on no new allocation is taken, and the server ends when the live ones
// have ended or the time is over.
type Drain struct {
	Allocations int     `json:"allocations"`  // still live
	SecondsLeft float64 `json:"seconds_left"` // until those are ended
}

// Problem is the body of every error.
type Problem struct {
	Error string `json:"error"`
}

// Status answers GET /api/status: what runs here, for the commands and the dashboard. It holds no secret.
type Status struct {
	Version     string             `json:"version"`
	Commit      string             `json:"commit"`
	Go          string             `json:"go"`
	Now         time.Time          `json:"now"` // the server's clock
	Started     time.Time          `json:"started"`
	BrokerSeen  time.Time          `json:"broker_seen,omitzero"` // when a Broker last called a webhook; zero: never
	Draining    bool               `json:"draining"`
	Drain       *Drain             `json:"drain,omitempty"` // while draining
	NotReady    []string           `json:"not_ready"`
	Listeners   []Listener         `json:"listeners"`
	URLs        []string           `json:"urls"`            // ICE URLs as clients are told them
	NodesURL    string             `json:"nodes_url"`       // where Nodes connect to the Broker in this process; empty: there is none
	HTTPS       []Web              `json:"https,omitempty"` // what is served at the TLS ports of the TURN server
	Public      Public             `json:"public"`
	Certificate *Certificate       `json:"certificate,omitempty"`
	Limits      map[string]int64   `json:"limits"`              // by configuration key; 0: no limit
	BrokerEnv   []string           `json:"broker_env"`          // NAME=value lines; a token in them is replaced by TOKEN
	Warnings    []findings.Finding `json:"warnings"`            // what looks wrong with the set-up
	Policy      map[string]uint64  `json:"policy,omitempty"`    // what the policy of the webhooks has done: words and how often, above 0
	History     bool               `json:"history,omitempty"`   // GET /api/history has what was relayed
	Fleet       bool               `json:"fleet,omitempty"`     // GET /api/fleet lists machines
	ReadOnly    bool               `json:"read_only,omitempty"` // whoever asks may look and change nothing
	Offload     Offload            `json:"offload"`
}

// Listener is a socket that is up.
type Listener struct {
	Part      string `json:"part"`      // "turn", "broker", "hooks", "admin", "redis"; "certs" while a CA asks by http-01
	Transport string `json:"transport"` // "udp", "tcp", "tls", "dtls", "http"
	Address   string `json:"address"`
}

// Web is a part that is reached over HTTPS at the TURN server's TLS ports.
type Web struct {
	Part string `json:"part"` // "broker", "hooks", "admin"
	URL  string `json:"url"`
}

// Public is what clients are told of this server.
type Public struct {
	Host string `json:"host"`
	IPv4 string `json:"ipv4"` // empty: none
	IPv6 string `json:"ipv6"`
}

// Certificate is the one that TLS and DTLS clients get.
type Certificate struct {
	Kind       string    `json:"kind"`               // where it comes from: "self-signed", "files" or "acme"
	StandIn    bool      `json:"stand_in,omitempty"` // a self-signed one in place of what was to come from there, which cannot be used
	Source     string    `json:"source"`             // "self-signed", or the file
	Names      []string  `json:"names"`
	NotBefore  time.Time `json:"not_before"`
	NotAfter   time.Time `json:"not_after"`
	SelfSigned bool      `json:"self_signed"`
}

// TurnStats are the TURN server's counters since the start.
type TurnStats struct {
	Transports []TransportStats
	Refusals   []Refusal         // by code and cause, of which there are few
	Challenges uint64            // requests without a credential that were asked for one, which is no refusal
	Drops      map[string]uint64 // datagrams that were not relayed or answered, by cause
	Strangers  int               // connections that have no allocation, now
	Hellos     uint64            // first ClientHellos of DTLS, which are answered with a cookie and forgotten
	HalfOpen   int               // connections that have not said what they are, or not finished their handshake, now
	Accepted   uint64            // connections of TCP and TLS, and DTLS associations
	Cut        map[string]uint64 // allocations that were ended because a limit of the month was reached, by cause
	TurnedAway map[string]uint64 // those that were refused, displaced or broke off before they were served, by cause
	Tables     int64             // bytes kept for Nodes' allocations, permissions and channels, by estimate, now
	MostTables int64             // those of the Node that has most
	Ports      int               // relay ports in the configuration; 0: unknown
	PortsUsed  int
	Panics     uint64 // messages at which a handler failed that should never fail
	Offload    Offload
}

// Offload is what the kernel relays of channels.
type Offload struct {
	On         bool               `json:"on"`
	Reason     string             `json:"reason,omitempty"` // why it is not on, or relays nothing
	Interfaces []OffloadInterface `json:"interfaces,omitempty"`
	Ways       []OffloadWay       `json:"ways,omitempty"`  // how far they are trusted
	Flows      int                `json:"flows"`           // two for each channel that the kernel knows
	Waiting    int                `json:"waiting"`         // of these, those that have no way through the kernel at the moment
	Apart      map[string]int     `json:"apart,omitempty"` // channels that the sockets relay, by why
	Taken      uint64             `json:"taken"`           // datagrams relayed in the kernel
	Left       map[string]uint64  `json:"left,omitempty"`  // datagrams of flows that were left to the sockets, by cause
}

// OffloadInterface is one on which datagrams of channels come in.
type OffloadInterface struct {
	Name   string            `json:"name"`
	Modes  []string          `json:"modes,omitempty"`  // in which the kernel relays them: tcx, xdp native; none: only the sockets do
	Failed map[string]string `json:"failed,omitempty"` // modes that are passed over, and why
}

// OffloadWay is a way through the kernel from an interface to another. Only what is trusted relays more than a trial.
type OffloadWay struct {
	In     string `json:"in"`
	Out    string `json:"out"`
	Mode   string `json:"mode"`  // tcx
	State  string `json:"state"` // untried, trial, doubted, trusted or condemned
	Reason string `json:"reason,omitempty"`
}

// TransportStats are those of one transport between clients and this server.
type TransportStats struct {
	Transport   string // "udp", "tcp", "tls", "dtls"
	Allocations int    // live
	Opened      uint64 // allocations since the start
	Connections int    // open now; 0 for udp
	In, Out     Flow   // from clients to peers and back, of live and ended allocations
}

// Flow counts one direction. Bytes are payload.
type Flow struct {
	Datagrams, Bytes uint64
}

// Refusal is an error answer of the TURN server, by STUN error code and cause.
type Refusal struct {
	Code  int
	Cause string
	Count uint64
}

// Loss counts what was lost for one cause since the start. Area and Cause are words of package losses.
type Loss struct {
	Area  string `json:"area"`
	Cause string `json:"cause"`
	Means string `json:"means"`
	Count uint64 `json:"count"`
}

// Figure is a number with its name in plain words.
type Figure struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

// Live is the data of a "stats" event of GET /api/events: totals since the start unless said otherwise.
type Live struct {
	Time         time.Time         `json:"time"`
	Nodes        int               `json:"nodes"`       // remembered now
	Connected    int               `json:"connected"`   // now
	Bans         int               `json:"bans"`        // in force now
	Allocations  int               `json:"allocations"` // live now
	ByTransport  map[string]int    `json:"by_transport"`
	Opened       uint64            `json:"opened"`
	BytesIn      uint64            `json:"bytes_in"`
	BytesOut     uint64            `json:"bytes_out"`
	DatagramsIn  uint64            `json:"datagrams_in"`
	DatagramsOut uint64            `json:"datagrams_out"`
	Drops        uint64            `json:"drops"`
	Losses       []Loss            `json:"losses"`   // but for refusals: what was displaced, dropped or turned away, by cause
	Figures      []Figure          `json:"figures"`  // what else is counted
	Refusals     map[string]uint64 `json:"refusals"` // "486 node_full": n; code 0: by the webhooks, such as "0 authentication"
	Draining     bool              `json:"draining"`
	Drain        *Drain            `json:"drain,omitempty"` // while draining
	NotReady     []string          `json:"not_ready"`
}
