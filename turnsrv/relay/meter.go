package relay

import (
	"sync/atomic"
	"time"
)

// Cause is why a datagram that arrived for a relay was not passed on.
type Cause uint8

// The causes of drops.
const (
	NoPermission Cause = iota // the peer has no permission, or it has run out, and no channel
	NoChannel                 // ChannelData of a number that is not bound
	OverLimit                 // faster than Config.BitsPerSecond
	QueueFull                 // the socket, or the client's connection, takes no more at the moment
	PeerDenied                // the peer policy, a listener of this server, or an address that only relays may have
	TooLarge                  // it fits into no datagram or message of the way that is left
	Malformed                 // no ChannelData, Send indication or datagram that could be passed on
	Unsent                    // the system refused it, the relay or its client's connection has ended, or the client has just moved
	OverTotal                 // more than its Share of Config.TotalBitsPerSecond
	UntoldICMP                // an ICMP message: without a permission, one too many, or of a type that clients are not told of
	Causes                    // how many there are
)

var causeNames = [Causes]string{
	"no_permission", "no_channel", "over_limit", "queue_full", "peer_denied", "too_large", "malformed", "unsent", "over_total", "icmp",
}

// String is the name that metrics use.
func (c Cause) String() string {
	if c < Causes {
		return causeNames[c]
	}
	return "unknown"
}

// Stats are a relay's counters since it was opened. Bytes are payload, without TURN's own framing.
type Stats struct {
	Up, Down Direction // client to peer, peer to client
}

// Direction counts one direction of a relay. Dropped counts everything that arrived for the relay and was not passed
// on, and Drops the same by [Cause].
type Direction struct {
	Datagrams, Bytes, Dropped uint64

	Drops [Causes]uint64
}

// Add adds what another direction counted.
func (d *Direction) Add(o Direction) {
	d.Datagrams += o.Datagrams
	d.Bytes += o.Bytes
	d.Dropped += o.Dropped
	for i, n := range o.Drops {
		d.Drops[i] += n
	}
}

// Sub takes away what it counted at an earlier time.
func (d *Direction) Sub(o Direction) {
	d.Datagrams -= o.Datagrams
	d.Bytes -= o.Bytes
	d.Dropped -= o.Dropped
	for i, n := range o.Drops {
		d.Drops[i] -= n
	}
}

// meter counts and limits one direction of one relay without a lock.
type meter struct {
	datagrams, bytes atomic.Uint64
	dropped          [Causes]atomic.Uint64
	// full is when, in nanoseconds, the allowance would be whole again: the "theoretical arrival time" of the
	// generic cell rate algorithm.
	full atomic.Int64
}

func (m *meter) passed(datagrams, bytes int) {
	m.datagrams.Add(uint64(datagrams))
	m.bytes.Add(uint64(bytes))
}

func (m *meter) drop(why Cause, n int) { m.dropped[why].Add(uint64(n)) }

func (m *meter) read() Direction {
	d := Direction{Datagrams: m.datagrams.Load(), Bytes: m.bytes.Load()}
	for i := range m.dropped {
		d.Drops[i] = m.dropped[i].Load()
		d.Dropped += d.Drops[i]
	}
	return d
}

// rate is a limit.
type rate struct {
	bitsPerSecond int64
	burst         int64 // nanoseconds' worth that may come at once
}

// newRate lets a quarter of a second's worth come at once, and never less than two of the largest datagrams: a key
// frame of a video is a burst.
func newRate(bitsPerSecond int64) rate {
	r := rate{bitsPerSecond: bitsPerSecond}
	if bitsPerSecond > 0 {
		r.burst = max(int64(250*time.Millisecond), r.cost(2*65535))
	}
	return r
}

// cost is the time in nanoseconds that n bytes take at the limit.
func (r rate) cost(n int) int64 { return int64(float64(n) * 8e9 / float64(r.bitsPerSecond)) }

// allow takes n bytes out of the allowance at the time now, or reports false.
func (r rate) allow(at *atomic.Int64, now int64, n int) bool {
	if r.bitsPerSecond == 0 || now == 0 { // 0: the limit came after the clock was asked
		return true
	}
	for {
		full := at.Load()
		next := max(full, now) + r.cost(n)
		if next-now > r.burst {
			return false
		}
		if at.CompareAndSwap(full, next) {
			return true
		}
	}
}
