package control

import (
	"encoding/binary"
	"net/netip"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// Discovery is where clients can find out how NATs on their way behave (RFC 5780): two addresses of one family and two
// ports, and a UDP listener at each of the four pairs of them.
type Discovery struct {
	IPs   [2]Place[netip.Addr]
	Ports [2]Place[uint16]
}

// Place is an address or a port as this machine has it, and as clients reach it.
type Place[T comparable] struct{ Local, Told T }

// discoveryAttributes are those that a Binding request may have there. PADDING is not among them: who sends one asks for
// answers of a whole MTU, which is what an amplifier gives.
var discoveryAttributes = []uint16{stunmsg.AttrChangeRequest, stunmsg.AttrResponsePort}

// Discover makes requests that arrive at these, at most one in each family, be answered by RFC 5780, and those at others as
// everywhere. It may be called at any time.
func (c *Control) Discover(all []Discovery) { c.found.Store(&all) }

// spot is a place of a Discovery: the indices of its address and its port.
type spot struct {
	*Discovery
	ip, port int
}

// spot is where the request arrived, if NATs can be found out about there: over UDP alone, since over a connection a server
// cannot answer from elsewhere.
func (r *request) spot() (spot, bool) {
	all := r.c.found.Load()
	if all == nil || r.src.Transport != relay.UDP {
		return spot{}, false
	}
	at := r.src.Server
	for i := range *all {
		d := &(*all)[i]
		for j := range 4 {
			if s := (spot{d, j >> 1, j & 1}); s.local() == at {
				return s, true
			}
		}
	}
	return spot{}, false
}

func (s spot) local() netip.AddrPort {
	return netip.AddrPortFrom(s.IPs[s.ip].Local, s.Ports[s.port].Local)
}

func (s spot) told() netip.AddrPort {
	return netip.AddrPortFrom(s.IPs[s.ip].Told, s.Ports[s.port].Told)
}

// other is the spot with another address, another port, or both.
func (s spot) other(ip, port bool) spot {
	if ip {
		s.ip ^= 1
	}
	if port {
		s.port ^= 1
	}
	return s
}

// discover answers a Binding request as RFC 5780 §6.1 wants it. An answer from elsewhere, or to another port, counts
// against a limit of its own.
func (r *request) discover(at spot) {
	changed, hasChange := r.msg.Get(stunmsg.AttrChangeRequest)
	port, hasPort := r.msg.Get(stunmsg.AttrResponsePort)
	// RESPONSE-PORT has 16 bits "followed by 2 bytes of padding", which some clients count as its length and others do not.
	if hasChange && len(changed) != 4 || hasPort && (len(port) != 2 && len(port) != 4 || port[0]|port[1] == 0) {
		r.refuse(400, "malformed")
		return
	}
	client, from := r.src.Client, at
	if hasChange {
		from = at.other(changed[3]&stunmsg.ChangeIP != 0, changed[3]&stunmsg.ChangePort != 0)
	}
	to := client.Port()
	if hasPort {
		to = binary.BigEndian.Uint16(port)
	}
	if from != at || to != client.Port() {
		if !r.c.sources.allowAside(client.Addr()) {
			r.c.stats.aside.Add(1)
			return
		}
		src, ok := r.src.From(from.local())
		if !ok {
			r.refuse(500, "engine")
			return
		}
		r.src = src
		r.src.Client = netip.AddrPortFrom(client.Addr(), to)
	}
	r.c.stats.bindings.Add(1)
	r.send(r.software(r.begin(r.msg.Type.Success()).
		Addr(stunmsg.AttrMappedAddress, client).XORAddr(stunmsg.AttrXORMappedAddress, client).
		Addr(stunmsg.AttrResponseOrigin, from.told()).Addr(stunmsg.AttrOtherAddress, at.other(true, true).told())))
}
