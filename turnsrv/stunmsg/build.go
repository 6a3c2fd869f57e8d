package stunmsg

import (
	"encoding/binary"
	"net/netip"
)

// Builder writes one message into a buffer, attribute by attribute. Its methods return it, to be chained; Bytes ends
// the message. A Builder that outgrows the buffer allocates a new one, as append does.
type Builder struct{ b []byte }

// Begin starts a message of type t in buf[:0], with a transaction id of 12 bytes.
func Begin(buf []byte, t Type, txid []byte) *Builder {
	b := append(buf[:0], byte(t>>8), byte(t), 0, 0, 0x21, 0x12, 0xa4, 0x42)
	return &Builder{append(b, txid[:12]...)}
}

// Attr appends an attribute, padded with zeros.
func (w *Builder) Attr(t uint16, value []byte) *Builder {
	w.b = append(w.b, byte(t>>8), byte(t), byte(len(value)>>8), byte(len(value)))
	w.b = append(w.b, value...)
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
	return w
}

// String appends an attribute with a text.
func (w *Builder) String(t uint16, value string) *Builder {
	w.b = append(w.b, byte(t>>8), byte(t), byte(len(value)>>8), byte(len(value)))
	w.b = append(w.b, value...)
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
	return w
}

// Uint32 appends an attribute of four bytes, such as LIFETIME in seconds.
func (w *Builder) Uint32(t uint16, v uint32) *Builder {
	w.b = append(w.b, byte(t>>8), byte(t), 0, 4, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	return w
}

// ErrorCode appends ERROR-CODE (RFC 8489 §14.8) without a reason phrase: it would only cost bytes.
func (w *Builder) ErrorCode(code int) *Builder {
	return w.Attr(AttrErrorCode, []byte{0, 0, byte(code / 100), byte(code % 100)})
}

// XORAddr appends an XOR-*-ADDRESS attribute.
func (w *Builder) XORAddr(t uint16, a netip.AddrPort) *Builder {
	w.b = appendXORAddr(w.b, t, a, w.b[8:HeaderSize])
	return w
}

// Integrity appends MESSAGE-INTEGRITY over what is there so far. Nothing but Fingerprint may follow.
func (w *Builder) Integrity(key []byte) *Builder {
	b := w.b
	n := len(b)
	b = append(b, byte(AttrMessageIntegrity>>8), byte(AttrMessageIntegrity&0xff), 0, integritySize-4)
	w.b = integrityOf(b, key, b[:n])
	return w
}

// Fingerprint appends FINGERPRINT. Nothing may follow.
func (w *Builder) Fingerprint() *Builder {
	return w.Uint32(AttrFingerprint, fingerprintOf(w.b, len(w.b)-HeaderSize+fingerprintSize))
}

// Bytes sets the header's length and returns the message.
func (w *Builder) Bytes() []byte {
	binary.BigEndian.PutUint16(w.b[2:], uint16(len(w.b)-HeaderSize))
	return w.b
}

func appendXORAddr(dst []byte, t uint16, a netip.AddrPort, txid []byte) []byte {
	port := a.Port() ^ magicCookie>>16
	if a.Addr().Is4() {
		ip := a.Addr().As4()
		v := binary.BigEndian.Uint32(ip[:]) ^ magicCookie
		return append(dst, byte(t>>8), byte(t), 0, 8, 0, FamilyIPv4, byte(port>>8), byte(port),
			byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	ip := a.Addr().As16()
	dst = append(dst, byte(t>>8), byte(t), 0, 20, 0, FamilyIPv6, byte(port>>8), byte(port))
	dst = append(dst, ip[0]^0x21, ip[1]^0x12, ip[2]^0xa4, ip[3]^0x42)
	for i := 4; i < 16; i++ {
		dst = append(dst, ip[i]^txid[i-4])
	}
	return dst
}
