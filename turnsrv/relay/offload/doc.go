// Package offload relays flows in the kernel: programs (bpf/relay.c) at the place where datagrams come in on an Ethernet
// interface look up what arrives in a table that a [Kernel] keeps, change headers and checksum, and send it on. What they do
// not find, and everything odd, goes on to the sockets. Which program takes a flow is its [Way].
//
// A way from interface to interface is trusted only once flows that moved there were seen to go on. Until then all are held
// on the sockets but for a few that try it: such as had traffic in both directions, whose pauses are known. If answers stay out
// for a second, or the answers to ICE's checks, the flows go back; if the sockets bring answers then, the way is condemned.
//
// The programs hang on links that end with the process. While the process gives no sign of life for two seconds, they leave
// everything to the sockets.
package offload

import (
	"errors"
	"log/slog"
)

// Config configures a [Kernel].
type Config struct {
	// Flows is how many flows there may be; each channel has two. Default 32768, at most a million.
	Flows  int
	Logger *slog.Logger // nil: discard
	// Ways are those that may be taken, in this order; Native then on any interface. Default: Across, TCX, then Native on
	// interfaces that are known to lose nothing by it (veth).
	Ways []Way
}

// Way is where the kernel comes by the datagrams of a flow.
type Way uint8

const (
	// TCX is behind the driver and what puts datagrams together (tcx, Linux 6.6). It takes any flow.
	TCX Way = iota
	// Across is TCX's program, which hands what it relays to the other end of a veth at once, in the network namespace where
	// that is, instead of sending it there. That spares waking whoever takes it in there. It takes flows that leave by such an
	// interface to a known neighbour, if nothing on the interface wants to see what it sends: no queue and no program.
	Across
	// Native is XDP in the driver. It takes flows that leave on the interface on which they come in, to a known neighbour.
	Native
	// Generic is XDP behind the driver, for comparison: it sees datagrams that were put together (GRO) as one, and takes none
	// whose checksum is left to the interface.
	Generic
	numWays
)

var wayNames = [numWays]string{"tcx", "tcx across veth", "xdp native", "xdp generic"}

// String is the name that logs and reports use.
func (w Way) String() string {
	if w < numWays {
		return wayNames[w]
	}
	return "unknown"
}

// ErrUnsupported is what [New] returns where there is no such thing as an offload, whatever the rights of the process.
var ErrUnsupported = errors.New("relaying in the kernel needs Linux 6.6 on amd64, arm64 or riscv64")

// Report says what a [Kernel] does. The numbers are of datagrams since it was made.
type Report struct {
	Interfaces []Interface    // on which flows come in, sorted by name
	Proofs     []Proof        // by interfaces
	Flows      int            // that there are
	Waiting    int            // of these, those without a route by Ethernet or a neighbour at the moment
	Taken      uint64         // relayed in the kernel
	Left       [Causes]uint64 // datagrams of flows that were left to the sockets
}

// Interface is one on which flows come in.
type Interface struct {
	Name   string
	Ways   []Way          // by which the kernel relays there
	Failed map[Way]string // which it does not take any more, and why
}

// Proof says how far a way through the kernel is trusted. What is not, is relayed by the sockets.
type Proof struct {
	In, Out string // the interfaces
	Mode    string // the name of the way
	State   string // untried, trial, doubted (a flow fell silent there), trusted, or condemned
	Reason  string // of condemned
}

// ByCause is Left by the names of the causes.
func (r *Report) ByCause() map[string]uint64 {
	out := make(map[string]uint64)
	for c, n := range r.Left {
		out[Cause(c).String()] = n
	}
	return out
}

// Cause is why a datagram of a flow was left to the sockets.
type Cause uint8

// The causes, in the program's order.
const (
	Settling Cause = iota // the sockets may still have earlier ones of the flow
	Expired               // the flow has run out, or the process gave no sign of life
	Merged                // the kernel had put several into one piece (GRO), or the sender had (GSO)
	Long                  // too long for the way out
	Odd                   // too short for what has to be done to it
	Failed                // the kernel refused; what had been changed by then was dropped
	Proving               // the way is not trusted yet, or the flow fell silent on it
	Causes                // how many there are
)

var causeNames = [Causes]string{"settling", "expired", "merged", "long", "odd", "failed", "proving"}

// String is the name that metrics use.
func (c Cause) String() string {
	if c < Causes {
		return causeNames[c]
	}
	return "unknown"
}
