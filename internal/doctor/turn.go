package doctor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// turn makes two allocations, sends through them, and gives them back.
func (p *probe) turn(ctx context.Context, first *turnclient.Client) {
	a, first, ok := p.allocateSomewhere(ctx, first)
	if !ok {
		return
	}
	defer p.release(ctx, first)
	p.arrival(ctx, a)
	if scopeOf(a.Relayed.Addr()) == scopeNone {
		return // said; and nothing is to be sent to, say, a broadcast address that a server names
	}
	second, why := p.dial(ctx, p.at)
	if why != nil {
		why.detail = "a second connection failed: " + why.detail
		p.fail(why)
	} else {
		defer second.Close()
	}
	pair := relayResult{skipped: "there is no second allocation"}
	if second != nil {
		b, err := second.Allocate(ctx, nil)
		if err == nil {
			defer p.release(ctx, second)
			pair = relayPair(ctx, p.cfg.Patience, first, second, a, b)
		} else {
			x := p.explainCode(ctx, err, second)
			p.add(Warn, "relay", "a second allocation is refused, so that relaying between two was not tried: "+x.detail, x.remedy)
		}
	}
	patience := p.cfg.Patience
	if p.cfg.Local != nil && p.cfg.Local.has(a.Relayed.Addr()) {
		patience = min(patience, time.Second) // the server does not relay to its own machine, and may not say so
	}
	peer := relayPeer(ctx, patience, first, a, p.at)
	p.judgeRelays(ctx, a, pair, peer)
}

// allocate makes the first allocation and judges its address. With to the server sends the client there.
func (p *probe) allocate(ctx context.Context, c *turnclient.Client) (a turnclient.Allocation, to netip.AddrPort, ok bool) {
	start := time.Now()
	a, err := c.Allocate(ctx, nil)
	if skew, known := nonceClock(c.Nonce(), p.cfg.Now()); known && skew.Abs() > 2*time.Minute {
		p.add(Warn, "clock", fmt.Sprintf("by its nonce the server's clock is %s", aheadOrBehind(skew)), "set both clocks by NTP: credentials end by the server's")
	}
	var e *turnclient.Error
	if errors.As(err, &e) && e.Alternate.IsValid() {
		return a, e.Alternate, false
	}
	if err != nil {
		why := p.explainCode(ctx, err, c)
		p.add(Fail, "allocate", why.detail, why.remedy)
		return a, to, false
	}
	detail := fmt.Sprintf("relayed address %s for %s, in %s", a.Relayed, a.Lifetime, max(time.Since(start), 100*time.Microsecond).Round(100*time.Microsecond))
	p.add(OK, "allocate", detail, "")
	if why := judgeRelayed(p.at.Addr(), a.Relayed.Addr()); why != nil {
		p.add(Fail, why.check, why.detail, why.remedy)
	}
	return a, to, true
}

// judgeRelayed compares the address that peers are told with the one under which the server was reached.
func judgeRelayed(server, relayed netip.Addr) *failure {
	const remedy = "set the public address: public.ipv4 (coturn: external-ip)"
	s := scopeOf(relayed)
	switch {
	case s == scopeNone:
		return &failure{"address", fmt.Sprintf("the relayed address %s is %s", relayed, scopeNames[s]), remedy}
	case s < scopeOf(server):
		return &failure{
			"address", fmt.Sprintf("the relayed address %s is %s, though the server is reached at %s: peers elsewhere cannot use it",
				relayed, scopeNames[s], server), remedy,
		}
	}
	return nil
}

// release gives an allocation back, even after ctx has ended.
func (p *probe) release(ctx context.Context, c *turnclient.Client) {
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), min(p.cfg.Patience, time.Second))
	defer cancel()
	if granted, err := c.Refresh(last, 0); err != nil && ctx.Err() == nil {
		p.add(Warn, "release", "an allocation could not be given back: "+p.explainCode(ctx, err, c).detail, "it ends by itself")
	} else if err == nil && granted != 0 {
		p.add(Warn, "release", fmt.Sprintf("the server keeps an allocation that was given back, for %s", granted), "it ends by itself")
	}
}

// judgeRelays says what got through: between two allocations, and to and from a peer here.
func (p *probe) judgeRelays(ctx context.Context, a turnclient.Allocation, pair, peer relayResult) {
	switch {
	case pair.skipped != "":
	case pair.both():
		p.add(OK, "relay", "two allocations exchange datagrams, both ways", "")
	case pair.refused != nil:
		p.judgeForbidden(ctx, pair, peer)
	case pair.out || pair.in:
		p.add(Fail, "relay", "between two allocations datagrams arrive in only one direction", "look at the firewall of the server: relay ports must be open both ways, in and out")
	case peer.both():
		p.add(Fail, "relay", "datagrams reach a peer here, but not another allocation: the server does not reach its own relayed address "+a.Relayed.Addr().String(),
			"give the server a route to its own public address (hairpin NAT), or public.ipv4 the right value; clients that only relay cannot meet otherwise")
	default:
		p.add(Fail, "relay", fmt.Sprintf("allocations work, but nothing is relayed between two (relayed address %s)", a.Relayed), relayPortsRemedy)
	}
	p.judgePeer(ctx, a, pair, peer)
}

const relayPortsRemedy = "open the UDP relay ports (turn.relay_ports; coturn: min-port, max-port) in the firewall, publish them from a container, " +
	"and tell the right public address (public.ipv4; coturn: external-ip)"

// judgeForbidden is about a server that takes no relayed address of its own as a peer.
func (p *probe) judgeForbidden(ctx context.Context, pair, peer relayResult) {
	why := p.explainCode(ctx, pair.refused, nil)
	if !forbidden(pair.refused) {
		p.add(Fail, "relay", "a permission for the other allocation is refused: "+why.detail, why.remedy)
		return
	}
	status := Fail
	if peer.both() {
		status = Warn
	}
	p.add(status, "relay", "peer forbidden (403): the server refuses its own relayed address as a peer, so clients that only relay cannot meet",
		"allow it (turn.peers.allow; coturn: allowed-peer-ip, allow-loopback-peers for a test on one machine)")
}

// forbidden reports whether a permission was refused for its peer. Package pion answers that without a code.
func forbidden(err error) bool {
	var e *turnclient.Error
	return errors.As(err, &e) && (e.Code == 403 || e.Code == 0)
}

// judgePeer is about a UDP socket of this machine as a peer.
func (p *probe) judgePeer(ctx context.Context, a turnclient.Allocation, pair, peer relayResult) {
	switch {
	case peer.both() && peer.from.IsValid() && peer.from != a.Relayed:
		p.add(Warn, "peer", fmt.Sprintf("datagrams get through both ways, but come from %s, not from the relayed address %s", peer.from, a.Relayed),
			"let the NAT of the server keep addresses and ports of the relays as they are")
	case peer.both():
		p.add(OK, "peer", fmt.Sprintf("a UDP socket here (%s) and the relay exchange datagrams, both ways", peer.peer), "")
	case forbidden(peer.refused):
		p.judgePeerForbidden(a, pair, peer)
	case pair.both() && !peer.out && !peer.in && p.sameMachine(a, peer):
		p.add(OK, "peer", fmt.Sprintf("the server passes nothing on to its own machine (%s), as it should", peer.peer.Addr()), "")
	case peer.refused != nil:
		why := p.explainCode(ctx, peer.refused, nil)
		p.add(Fail, "peer", "a permission is refused: "+why.detail, why.remedy)
	case peer.skipped != "":
		status := OK
		if !pair.both() {
			status = Warn
		}
		p.add(status, "peer", "relaying to a UDP socket here was not tried: "+peer.skipped, "")
	case peer.out && peer.from.IsValid() && peer.from.Addr() != a.Relayed.Addr():
		p.add(Fail, "peer", fmt.Sprintf("only one direction: what the relay sends arrives, from %s, but nothing comes back through the relayed address that is told, %s",
			peer.from.Addr(), a.Relayed.Addr()), fmt.Sprintf("set the public address to %s: public.ipv4 (coturn: external-ip)", peer.from.Addr()))
	case peer.out:
		p.add(Fail, "peer", fmt.Sprintf("only one direction: what the relay sends arrives, but nothing comes back through the relayed address %s", a.Relayed),
			relayPortsRemedy)
	case peer.in:
		p.add(Fail, "peer", fmt.Sprintf("only one direction: what is sent to the relayed address %s arrives, but nothing that the relay sends to %s", a.Relayed, peer.peer),
			"let outgoing UDP from the relay ports through the server's firewall; or this network drops it")
	default:
		p.add(Fail, "peer", fmt.Sprintf("nothing is relayed between the relayed address %s and a UDP socket here (%s)", a.Relayed, peer.peer), relayPortsRemedy)
	}
}

// sameMachine reports whether a permission was given for a peer on the server's own machine, to which no good server relays:
// crolang-aio grants it, since relays of its own have the address, and then passes on what goes between relays alone.
func (p *probe) sameMachine(a turnclient.Allocation, peer relayResult) bool {
	at := peer.peer.Addr()
	return peer.skipped == "" && peer.refused == nil && (at == a.Relayed.Addr() || at == p.at.Addr() || at.IsLoopback() || p.cfg.Local != nil && p.cfg.Local.has(at))
}

func (p *probe) judgePeerForbidden(a turnclient.Allocation, pair, peer relayResult) {
	if p.cfg.Local != nil && pair.both() {
		p.add(OK, "peer", fmt.Sprintf("the server does not relay to its own machine (403), as it should: whether the ports of %s are open to others, `crolang-aio doctor --url` tells from there",
			a.Relayed.Addr()), "")
		return
	}
	if scopeOf(peer.peer.Addr()) != scopePublic {
		status := OK // a good server does not relay into its own networks
		if !pair.both() {
			status = Warn
		}
		p.add(status, "peer", fmt.Sprintf("peer forbidden (403): the server does not relay to this machine's address %s, so that was not tried", peer.peer.Addr()), "")
		return
	}
	p.add(Warn, "peer", fmt.Sprintf("peer forbidden (403): the server refuses the public address %s as a peer", peer.peer.Addr()),
		"allow public addresses as peers (turn.peers.deny; coturn: denied-peer-ip), unless clients only relay to each other")
}
