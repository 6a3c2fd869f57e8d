// Package netwatch notices that addresses or routes of this machine have changed: from the kernel's own notifications on
// Linux, elsewhere by looking every second.
package netwatch

import (
	"context"
	"time"
)

// settle is how long changes that come one after the other, as when an interface goes up, are taken for one.
const settle = 50 * time.Millisecond

// Run calls changed after addresses or routes of this machine have changed, within a second, until ctx ends. changed is
// called from one goroutine; it may be called when nothing that matters has changed.
func Run(ctx context.Context, changed func()) error {
	events := make(chan struct{}, 1)
	ended := make(chan struct{})
	watching, stop := context.WithCancel(ctx)
	go func() {
		defer close(ended)
		watch(watching, func() {
			select {
			case events <- struct{}{}:
			default:
			}
		})
	}()
	defer func() { stop(); <-ended }()
	wait := time.NewTimer(settle)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-events:
		}
		wait.Reset(settle)
		select {
		case <-ctx.Done():
			return nil
		case <-wait.C:
		}
		select {
		case <-events: // those of the time waited for
		default:
		}
		changed()
	}
}
