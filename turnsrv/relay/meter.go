package relay

import (
	"sync/atomic"
	"time"
)

// Stats are a relay's counters since it was opened. Bytes are payload, without TURN's own framing.
type Stats struct {
	Up, Down Direction // client to peer, peer to client
}

// Direction counts one way of a relay. Dropped has everything that arrived for the relay and was not passed on:
// no permission, unknown channel, full buffers, over the rate limit.
type Direction struct {
	Datagrams, Bytes, Dropped uint64
}

// meter counts and limits one direction of one relay without a lock.
type meter struct {
	datagrams, bytes, dropped atomic.Uint64
	// full is when, in nanoseconds, the allowance would be whole again: the "theoretical arrival time" of the
	// generic cell rate algorithm.
	full atomic.Int64
}

func (m *meter) passed(datagrams, bytes int) {
	m.datagrams.Add(uint64(datagrams))
	m.bytes.Add(uint64(bytes))
}

func (m *meter) drop(n int) { m.dropped.Add(uint64(n)) }

func (m *meter) read() Direction {
	return Direction{m.datagrams.Load(), m.bytes.Load(), m.dropped.Load()}
}

// rate is the limit that all meters of a Plane share.
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

// allow takes n bytes out of the allowance at the time now, or says false.
func (r rate) allow(m *meter, now int64, n int) bool {
	if r.bitsPerSecond == 0 || now == 0 { // 0: the limit came after the clock was asked
		return true
	}
	for {
		full := m.full.Load()
		next := max(full, now) + r.cost(n)
		if next-now > r.burst {
			return false
		}
		if m.full.CompareAndSwap(full, next) {
			return true
		}
	}
}
