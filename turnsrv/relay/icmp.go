package relay

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// Where Config.ICMP asks for it, clients are told what ICMP says of the datagrams that they had sent to peers (RFC 8656
// §11.5), if the kernel keeps such messages for a socket: on Linux, with both engines. An unprivileged process gets them
// nowhere else.
//
// A message that has come in makes the next call on the relay's socket fail, be it for another peer. So whatever sends
// on such a socket or receives from it tries again before it takes an error for its own.

const (
	icmpPerSecond = 10 // messages that a client is told of for each of its relays; as many may come at once
	icmpMost      = 32 // messages taken from a socket at once: others must have their turn
	icmpTries     = 4  // calls, until an error is taken for the call's own
)

// SetICMP replaces Config.ICMP, for relays that are opened from now on.
func (p *Plane) SetICMP(on bool) { p.icmp.Store(on) }

// peerError is an ICMP message about a datagram that was sent to a peer. The zero value is some other error.
type peerError struct {
	peer netip.AddrPort
	stunmsg.ICMP
}

// told reports whether RFC 8656 §11.5 has clients told of such messages: unreachable destinations, packets that are too
// large, and those that have travelled too far.
func (e *peerError) told() bool {
	if e.peer.Addr().Is4() {
		return e.Type == 3 || e.Type == 11
	}
	return e.Type == 1 || e.Type == 2 || e.Type == 3
}

// data is the Error Data of RFC 8656 §18.13: the MTU of the next link, where that was the trouble.
func (e *peerError) data(info uint32) uint32 {
	if four := e.peer.Addr().Is4(); four && e.Type == 3 && e.Code == 4 || !four && e.Type == 2 {
		return info
	}
	return 0
}

// tell tells r's client of an ICMP message, if a permission or channel lets it: as with datagrams that the peer had
// sent, except that what counts is the address that the client's datagram was for.
func (t *tx) tell(r *Relay, e *peerError) {
	t.at = r
	if !e.peer.IsValid() {
		return // an error of this machine, and no ICMP: counted where the datagram was not sent
	}
	scope, _ := r.access.scopeOf(e.peer)
	permitted := scope >= ScopeAny || t.plane.sibling(r, scope, e.peer)
	if !permitted || !e.told() || !r.mayTell() {
		r.down.drop(UntoldICMP, 1)
		return
	}
	var id [12]byte
	binary.LittleEndian.PutUint64(id[:], rand.Uint64())
	binary.LittleEndian.PutUint32(id[8:], rand.Uint32())
	var buf [64]byte
	msg := stunmsg.Begin(buf[:0], stunmsg.DataIndication, id[:]).XORAddr(stunmsg.AttrXORPeerAddress, e.peer).ICMP(e.ICMP).Bytes()
	r.path.Load().Send(msg)
}

// mayTell takes one message out of what r's client may be told of, by the same algorithm as meter's.
func (r *Relay) mayTell() bool {
	const each, burst = int64(time.Second / icmpPerSecond), int64(time.Second)
	now := r.plane.since(r.plane.cfg.Now())
	for {
		full := r.icmp.Load()
		next := max(full, now) + each
		if next-now > burst {
			return false
		}
		if r.icmp.CompareAndSwap(full, next) {
			return true
		}
	}
}
