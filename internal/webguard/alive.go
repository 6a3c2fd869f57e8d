package webguard

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"

	"github.com/crolang-p2p/crolang-aio/internal/listen"
)

// Alive makes a request to the Guard's own listener, as a client does, and returns nil when it is answered. Checks,
// queue and handler do not see it, so a server that is merely busy counts as alive, and one that hangs does not.
func (g *Guard) Alive(ctx context.Context) error {
	addr := g.Addr().String()
	if at, err := netip.ParseAddrPort(addr); err == nil {
		at, _ = listen.Bound(at).Nearby() // the wildcard of IPv6 takes IPv4 too, unless the socket was made otherwise
		addr = at.String()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+g.probe, http.NoBody)
	if err != nil {
		return err
	}
	once := &http.Transport{DisableKeepAlives: true, DialContext: new(net.Dialer).DialContext}
	resp, err := once.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("no answer: %w", err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		return fmt.Errorf("%s is answered by another program, with %d", addr, resp.StatusCode)
	}
	return nil
}
