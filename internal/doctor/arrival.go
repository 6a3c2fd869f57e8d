package doctor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// arrival checks that datagrams from this machine reach a relay of its own server. Nobody is permitted to send them, so the
// server drops and counts them. This finds a filter on this machine that closes the relay ports, though allocations work,
// and so does what two of them send to each other, which never leaves the process.
func (p *probe) arrival(ctx context.Context, a turnclient.Allocation) {
	l := p.cfg.Local
	if l == nil || p.sent || l.status == nil || l.Admin == nil || !slices.Contains(l.status.URLs, p.u.text) {
		return
	}
	step, cancel := context.WithTimeout(ctx, p.cfg.Patience)
	defer cancel()
	before, here, err := l.seenAt(step, a.Relayed)
	switch {
	case err != nil:
		return
	case !here:
		p.add(Fail, "listener", fmt.Sprintf("another TURN server answers at %s: the running server has no allocation with the relayed address %s", p.at, a.Relayed),
			"stop the other server (coturn?), or correct public.host, DNS or the port forwarding; behind a load balancer, look at each machine by its own address")
		return
	case !l.has(a.Relayed.Addr()):
		return // a NAT is between, and may not lead its own network back in
	}
	filtered := func(how string) {
		p.add(Fail, "ports", fmt.Sprintf("datagrams from this machine do not arrive at the relay port %s: %s", a.Relayed, how),
			fmt.Sprintf("open the UDP ports %d-%d (turn.relay_ports) in this machine's own firewall, and in every other one on the way", l.PortMin, l.PortMax))
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(a.Relayed))
	if err != nil {
		filtered(lastOf(err))
		return
	}
	defer conn.Close()
	again := time.NewTicker(100 * time.Millisecond)
	defer again.Stop()
	why := "they are filtered"
	for {
		if _, err := conn.Write([]byte("crolang-aio doctor")); err != nil {
			why = lastOf(err)
		}
		if now, here, err := l.seenAt(step, a.Relayed); err == nil && (!here || now > before) {
			return
		}
		select {
		case <-again.C:
		case <-step.Done():
			if ctx.Err() == nil {
				filtered(why)
			}
			return
		}
	}
}

// seenAt is how many datagrams the server has counted at a relayed address of its own: what it passed on, and what it
// dropped. Not here: it has no such allocation.
func (l *Local) seenAt(ctx context.Context, relayed netip.AddrPort) (n uint64, here bool, err error) {
	list, err := l.Admin.Find(ctx, relayed.String())
	for _, a := range list.Allocations {
		if a.Relayed == relayed {
			return a.DatagramsOut + a.Drops, true, err
		}
	}
	return 0, false, err
}

// has reports whether an address is one of this machine's.
func (l *Local) has(a netip.Addr) bool { return a.IsLoopback() || slices.Contains(l.own, a) }
