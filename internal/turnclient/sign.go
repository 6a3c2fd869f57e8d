package turnclient

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"

	"github.com/crolang-p2p/crolang-aio/turnsrv/credential"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// offer is what a challenge offers beyond RFC 5389 (RFC 8489 §9.2.5).
type offer struct {
	algorithms []byte               // PASSWORD-ALGORITHMS as it came; nil for none
	algorithm  credential.Algorithm // the first of them that is known; 0: the server has no such list
	hash       bool                 // the name is to be sent as USERHASH
}

// learn takes realm, nonce and offer of a challenge, and reports whether to try again with them. After a refusal that is so
// only where the server, which was sent the name's hash, now asks for the name.
func (c *Client) learn(m *stunmsg.Message, refused bool) bool {
	realm, okRealm := m.Get(stunmsg.AttrRealm)
	nonce, okNonce := m.Get(stunmsg.AttrNonce)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.realm, c.nonce = string(realm), append([]byte(nil), nonce...)
	before, ok := c.offer, true
	if c.o.SHA256 {
		c.offer, ok = offered(m, nonce)
	}
	return ok && okRealm && okNonce && (!refused || before.hash && !c.offer.hash)
}

// offered reads an offer. It reports false if the server promises in its nonce what the message has not, or nothing that is
// known here: then somebody has changed it on the way, and there must be no other try.
func offered(m *stunmsg.Message, nonce []byte) (o offer, ok bool) {
	var bits [3]byte
	if rest, marked := bytes.CutPrefix(nonce, []byte("obMatJos2")); marked && len(rest) >= 4 {
		_, _ = base64.StdEncoding.Decode(bits[:], rest[:4])
	}
	o.hash = bits[0]&0x40 != 0
	all, listed := m.Get(stunmsg.AttrPasswordAlgorithms)
	if !listed {
		return o, bits[0]&0x80 == 0
	}
	o.algorithms = append([]byte(nil), all...)
	for len(all) >= 4 {
		a := credential.Algorithm(binary.BigEndian.Uint16(all))
		if a == credential.MD5 || a == credential.SHA256 {
			o.algorithm = a
			return o, true
		}
		parameters := int(binary.BigEndian.Uint16(all[2:]))
		all = all[min(len(all), 4+parameters+stunmsg.DataPadding(parameters)):]
	}
	return o, false
}

// sign appends the credential. The caller holds mu.
func (c *Client) sign(w *stunmsg.Builder) {
	if c.offer.hash {
		hash := credential.Userhash(c.o.Username, c.realm)
		w.Attr(stunmsg.AttrUserhash, hash[:])
	} else {
		w.String(stunmsg.AttrUsername, c.o.Username)
	}
	w.String(stunmsg.AttrRealm, c.realm).Attr(stunmsg.AttrNonce, c.nonce)
	if c.offer.algorithm == 0 {
		w.Integrity(c.key())
		return
	}
	w.Attr(stunmsg.AttrPasswordAlgorithms, c.offer.algorithms).
		Attr(stunmsg.AttrPasswordAlgorithm, []byte{0, byte(c.offer.algorithm), 0, 0}).IntegritySHA256(c.key())
}

// signed reports whether the server has signed a message with the client's own key.
func (c *Client) signed(m *stunmsg.Message) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.offer.algorithm != 0 {
		return m.CheckIntegritySHA256(c.key())
	}
	return m.CheckIntegrity(c.key())
}

// key is the long-term key for the realm that the server gave. The caller holds mu.
func (c *Client) key() []byte {
	a := credential.MD5
	if c.offer.algorithm != 0 {
		a = c.offer.algorithm
	}
	return a.Key(c.o.Username, c.realm, c.o.Password)
}
