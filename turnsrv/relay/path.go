package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// This is the path of every datagram, whichever engine received it. The engine's tx sends at once or gathers.
// Everything here is called inside a lane of the gate.

// fromClient handles one datagram of a client on UDP, or one record of DTLS. r is its relay, or nil.
func (t *tx) fromClient(src *Source, r *Relay, msg []byte) {
	if len(msg) == 0 {
		return
	}
	t.at = r
	switch c := msg[0]; {
	case stunmsg.IsChannel(c):
		if r == nil {
			r = t.arrived(src)
		}
		if r != nil {
			t.channelUp(r, msg)
		}
	case c < 4 && stunmsg.IsSTUN(msg):
		t.stun(src, r, msg)
	case c >= 20 && c < 64:
		if t.plane.cfg.DTLS != nil && src.udp != nil {
			t.order()
			t.leave()
			t.plane.cfg.DTLS(*src, msg)
			t.enter()
		}
	case r != nil:
		r.up.drop(Malformed, 1)
	}
}

// stun handles one STUN message: Send indications here, the rest by the Handler.
func (t *tx) stun(src *Source, r *Relay, msg []byte) {
	if stunmsg.Type(binary.BigEndian.Uint16(msg)) == stunmsg.SendIndication {
		if r == nil {
			r = t.arrived(src)
		}
		if r != nil {
			t.sendUp(r, msg)
			return
		}
	}
	// What the client sent before this message must not be overtaken by what the message brings about, such as the
	// relay's end.
	if r != nil {
		t.flush()
	}
	t.order()
	t.leave()
	t.plane.cfg.Handler.HandleSTUN(*src, msg)
	t.enter()
}

// order sends what has been gathered, if the kernel waits for that before it takes a flow over.
func (t *tx) order() {
	if k := t.plane.kernel; k != nil && k.orderly() {
		t.flush()
	}
}

// channelUp relays one ChannelData message to its channel's peer.
func (t *tx) channelUp(r *Relay, msg []byte) {
	number, data, ok := stunmsg.ParseChannelData(msg)
	if !ok {
		r.up.drop(Malformed, 1)
		return
	}
	c := r.access.channel(number)
	if c == nil {
		if o := r.Other(); o != nil {
			if c = o.access.channel(number); c != nil {
				r = o
			}
		}
	}
	if c == nil {
		r.up.drop(NoChannel, 1)
		return
	}
	e := reach(c.reach.Load())
	if e.scope() == 0 {
		r.up.drop(PeerDenied, 1)
		return
	}
	if !t.admit(r, &r.up, len(data)) {
		return
	}
	if e&reachOwn != 0 {
		if b := t.plane.RelayAt(c.peer); b != nil {
			t.deliver(r, b, data)
			return
		}
	}
	if s := e.scope(); s != ScopeAny && !t.plane.sibling(r, s, c.peer) {
		r.up.drop(PeerDenied, 1)
		return
	}
	t.out(r, c.peer, &c.dst, data)
}

// sendUp relays the data of one Send indication.
func (t *tx) sendUp(r *Relay, msg []byte) {
	m, ok := stunmsg.ParseSend(msg)
	ok = ok && r.tcp == nil
	if ok && m.Peer.Addr().Is4() != r.family.Bind.Is4() {
		if o := r.Other(); o != nil {
			r = o
		} else {
			ok = false
		}
	}
	if !ok || m.Peer.Port() == 0 || m.DontFragment && !CanDontFragment {
		r.up.drop(Malformed, 1)
		return
	}
	scope, _ := r.access.scopeOf(m.Peer)
	if scope == 0 {
		r.up.drop(NoPermission, 1)
		return
	}
	p := t.plane
	t.order()
	t.leave()
	ok = !p.barred(m.Peer) && (p.cfg.AllowSend == nil || p.cfg.AllowSend(r, m.Peer))
	t.enter()
	if !ok {
		r.up.drop(PeerDenied, 1)
		return
	}
	if !t.admit(r, &r.up, len(m.Data)) {
		return
	}
	if b := p.RelayAt(m.Peer); b != nil {
		t.deliver(r, b, m.Data)
		return
	}
	if scope != ScopeAny && !p.sibling(r, scope, m.Peer) {
		r.up.drop(PeerDenied, 1)
		return
	}
	if m.DontFragment {
		t.probe(r, m.Peer, m.Data)
		return
	}
	t.out(r, m.Peer, nil, m.Data)
}

// probe sends data to a peer with DF set, after what was gathered before. Only the goroutine that serves the client
// sends on a relay's socket, so nothing else leaves with DF.
func (t *tx) probe(r *Relay, peer netip.AddrPort, data []byte) {
	t.flush()
	if r.dead.Load() || r.sock.dontFragment(r.family.Bind.Is4()) != nil {
		r.up.drop(Unsent, 1)
		return
	}
	t.out(r, peer, nil, data)
	t.flush()
	r.sock.fragmentAgain(r.family.Bind.Is4())
}

// out sends data to a peer that is no relay of this server. dst is nil if the peer has no channel.
func (t *tx) out(r *Relay, peer netip.AddrPort, dst *peerAddr, data []byte) {
	if len(data) > maxPayload(peer.Addr()) {
		r.up.drop(TooLarge, 1)
		return
	}
	t.toPeer(r, peer, dst, data)
}

// deliver hands data of the relay r to the relay b of this server without the network in between.
func (t *tx) deliver(r, b *Relay, data []byte) {
	if b.tcp != nil { // no datagram gets there
		r.up.drop(PeerDenied, 1)
		return
	}
	r.up.passed(1, len(data))
	t.down(b, r.Addr(), ScopeRelays, data)
}

// fromPeer handles one datagram that arrived at r's relayed address.
func (t *tx) fromPeer(r *Relay, from netip.AddrPort, data []byte) {
	t.at = r
	if from.Port() == 0 {
		r.down.drop(Malformed, 1)
		return
	}
	t.down(r, from, ScopeAny, data)
}

// down passes data to r's client if a permission or channel of at least that scope lets it.
func (t *tx) down(r *Relay, from netip.AddrPort, need Scope, data []byte) {
	scope, c := r.access.scopeOf(from)
	if scope < need && !t.plane.sibling(r, scope, from) {
		why := NoPermission
		if scope != 0 { // the permission is for relays alone
			why = PeerDenied
		}
		r.down.drop(why, 1)
		return
	}
	var number uint16
	if c != nil {
		r.awaitTold(c)
		number = c.number
	}
	p := r.path.Load()
	if !p.fits(number, from, len(data)) {
		r.down.drop(TooLarge, 1)
		return
	}
	if t.admit(r, &r.down, len(data)) {
		t.toClient(r, p, number, from, data)
	}
}

// The largest UDP payloads (RFC 768, 8200) and DTLS records (RFC 6347 §4.1.1), in bytes.
const (
	maxPayload4 = 65535 - 20 - 8
	maxPayload6 = 65535 - 8
	maxRecord   = 1 << 14
)

func maxPayload(ip netip.Addr) int {
	if ip.Is4() {
		return maxPayload4
	}
	return maxPayload6
}

// fits reports whether n bytes from a peer fit into a message to the client, and that message into a datagram or
// record.
func (p *path) fits(number uint16, from netip.AddrPort, n int) bool {
	size := stunmsg.ChannelHeader + n
	switch {
	case number == 0 && from.Addr().Is4():
		size = dataHeader4 + n + stunmsg.DataPadding(n)
	case number == 0:
		size = dataHeader6 + n + stunmsg.DataPadding(n)
	case p.stream != nil:
		size += stunmsg.DataPadding(n)
	}
	return size <= p.largest
}

// largestTo is the largest message that can be sent to a client.
func largestTo(t Tuple) int {
	switch t.Transport {
	case UDP:
		return min(maxPayload(t.Client.Addr()), stunmsg.MaxFrame)
	case DTLS:
		return maxRecord
	}
	return stunmsg.MaxFrame
}

// appendHeader appends what goes before data on its way to a client: the header of ChannelData, or without a channel a
// Data indication up to its data. pad is how many zeros must follow the data. If the data is too long for the length
// fields, ok is false and nothing is appended.
func appendHeader(dst []byte, number uint16, from netip.AddrPort, n int, onStream bool) (b []byte, pad int, ok bool) {
	if number == 0 {
		var id [12]byte
		binary.LittleEndian.PutUint64(id[:], rand.Uint64())
		binary.LittleEndian.PutUint32(id[8:], rand.Uint32())
		dst, ok = stunmsg.AppendDataHeader(dst, from, n, &id)
		return dst, stunmsg.DataPadding(n), ok
	}
	var head [stunmsg.ChannelHeader]byte
	if !stunmsg.PutChannelHeader(&head, number, n) {
		return dst, 0, false
	}
	dst = append(dst, head[:]...)
	if onStream {
		pad = stunmsg.DataPadding(n)
	}
	return dst, pad, true
}

// appendData appends the whole message that carries data to a client, or nothing if appendHeader cannot.
func appendData(dst []byte, number uint16, from netip.AddrPort, data []byte, onStream bool) ([]byte, bool) {
	dst, pad, ok := appendHeader(dst, number, from, len(data), onStream)
	if !ok {
		return dst, false
	}
	dst = append(dst, data...)
	return append(dst, "\x00\x00\x00"[:pad]...), true
}

// Bytes of a Data indication before its data, and the most that any header and its padding add.
const (
	dataHeader4 = stunmsg.HeaderSize + 12 + 4
	dataHeader6 = stunmsg.HeaderSize + 24 + 4
	maxHeader   = dataHeader6 + 3
)
