package relay

import "sync"

// gate lets Close wait until nobody is in the middle of relaying. Whoever relays does so inside a lane and looks at
// a relay's dead flag there, before every use of its socket. Close sets the flag and then passes through every lane:
// after that nothing of the relay is on its way, and its descriptor can be closed without anybody reading from or
// writing to a number that has become somebody else's. It is the same with a relay's path, and where its client is sent
// to. No lane is held while a Handler or another callback runs, so Close may be called from there.
type gate struct{ lanes []lane }

type lane struct {
	sync.RWMutex
	_ [40]byte // a cache line each
}

func newGate(n int) gate { return gate{make([]lane, max(n, 1))} }

// wait returns when everything that was inside a lane has left it.
func (g *gate) wait() {
	for i := range g.lanes {
		g.lanes[i].Lock()
		g.lanes[i].Unlock() //nolint:staticcheck // passing through is the point
	}
}
