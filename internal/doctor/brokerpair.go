package doctor

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/crolang-p2p/crolang-aio/internal/plural"
	"github.com/crolang-p2p/crolang-aio/internal/turnclient"
)

// exchanged is what two Nodes that have joined the Broker can do with each other.
func (l *local) exchanged(ctx context.Context, one, two *brokerNode) []Finding {
	var n notes
	n.add(OK, "join", "two Nodes of doctor's join the Broker, and are told an RTC configuration with "+plural.Of(len(one.rtc), "server"), "")
	passed := n.passes(one, two, 0, "SOCKET_MSG_EXCHANGE", "a message", map[string]any{"channel": "doctor", "content": "hello"})
	if !passed && n[len(n)-1].Status == Fail {
		return n
	}
	first, second := l.relayOf(ctx, one), l.relayOf(ctx, two)
	defer first.close(ctx)
	defer second.close(ctx)
	if !n.passes(one, two, 1, "CONNECTION_ATTEMPT", "an offer", first.described("offer")) ||
		!n.passes(two, one, 2, "CONNECTION_ACCEPTANCE", "an answer", second.described("answer")) {
		return n // without them they may not be allowed to reach each other
	}
	l.relayed(ctx, &n, first, second)
	return n
}

// passes has one Node send another an event, and reports whether it has arrived.
func (n *notes) passes(from, to *brokerNode, ack int, event, what string, more map[string]any) bool {
	switch answer, err := from.send(ack, event, to, more); {
	case err != nil:
		n.add(Fail, "exchange", what+" of a Node does not reach another through the Broker: "+err.Error(), "look at the server's log")
	case answer == "UNAUTHORIZED":
		n.add(OK, "exchange", "the Broker does not pass "+what+" on between doctor's Nodes, as hooks.authorize says", "")
	case answer == "DISABLED":
		n.add(Warn, "exchange", "the Broker passes no such thing on: "+what, "set broker.p2p and broker.relay_messages to true, unless it is meant so")
	case answer != "OK":
		n.add(Fail, "exchange", "the Broker answers "+answer+" to "+what+" of a Node for another", "look at the server's log")
	default:
		n.add(OK, "exchange", what+" of a Node reaches another through the Broker", "")
		return true
	}
	return false
}

// brokerRelay is the relay of a Node, opened with what the Broker told it.
type brokerRelay struct {
	*probe
	client *turnclient.Client // nil: it could not be opened, for why; or there is no TURN server to open it at
	at     netip.AddrPort     // the relayed address
	why    *failure
}

// relayOf opens a relay for a Node at the first TURN server that it was told, over UDP if one is among them.
func (l *local) relayOf(ctx context.Context, n *brokerNode) *brokerRelay {
	r := &brokerRelay{}
	for _, s := range n.rtc {
		for _, text := range s.URLs {
			u, err := parseURL(text)
			if err != nil || !u.turn || r.probe != nil && (r.u.transport == "udp" || u.transport != "udp") {
				continue
			}
			r.probe = &probe{cfg: l.cfg, t: Target{text, s.Username, s.Password}, u: u}
		}
	}
	if r.probe == nil {
		return r
	}
	addrs, why := r.resolve(ctx)
	if why != nil {
		r.why = why
		return r
	}
	r.probe.at = netip.AddrPortFrom(addrs[0], r.u.port)
	first, why := r.dial(ctx, r.probe.at)
	if why != nil {
		r.why = why
		return r
	}
	r.opened = append(r.opened, first)
	a, client, ok := r.allocateSomewhere(ctx, first)
	if !ok {
		last := r.out[len(r.out)-1]
		r.why = &failure{"relay", last.Detail, last.Remedy}
		return r
	}
	r.client, r.at = client, a.Relayed
	return r
}

// close gives the relay back.
func (r *brokerRelay) close(ctx context.Context) {
	if r.client != nil {
		r.release(ctx, r.client)
	}
	if r.probe != nil {
		r.probe.close()
	}
}

// described is a session description (RFC 8866) with the relay as its candidate (RFC 8839 section 5.1).
func (r *brokerRelay) described(kind string) map[string]any {
	sdp := "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n"
	if r.client != nil {
		sdp += fmt.Sprintf("a=candidate:1 1 udp 16777215 %s %d typ relay raddr 0.0.0.0 rport 0\r\n", r.at.Addr(), r.at.Port())
	}
	return map[string]any{
		"platformFrom": "doctor", "versionFrom": "1", "sessionId": "doctor",
		"sessionDescription": map[string]string{"type": kind, "sdp": sdp},
	}
}

// relayed sends a datagram from each relay to the other.
func (l *local) relayed(ctx context.Context, n *notes, first, second *brokerRelay) {
	for _, r := range []*brokerRelay{first, second} {
		if r.why != nil {
			n.add(Fail, "relay", "a Node cannot use the relay that the Broker told it, "+r.u.text+": "+r.why.detail, r.why.remedy)
			return
		}
	}
	if first.client == nil || second.client == nil {
		n.add(Warn, "relay", "the Broker tells Nodes no TURN server", "set turn.transports")
		return
	}
	pair := relayPair(ctx, l.cfg.Patience, first.client, second.client, turnclient.Allocation{Relayed: first.at}, turnclient.Allocation{Relayed: second.at})
	switch {
	case pair.both():
		n.add(OK, "relay", "datagrams of a Node reach another through the relays that the Broker told them, both ways ("+first.u.text+")", "")
	case pair.refused != nil:
		x := first.explainCode(ctx, pair.refused, nil)
		n.add(Fail, "relay", "a Node's relay may not send to another's, though they have agreed on a connection: "+x.detail, x.remedy)
	default:
		n.add(Fail, "relay", "datagrams of a Node do not reach another through the relays that the Broker told them ("+first.u.text+")", relayPortsRemedy)
	}
}
