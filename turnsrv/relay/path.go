package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// What every datagram goes through, whichever engine received it. The engine's tx takes what is to be sent; it may
// send at once or gather. All of these are called inside a lane of the gate.

// fromClient handles one datagram of a client on UDP, or one record of DTLS. r is its relay, or nil.
func (t *tx) fromClient(src *Source, r *Relay, msg []byte) {
	if len(msg) == 0 {
		return
	}
	switch c := msg[0]; {
	case c&0xf0 == 0x40:
		if r != nil {
			t.channelUp(r, msg)
		}
	case c < 4:
		if stunmsg.IsSTUN(msg) {
			t.stun(src, r, msg)
		}
	case c >= 20 && c < 64:
		if t.plane.cfg.DTLS != nil && src.udp != nil {
			t.leave()
			t.plane.cfg.DTLS(*src, msg)
			t.enter()
		}
	}
}

// stun handles one STUN message: Send indications here, the rest by the Handler.
func (t *tx) stun(src *Source, r *Relay, msg []byte) {
	if r != nil && stunmsg.Type(binary.BigEndian.Uint16(msg)) == stunmsg.SendIndication {
		t.sendUp(r, msg)
		return
	}
	// What the client sent before this message must not be overtaken by what the message brings about, such as the
	// relay's end.
	if r != nil {
		t.flush()
	}
	t.leave()
	t.plane.cfg.Handler.HandleSTUN(*src, msg)
	t.enter()
}

// channelUp relays one ChannelData message to its channel's peer.
func (t *tx) channelUp(r *Relay, msg []byte) {
	number, data, ok := stunmsg.ParseChannelData(msg)
	if !ok {
		r.up.drop(1)
		return
	}
	c := r.access.Load().channel(number)
	if c == nil || c.barred {
		r.up.drop(1)
		return
	}
	if !r.admit(&r.up, t.now, len(data)) {
		return
	}
	if c.own {
		if b := t.plane.RelayAt(c.peer); b != nil {
			t.deliver(r, b, data)
			return
		}
	}
	if c.scope != ScopeAny {
		r.up.drop(1)
		return
	}
	t.toPeer(r, c.peer, &c.dst, data)
}

// sendUp relays the data of one Send indication.
func (t *tx) sendUp(r *Relay, msg []byte) {
	peer, data, ok := stunmsg.ParseSend(msg)
	if !ok || peer.Port() == 0 || peer.Addr().Is4() != r.family.Bind.Is4() {
		r.up.drop(1)
		return
	}
	scope := r.access.Load().permitted(peer.Addr())
	if scope == 0 {
		r.up.drop(1)
		return
	}
	p := t.plane
	t.leave()
	ok = !p.barred(peer) && (p.cfg.AllowSend == nil || p.cfg.AllowSend(r, peer))
	t.enter()
	if !ok {
		r.up.drop(1)
		return
	}
	if !r.admit(&r.up, t.now, len(data)) {
		return
	}
	if b := p.RelayAt(peer); b != nil {
		t.deliver(r, b, data)
		return
	}
	if scope != ScopeAny {
		r.up.drop(1)
		return
	}
	t.toPeer(r, peer, nil, data)
}

// deliver hands data of the relay r to the relay b of this server without the network in between.
func (t *tx) deliver(r, b *Relay, data []byte) {
	r.up.passed(1, len(data))
	t.down(b, r.Addr(), ScopeRelays, data)
}

// fromPeer handles one datagram that arrived at r's relayed address.
func (t *tx) fromPeer(r *Relay, from netip.AddrPort, data []byte) {
	if from.Port() == 0 {
		return
	}
	t.down(r, from, ScopeAny, data)
}

// down passes data to r's client if a permission of at least that scope lets it.
func (t *tx) down(r *Relay, from netip.AddrPort, need Scope, data []byte) {
	a := r.access.Load()
	if a.permitted(from.Addr()) < need {
		r.down.drop(1)
		return
	}
	if !r.admit(&r.down, t.now, len(data)) {
		return
	}
	var number uint16
	if c := a.channelTo(from); c != nil {
		number = c.number
	}
	t.toClient(r, number, from, data)
}

// appendHeader appends what goes before data on its way to a client: the header of ChannelData, or without a channel
// all of a Data indication up to its data. It returns how many zeros are to follow the data.
func appendHeader(dst []byte, number uint16, from netip.AddrPort, n int, onStream bool) ([]byte, int) {
	if number == 0 {
		var id [12]byte
		binary.LittleEndian.PutUint64(id[:], rand.Uint64())
		binary.LittleEndian.PutUint32(id[8:], rand.Uint32())
		return stunmsg.AppendDataHeader(dst, from, n, &id), stunmsg.DataPadding(n)
	}
	dst = append(dst, byte(number>>8), byte(number), byte(n>>8), byte(n))
	if onStream {
		return dst, stunmsg.DataPadding(n)
	}
	return dst, 0
}

// appendData appends the whole message that carries data to a client.
func appendData(dst []byte, number uint16, from netip.AddrPort, data []byte, onStream bool) []byte {
	dst, pad := appendHeader(dst, number, from, len(data), onStream)
	dst = append(dst, data...)
	return append(dst, "\x00\x00\x00"[:pad]...)
}

// maxHeader is the most that appendHeader and its padding add: a Data indication from an IPv6 peer.
const maxHeader = stunmsg.HeaderSize + 24 + 4 + 3
