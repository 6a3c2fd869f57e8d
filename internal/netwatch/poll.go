package netwatch

import (
	"context"
	"net"
	"slices"
	"time"
)

const pollEvery = time.Second

// poll compares the addresses of this machine now and then, and calls event when they differ. A route that changes alone
// goes unseen.
func poll(ctx context.Context, event func()) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	last := addresses()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if now := addresses(); !slices.Equal(now, last) {
			last = now
			event()
		}
	}
}

func addresses() []string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	out := make([]string, len(all))
	for i, a := range all {
		out[i] = a.String()
	}
	return out
}
