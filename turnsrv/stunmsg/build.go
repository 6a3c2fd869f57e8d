package stunmsg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// ErrTooLarge is the error of a message with more than [MaxFrame] bytes, whose length fields could not hold what they
// must.
var ErrTooLarge = errors.New("STUN message too large")

// Builder writes one message into a buffer, attribute by attribute. Its methods return it, to be chained; Bytes ends
// the message. A Builder that outgrows the buffer allocates a new one, as append does.
//
// A Builder never makes a wrong message. After an attribute that does not fit, or a value that cannot be encoded, it
// ignores what follows, [Builder.Err] returns the reason, and [Builder.Bytes] returns nil.
type Builder struct {
	b   []byte
	err error
}

// Begin starts a message of type t in buf[:0], with a transaction id of 12 bytes.
func Begin(buf []byte, t Type, txid []byte) *Builder {
	b := append(buf[:0], byte(t>>8), byte(t), 0, 0, 0x21, 0x12, 0xa4, 0x42)
	return &Builder{b: append(b, txid[:12]...)}
}

// head appends the head of an attribute with a value of n bytes, and reports whether it fits.
func (w *Builder) head(t uint16, n int) bool {
	if w.err == nil && len(w.b)+4+padded(n) > MaxFrame {
		w.err = fmt.Errorf("%w: attribute 0x%04x of %d bytes behind %d", ErrTooLarge, t, n, len(w.b))
	}
	if w.err != nil {
		return false
	}
	w.b = append(w.b, byte(t>>8), byte(t), byte(n>>8), byte(n))
	return true
}

// Attr appends an attribute, padded with zeros.
func (w *Builder) Attr(t uint16, value []byte) *Builder {
	if w.head(t, len(value)) {
		w.b = appendPadding(append(w.b, value...), len(value))
	}
	return w
}

// String appends an attribute with a text.
func (w *Builder) String(t uint16, value string) *Builder {
	if w.head(t, len(value)) {
		w.b = appendPadding(append(w.b, value...), len(value))
	}
	return w
}

// Uint32 appends an attribute of four bytes, such as LIFETIME in seconds.
func (w *Builder) Uint32(t uint16, v uint32) *Builder {
	if w.head(t, 4) {
		w.b = binary.BigEndian.AppendUint32(w.b, v)
	}
	return w
}

// ErrorCode appends ERROR-CODE (RFC 8489 §14.8), 300 to 699, without a reason phrase: it would only cost bytes.
func (w *Builder) ErrorCode(code int) *Builder {
	if w.err == nil && (code < 300 || code > 699) {
		w.err = fmt.Errorf("%d is no STUN error code", code)
	}
	return w.Attr(AttrErrorCode, []byte{0, 0, byte(code / 100), byte(code % 100)})
}

// AddressError is the value of ADDRESS-ERROR-CODE (RFC 8656 §18.12): why there is no relayed address of a family.
type AddressError struct {
	Family byte // [FamilyIPv4] or [FamilyIPv6]
	Code   int  // as of ERROR-CODE
}

// AddressError appends ADDRESS-ERROR-CODE, without a reason phrase.
func (w *Builder) AddressError(e AddressError) *Builder {
	if w.err == nil && (e.Code < 300 || e.Code > 699) {
		w.err = fmt.Errorf("%d is no STUN error code", e.Code)
	}
	return w.Attr(AttrAddressErrorCode, []byte{e.Family, 0, byte(e.Code / 100), byte(e.Code % 100)})
}

// Addr appends an attribute with an address as MAPPED-ADDRESS has it (RFC 8489 §14.1), such as ALTERNATE-SERVER.
func (w *Builder) Addr(t uint16, a netip.AddrPort) *Builder {
	if w.err == nil && !a.Addr().IsValid() {
		w.err = ErrAddress
	}
	family := byte(FamilyIPv6)
	if a.Addr().Is4() {
		family = FamilyIPv4
	}
	return w.Attr(t, append([]byte{0, family, byte(a.Port() >> 8), byte(a.Port())}, a.Addr().AsSlice()...))
}

// XORAddr appends an XOR-*-ADDRESS attribute.
func (w *Builder) XORAddr(t uint16, a netip.AddrPort) *Builder {
	if w.err == nil && !a.Addr().IsValid() {
		w.err = ErrAddress
	}
	if w.head(t, addrSize(a)) {
		w.b = appendXORAddr(w.b, a, w.b[8:HeaderSize])
	}
	return w
}

// ICMP appends ICMP (RFC 8656 §18.13).
func (w *Builder) ICMP(e ICMP) *Builder {
	return w.Attr(AttrICMP, binary.BigEndian.AppendUint32([]byte{0, 0, e.Type, e.Code}, e.MTU))
}

// Integrity appends MESSAGE-INTEGRITY over what is there so far. Nothing but IntegritySHA256 and Fingerprint may follow.
func (w *Builder) Integrity(key []byte) *Builder {
	n := len(w.b)
	if w.head(AttrMessageIntegrity, integritySize-4) {
		w.b = integrityOf(w.b, key, w.b[:n])
	}
	return w
}

// IntegritySHA256 appends MESSAGE-INTEGRITY-SHA256, in full length, over what is there so far. Where a message has both
// integrities this is the second. Nothing but Fingerprint may follow.
func (w *Builder) IntegritySHA256(key []byte) *Builder {
	n := len(w.b)
	if w.head(AttrMessageIntegritySHA256, integrity256-4) {
		w.b = integritySHA256Of(w.b, key, w.b[:n])
	}
	return w
}

// Fingerprint appends FINGERPRINT. Nothing may follow.
func (w *Builder) Fingerprint() *Builder {
	n := len(w.b)
	if w.head(AttrFingerprint, fingerprintSize-4) {
		w.b = binary.BigEndian.AppendUint32(w.b, fingerprintOf(w.b[:n], n-HeaderSize+fingerprintSize))
	}
	return w
}

// Bytes sets the header's length and returns the message, or nil if there is an error: see [Builder.Err].
func (w *Builder) Bytes() []byte {
	if w.err != nil {
		return nil
	}
	binary.BigEndian.PutUint16(w.b[2:], uint16(len(w.b)-HeaderSize))
	return w.b
}

// Err is why there is no message, or nil.
func (w *Builder) Err() error { return w.err }

// addrSize is the size of an XOR-*-ADDRESS's value.
func addrSize(a netip.AddrPort) int {
	if a.Addr().Is4() {
		return 8
	}
	return 20
}

// appendXORAddr appends the value of an XOR-*-ADDRESS.
func appendXORAddr(dst []byte, a netip.AddrPort, txid []byte) []byte {
	port := a.Port() ^ magicCookie>>16
	if a.Addr().Is4() {
		ip := a.Addr().As4()
		v := binary.BigEndian.Uint32(ip[:]) ^ magicCookie
		return append(dst, 0, FamilyIPv4, byte(port>>8), byte(port), byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
	}
	ip := a.Addr().As16()
	dst = append(dst, 0, FamilyIPv6, byte(port>>8), byte(port), ip[0]^0x21, ip[1]^0x12, ip[2]^0xa4, ip[3]^0x42)
	for i := 4; i < 16; i++ {
		dst = append(dst, ip[i]^txid[i-4])
	}
	return dst
}

func appendPadding(dst []byte, n int) []byte {
	return append(dst, "\x00\x00\x00"[:DataPadding(n)]...)
}
