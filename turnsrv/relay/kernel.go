package relay

import (
	"net/netip"
	"time"
)

// Kernel relays flows below the sockets: what arrives as one [Leg] says leaves as another does. What it cannot relay at the
// moment, or what is odd, it leaves to the sockets. It is of one [Plane]. Its methods may be called from any goroutine, and must
// not block for long.
type Kernel interface {
	// Enter begins with a flow, which ends by itself after life unless [Kernel.Extend] is called. The first datagrams are left
	// to the sockets until it is certain that none overtakes an earlier one. ok is false where the kernel never relays such a
	// flow, or no more of them.
	Enter(in, out Leg, life time.Duration) (flow int, ok bool)
	// Extend lets a flow live for so long from now on.
	Extend(flow int, life time.Duration)
	// Leave ends a flow. When it returns, nothing of it is relayed by the kernel any more. It returns the last [Kernel.Count].
	Leave(flow int) (datagrams, bytes uint64)
	// Count is how much has been relayed of a flow, in bytes without TURN's framing.
	Count(flow int) (datagrams, bytes uint64)
	// Now is the clock of Settled.
	Now() time.Duration
	// Settling appends those flows to a slice of which datagrams were just left to the sockets because of their order.
	Settling(flows []int) []int
	// Settled says that the sockets have sent on everything of the flow that had arrived there at that time. gone reports
	// whether all that has left the queues behind the socket too; it is called before Settled returns, if at all.
	Settled(flow int, at time.Duration, gone func() bool)
}

// Leg is a flow on one side of the server. The addresses are concrete.
type Leg struct {
	From, To netip.AddrPort
	Channel  uint16 // of ChannelData, 0: plain datagrams
}

// Apart is why a channel is not relayed by Config.Kernel.
type Apart uint8

// The reasons.
const (
	Taken        Apart = iota // it is, or will be when there is a way
	OverStream                // a client is on TCP, TLS or DTLS
	Limited                   // there is a limit of bits per second
	FleetDecides              // each datagram is asked about (Config.Sibling)
	Families                  // its two sides are of different families
	OneWay                    // it leads to another client of this server, which has no channel back
	Untaken                   // the kernel takes no such flow, or no more of them
	Aparts                    // how many there are
)

var apartNames = [Aparts]string{"taken", "transport", "limit", "fleet", "family", "one_way", "kernel"}

// String is the name that metrics use.
func (a Apart) String() string {
	if a < Aparts {
		return apartNames[a]
	}
	return "unknown"
}

// Apart is how many channels there are, by why the kernel does not relay them. Without Config.Kernel there are none.
func (p *Plane) Apart() (n [Aparts]int) {
	if p.kernel == nil {
		return n
	}
	return p.kernel.report()
}
