package control

import (
	"encoding/binary"
	"slices"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// HandleSTUN handles one STUN message that is not the data plane's. It may be called from any goroutine, but for one
// client only once at a time. It does not keep msg. What is not a request is dropped: responses and indications have no
// answer.
func (c *Control) HandleSTUN(src relay.Source, msg []byte) {
	r := request{c: c, src: src}
	if r.msg.Parse(msg) != nil || !r.msg.Type.IsRequest() || !r.msg.CheckFingerprint() {
		c.stats.dropped.Add(1)
		return
	}
	r.begun()
	switch r.msg.Type {
	case stunmsg.BindingRequest:
		r.binding()
	case stunmsg.AllocateRequest, stunmsg.RefreshRequest, stunmsg.CreatePermissionRequest, stunmsg.ChannelBindRequest,
		stunmsg.ConnectRequest, stunmsg.ConnectionBindRequest:
		if r.authenticate() {
			r.authenticated()
		}
	default:
		c.stats.dropped.Add(1)
	}
}

// request is one request while it is handled.
type request struct {
	c   *Control
	src relay.Source
	msg stunmsg.Message
	buf [256]byte
	// modern is Settings.SHA256 as it was when the request came: what only RFC 8489 has counts.
	modern bool

	claim    claim // from here on: set by authenticate
	node     string
	username string
	key      []byte
	proof    *proof
	session  *session // of this 5-tuple, or nil
}

// begun takes up a message that has been parsed.
func (r *request) begun() {
	if r.modern = r.c.set.Load().SHA256; r.modern {
		r.msg.CutAtSHA256()
	}
}

// binding answers with the source address and nothing else, which makes it of little use for amplification, but where
// NATs can be found out about.
func (r *request) binding() {
	if !r.c.sources.allow(r.src.Client.Addr()) {
		r.c.stats.limited.Add(1)
		return
	}
	spot, offered := r.spot()
	var more []uint16
	if offered {
		more = discoveryAttributes
	}
	if unknown := r.unknownAttributes(more...); unknown != nil {
		r.c.stats.refused(420, "unknown_attribute")
		r.send(r.begin(r.msg.Type.Error()).ErrorCode(420).Attr(stunmsg.AttrUnknownAttributes, unknown))
		return
	}
	if offered {
		r.discover(spot)
		return
	}
	r.c.stats.bindings.Add(1)
	r.send(r.software(r.begin(r.msg.Type.Success()).XORAddr(stunmsg.AttrXORMappedAddress, r.src.Client)))
}

// authenticated handles a request whose sender is known.
func (r *request) authenticated() {
	if unknown := r.unknownAttributes(); unknown != nil {
		r.c.stats.refused(420, "unknown_attribute")
		r.send(r.begin(r.msg.Type.Error()).ErrorCode(420).Attr(stunmsg.AttrUnknownAttributes, unknown))
		return
	}
	switch r.msg.Type {
	case stunmsg.AllocateRequest:
		r.allocate()
		return
	case stunmsg.ConnectRequest, stunmsg.ConnectionBindRequest:
		r.refuse(400, "tcp_relay") // RFC 6062 is not offered: no allocation can be of that kind
		return
	}
	switch {
	case r.session == nil:
		r.refuse(437, "no_allocation")
	case r.session.username != r.username:
		r.refuse(441, "wrong_credentials")
	case r.msg.Type == stunmsg.RefreshRequest:
		r.refresh()
	case r.msg.Type == stunmsg.CreatePermissionRequest:
		r.createPermission()
	default:
		r.channelBind()
	}
}

// knownAttribute reports whether this server understands an attribute or does not have to. It understands DONT-FRAGMENT
// if the system can set the bit; if not, RFC 8656 §7.2 wants 420. What came with RFC 8489 it understands where modern says so.
func knownAttribute(t uint16, modern bool) bool {
	switch t {
	case stunmsg.AttrMappedAddress, stunmsg.AttrUsername, stunmsg.AttrMessageIntegrity, stunmsg.AttrErrorCode,
		stunmsg.AttrUnknownAttributes, stunmsg.AttrChannelNumber, stunmsg.AttrLifetime, stunmsg.AttrXORPeerAddress,
		stunmsg.AttrData, stunmsg.AttrRealm, stunmsg.AttrNonce, stunmsg.AttrXORRelayedAddress,
		stunmsg.AttrRequestedAddressFamily, stunmsg.AttrEvenPort, stunmsg.AttrRequestedTransport,
		stunmsg.AttrXORMappedAddress, stunmsg.AttrReservationToken:
		return true
	case stunmsg.AttrDontFragment:
		return relay.CanDontFragment
	case stunmsg.AttrPasswordAlgorithm, stunmsg.AttrUserhash, stunmsg.AttrMessageIntegritySHA256:
		return modern
	}
	return t >= 0x8000
}

// unknownAttributes is the value of UNKNOWN-ATTRIBUTES for this request, nil if all are known, or among those that are
// given. It names 16 at most, to keep the answer small.
func (r *request) unknownAttributes(known ...uint16) (list []byte) {
	r.msg.Each(func(t uint16, _ []byte) bool {
		if !knownAttribute(t, r.modern) && !slices.Contains(known, t) {
			list = binary.BigEndian.AppendUint16(list, t)
		}
		return len(list) < 32
	})
	return list
}

func (r *request) begin(t stunmsg.Type) *stunmsg.Builder {
	return stunmsg.Begin(r.buf[:0], t, r.msg.TransactionID())
}

func (r *request) software(w *stunmsg.Builder) *stunmsg.Builder {
	name := r.c.set.Load().Software
	if name == "" {
		return w
	}
	return w.String(stunmsg.AttrSoftware, name)
}

// refuse answers with an error and counts it by its cause.
func (r *request) refuse(code int, cause string) {
	r.c.stats.refused(code, cause)
	r.send(r.begin(r.msg.Type.Error()).ErrorCode(code))
}

// note is refuse with an event in the Node's why-record.
func (r *request) note(code int, cause, detail string) {
	r.c.cfg.Nodes.Refused(r.node, detail)
	r.refuse(code, cause)
}

// send signs the answer if the client has authenticated, adds FINGERPRINT if the request had one, and sends it. By RFC 8489
// §9.2.4 the integrity is the one that goes with how the key was made. Clients are about that choose MD5, sign with
// MESSAGE-INTEGRITY and look for nothing else, which no section forbids to send too.
func (r *request) send(w *stunmsg.Builder) {
	switch {
	case r.key == nil:
	case r.claim.chosen && !r.claim.sha256:
		w.Integrity(r.key).IntegritySHA256(r.key)
	case r.claim.chosen:
		w.IntegritySHA256(r.key)
	default:
		w.Integrity(r.key)
	}
	if r.msg.HasFingerprint() {
		w.Fingerprint()
	}
	b := w.Bytes()
	if b == nil {
		r.c.stats.refused(500, "engine")
		return
	}
	r.src.Send(b)
}
