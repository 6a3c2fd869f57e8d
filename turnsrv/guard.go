package turnsrv

import "errors"

// guard keeps a panic in whatever serves a stranger to that stranger's connection: in accepting it, in its handshake,
// in telling DTLS datagrams apart, and in what package dtls calls on goroutines of its own. What it does there by
// itself is out of reach.
type guard struct {
	counts  *streamCounters
	onPanic func(cause any) // called from within the deferred function
}

// errPanicked is what package dtls is told where one of our functions panicked.
var errPanicked = errors.New("a mistake in the program ended the handshake")

// contain is to be deferred. After a panic it calls end, which ends the connection.
func (g *guard) contain(end func()) {
	cause := recover()
	if cause == nil {
		return
	}
	g.counts.panicked.Add(1)
	g.onPanic(cause)
	end()
}
