package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// maxSent is how often a probe goes where it is sent.
const maxSent = 3

// allocateSomewhere makes the first allocation where the server has it: at itself, or at another one that it sends clients to
// (ALTERNATE-SERVER, RFC 8489 §10). The client that has the allocation is the one of that server, and p.at its address.
func (p *probe) allocateSomewhere(ctx context.Context, c *turnclient.Client) (a turnclient.Allocation, _ *turnclient.Client, ok bool) {
	been := []netip.AddrPort{p.at}
	for {
		a, to, ok := p.allocate(ctx, c)
		if !to.IsValid() {
			return a, c, ok
		}
		if why := p.mayFollow(to, been); why != "" {
			p.add(Fail, "allocate", fmt.Sprintf("it sends clients to %s (300 Try Alternate): %s", to, why),
				"correct where it sends them (turn.alternate; coturn: alternate-server), or empty it")
			return a, c, false
		}
		been = append(been, to)
		p.add(OK, "alternate", fmt.Sprintf("new allocations are made elsewhere: %s sends this client to %s (300 Try Alternate), where it goes on", p.at, to), "")
		next, why := p.dial(ctx, to)
		if why != nil {
			p.add(Fail, why.check, fmt.Sprintf("the server that clients are sent to, %s: %s", to, why.detail),
				why.remedy+"; or take the redirection out (turn.alternate; coturn: alternate-server)")
			return a, c, false
		}
		p.opened, p.at, p.sent, c = append(p.opened, next), to, true, next
	}
}

// mayFollow says why clients cannot follow to an address; empty: they can.
func (p *probe) mayFollow(to netip.AddrPort, been []netip.AddrPort) string {
	switch {
	case p.u.secure():
		return "over TLS and DTLS they cannot tell whether its certificate is the right one, and most do not go there"
	case slices.Contains(been, to):
		return "they have been there already, and go round in circles"
	case len(been) > maxSent:
		return fmt.Sprintf("that is the %dth server in a row", len(been)+1)
	case scopeOf(to.Addr()) == scopeNone || to.Port() == 0:
		return "no server can be there"
	case to.Addr().Is4() != p.at.Addr().Is4():
		return "that is an address of the other family, which they may not have"
	case scopeOf(to.Addr()) < scopeOf(p.at.Addr()):
		return fmt.Sprintf("that is %s, which clients elsewhere do not reach", scopeNames[scopeOf(to.Addr())])
	}
	return ""
}
