package broker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// Alive makes a request to the Broker's own listener, as a Node does, and returns nil when it is answered; it tries again until
// ctx ends. Where this machine's address has no place left it is enough that connections are turned away. A Broker without a
// listener is alive.
func (b *Broker) Alive(ctx context.Context) error {
	if b.ln == nil {
		return nil
	}
	addr := b.ln.Addr().String()
	if at, err := netip.ParseAddrPort(addr); err == nil {
		at, _ = listen.Bound(at).Nearby()
		addr = at.String()
	}
	away := func() uint64 { return b.counts.overShare.Load() + b.counts.full.Load() + b.counts.displaced.Load() }
	before := away()
	once := &http.Transport{DisableKeepAlives: true, DialContext: new(net.Dialer).DialContext}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", http.NoBody)
		if err != nil {
			return err
		}
		resp, err := once.RoundTrip(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode != http.StatusNotFound {
				return fmt.Errorf("%s is answered by another program, with %d", addr, resp.StatusCode)
			}
			return nil
		}
		if away() > before {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", errors.Join(err, ctx.Err()))
		case <-time.After(100 * time.Millisecond):
		}
	}
}
