package control

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/crolang-p2p/crolang-aio/turnsrv/peertcp"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

const protocolTCP = 6 // REQUESTED-TRANSPORT (RFC 6062 §4.1)

// maxConnect is the largest Connect that is kept until it can be answered, in bytes. The longest attributes that the RFCs
// allow take less.
const maxConnect = 4 << 10

// wantsTCP is RFC 6062 §5.1: it reads what kind of relay an Allocate asks for. If it must be refused, code is not 0.
func (r *request) wantsTCP(protocol byte) (tcp bool, code int, cause string) {
	switch {
	case protocol == protocolUDP:
		return false, 0, ""
	case protocol != protocolTCP || !r.c.set.Load().TCPRelays:
		return false, 442, "transport"
	case !r.overStream():
		return false, 400, "tcp_relay"
	}
	for _, t := range []uint16{stunmsg.AttrDontFragment, stunmsg.AttrEvenPort, stunmsg.AttrReservationToken} {
		if _, ok := r.msg.Get(t); ok {
			return false, 400, "tcp_relay"
		}
	}
	return true, 0, ""
}

// overStream reports whether the request came over TCP or TLS.
func (r *request) overStream() bool {
	return r.src.Transport == relay.TCP || r.src.Transport == relay.TLS
}

// connect is RFC 6062 §5.2. The peer needs no permission: that the client names it is one, for this connection.
func (r *request) connect() {
	s, before := r.session, r.c.changes.Load()
	if !s.first.relay.TCP() {
		r.refuse(400, "tcp_relay")
		return
	}
	v, ok := r.msg.Get(stunmsg.AttrXORPeerAddress)
	p, err := stunmsg.XORAddr(v, r.msg.TransactionID())
	if !ok || err != nil || p.Port() == 0 || len(r.msg.Raw) > maxConnect {
		r.refuse(400, "malformed")
		return
	}
	scope, code, cause := r.decidePeer(p)
	if code != 0 {
		r.refuse(code, cause)
		return
	}
	own := s.toward(p.Addr())
	if own == nil {
		r.refuse(437, "no_allocation") // it has ended meanwhile
		return
	}
	later := r.keep()
	if err := own.Connect(p, scope, func(id uint32, err error) { later.connected(p, id, err) }); err != nil {
		r.notConnected(p, err)
		return
	}
	r.decidedSince(before)
}

// keep is the request as long as it takes to answer it.
func (r *request) keep() *request {
	k := &request{c: r.c, src: r.src, node: r.node, username: r.username, key: r.key, session: r.session}
	k.claim.chosen = r.claim.chosen         // the rest of claim is in the message's own bytes
	_ = k.msg.Parse(bytes.Clone(r.msg.Raw)) // it could be parsed before
	return k
}

// connected answers a Connect.
func (r *request) connected(p netip.AddrPort, id uint32, err error) {
	if err != nil {
		r.notConnected(p, err)
		return
	}
	r.send(r.begin(r.msg.Type.Success()).Uint32(stunmsg.AttrConnectionID, id))
}

// notConnected refuses a Connect for which there is no connection.
func (r *request) notConnected(p netip.AddrPort, err error) {
	switch {
	case errors.Is(err, peertcp.ErrExists):
		r.refuse(446, "connection_exists")
	case errors.Is(err, peertcp.ErrFull):
		r.refuse(508, "connections")
	case errors.Is(err, peertcp.ErrBudget):
		r.tablesFull("connection")
	case errors.Is(err, peertcp.ErrFiles):
		r.note(508, "capacity", "connection to "+p.String()+" refused: "+err.Error())
	case r.session.ended.Load():
		r.refuse(437, "no_allocation")
	default:
		r.note(447, "connect_failed", "no connection to "+p.String()+": "+err.Error())
	}
}

// connectionID is the CONNECTION-ID of a request.
func (r *request) connectionID() (id uint32, ok bool) {
	v, ok := r.msg.Get(stunmsg.AttrConnectionID)
	if !ok || len(v) != 4 {
		return 0, false
	}
	return binary.BigEndian.Uint32(v), true
}

// binds reports whether the request is a ConnectionBind for an allocation of the same user, which outlasts its
// credential.
func (r *request) binds(username string) bool {
	if r.msg.Type != stunmsg.ConnectionBindRequest {
		return false
	}
	id, ok := r.connectionID()
	return ok && r.c.ownsPeer(r.c.plane.PeerOwner(id), username)
}

// ownsPeer reports whether a relay, which may be nil, is of a live allocation that was made under that name.
func (c *Control) ownsPeer(rel *relay.Relay, username string) bool {
	if rel == nil {
		return false
	}
	s, ok := rel.Tag().(*session)
	return ok && s.username == username && !s.ended.Load()
}

// connectionBind is RFC 6062 §5.4. An id that is another user's is answered as one that nobody has.
func (r *request) connectionBind() {
	id, ok := r.connectionID()
	switch {
	case !ok:
		r.refuse(400, "malformed")
		return
	case !r.overStream() || r.session != nil:
		r.refuse(400, "tcp_relay")
		return
	}
	conn := r.c.plane.Claim(id, func(rel *relay.Relay) bool { return r.c.ownsPeer(rel, r.username) })
	if conn == nil {
		r.refuse(400, "no_connection")
		return
	}
	r.send(r.begin(r.msg.Type.Success()))
	r.src.Join(conn)
}

// PeerCame tells the client of a relay of TCP that a peer has connected (RFC 6062 §5.3). It is for the data plane to call.
func (c *Control) PeerCame(r *relay.Relay, peer netip.AddrPort, id uint32) {
	var txid [12]byte
	_, _ = rand.Read(txid[:])
	w := stunmsg.Begin(nil, stunmsg.ConnectionAttempt, txid[:]).
		XORAddr(stunmsg.AttrXORPeerAddress, peer).Uint32(stunmsg.AttrConnectionID, id)
	if b := w.Bytes(); b != nil {
		r.Tell(b)
	}
}
