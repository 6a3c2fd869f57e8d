package stunmsg

import (
	"crypto/hmac"
	"crypto/sha1" //nolint:gosec // RFC 8489 §14.5 prescribes HMAC-SHA1
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"hash/crc32"
	"net/netip"
)

// Errors of Parse and of the functions that read attributes.
var (
	ErrNotSTUN   = errors.New("not a STUN message")
	ErrMalformed = errors.New("malformed STUN message")
	ErrAddress   = errors.New("malformed address attribute")
)

// IsSTUN reports whether b begins with the header of a STUN message that is no longer than b (RFC 8489 §5).
func IsSTUN(b []byte) bool {
	return len(b) >= HeaderSize && b[0] < 4 && binary.BigEndian.Uint32(b[4:]) == magicCookie &&
		b[3]&3 == 0 && HeaderSize+int(binary.BigEndian.Uint16(b[2:])) <= len(b)
}

// Message is a parsed view of a STUN message. It points into the caller's buffer and is valid as long as that is.
// The zero value is ready for Parse, and may be parsed into again.
type Message struct {
	Type Type
	Raw  []byte // header and attributes, nothing behind them

	end         int // where the attributes that count end: MESSAGE-INTEGRITY, FINGERPRINT or the message's end
	integrity   int // offset of MESSAGE-INTEGRITY, 0 for none
	sha256      int // offset of MESSAGE-INTEGRITY-SHA256, 0 for none
	fingerprint int // offset of FINGERPRINT, 0 for none
}

// Parse reads one whole message from b, which may not have anything behind it. It checks the header and that every
// attribute fits, and finds the integrities and FINGERPRINT. Attributes behind MESSAGE-INTEGRITY, but for those, are
// ignored (RFC 8489 §9). MESSAGE-INTEGRITY-SHA256 is an attribute as any other until [Message.CutAtSHA256].
func (m *Message) Parse(b []byte) error {
	*m = Message{}
	if !IsSTUN(b) {
		return ErrNotSTUN
	}
	if len(b) != HeaderSize+int(binary.BigEndian.Uint16(b[2:])) {
		return ErrMalformed
	}
	m.Raw, m.Type, m.end = b, Type(binary.BigEndian.Uint16(b)), len(b)
	for at := HeaderSize; at < len(b); {
		if at+4 > len(b) {
			return ErrMalformed
		}
		t, n := binary.BigEndian.Uint16(b[at:]), int(binary.BigEndian.Uint16(b[at+2:]))
		next := at + 4 + padded(n)
		if next > len(b) {
			return ErrMalformed
		}
		switch t {
		case AttrMessageIntegrity:
			if n != 20 {
				return ErrMalformed
			}
			if m.integrity == 0 {
				m.integrity, m.end = at, at
			}
		case AttrMessageIntegritySHA256:
			if m.sha256 == 0 {
				m.sha256 = at
			}
		case AttrFingerprint:
			// It must be the last attribute (RFC 8489 §14.7).
			if n != 4 || next != len(b) {
				return ErrMalformed
			}
			m.fingerprint = at
			m.end = min(m.end, at)
		}
		at = next
	}
	return nil
}

// TransactionID is the 96-bit transaction id; it points into Raw.
func (m *Message) TransactionID() []byte { return m.Raw[8:HeaderSize] }

// HasIntegrity reports whether the message carries MESSAGE-INTEGRITY, right or wrong.
func (m *Message) HasIntegrity() bool { return m.integrity != 0 }

// CutAtSHA256 has what is behind MESSAGE-INTEGRITY-SHA256 ignored too, as RFC 8489 §9 wants it: whichever integrity is
// checked, then, it covers every attribute that counts.
func (m *Message) CutAtSHA256() {
	if m.sha256 != 0 {
		m.end = min(m.end, m.sha256)
	}
}

// IntegritySHA256 returns the value of MESSAGE-INTEGRITY-SHA256, of whatever length, right or wrong.
func (m *Message) IntegritySHA256() (value []byte, ok bool) {
	if m.sha256 == 0 {
		return nil, false
	}
	n := int(binary.BigEndian.Uint16(m.Raw[m.sha256+2:]))
	return m.Raw[m.sha256+4 : m.sha256+4+n], true
}

// HasFingerprint reports whether the message carries FINGERPRINT.
func (m *Message) HasFingerprint() bool { return m.fingerprint != 0 }

// Get returns the value of the first attribute of type t, pointing into Raw. A repeated attribute counts once
// (RFC 8489 §14).
func (m *Message) Get(t uint16) (value []byte, ok bool) {
	for at := HeaderSize; at < m.end; {
		n := int(binary.BigEndian.Uint16(m.Raw[at+2:]))
		if binary.BigEndian.Uint16(m.Raw[at:]) == t {
			return m.Raw[at+4 : at+4+n], true
		}
		at += 4 + padded(n)
	}
	return nil, false
}

// Each calls f with every attribute that counts, in order, until f returns false.
func (m *Message) Each(f func(t uint16, value []byte) bool) {
	for at := HeaderSize; at < m.end; {
		n := int(binary.BigEndian.Uint16(m.Raw[at+2:]))
		if !f(binary.BigEndian.Uint16(m.Raw[at:]), m.Raw[at+4:at+4+n]) {
			return
		}
		at += 4 + padded(n)
	}
}

// CheckIntegrity reports, in constant time, whether the message carries the MESSAGE-INTEGRITY that key gives.
func (m *Message) CheckIntegrity(key []byte) bool {
	if m.integrity == 0 {
		return false
	}
	var sum [sha1.Size]byte
	return hmac.Equal(integrityOf(sum[:0], key, m.Raw[:m.integrity]), m.Raw[m.integrity+4:m.integrity+4+sha1.Size])
}

// CheckIntegritySHA256 reports, in constant time, whether the message carries the MESSAGE-INTEGRITY-SHA256 that key gives,
// in its full length: TURN allows no shorter one (RFC 8489 §14.6).
func (m *Message) CheckIntegritySHA256(key []byte) bool {
	value, ok := m.IntegritySHA256()
	if !ok {
		return false
	}
	var sum [sha256.Size]byte
	return hmac.Equal(integritySHA256Of(sum[:0], key, m.Raw[:m.sha256]), value)
}

// CheckFingerprint reports whether FINGERPRINT is absent or right.
func (m *Message) CheckFingerprint() bool {
	return m.fingerprint == 0 ||
		binary.BigEndian.Uint32(m.Raw[m.fingerprint+4:]) == fingerprintOf(m.Raw[:m.fingerprint], len(m.Raw)-HeaderSize)
}

// XORAddr decodes the value of an XOR-MAPPED-, XOR-PEER- or XOR-RELAYED-ADDRESS (RFC 8489 §14.2). txid is the
// message's transaction id. An IPv4-mapped IPv6 address is left in that form: policy must see what was sent.
func XORAddr(value, txid []byte) (netip.AddrPort, error) {
	if len(value) < 8 || len(txid) < 12 {
		return netip.AddrPort{}, ErrAddress
	}
	port := binary.BigEndian.Uint16(value[2:]) ^ magicCookie>>16
	switch {
	case value[1] == FamilyIPv4 && len(value) == 8:
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(value[4:])^magicCookie)
		return netip.AddrPortFrom(netip.AddrFrom4(a), port), nil
	case value[1] == FamilyIPv6 && len(value) == 20:
		var a [16]byte
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(value[4:])^magicCookie)
		for i := 4; i < 16; i++ {
			a[i] = value[4+i] ^ txid[i-4]
		}
		return netip.AddrPortFrom(netip.AddrFrom16(a), port), nil
	}
	return netip.AddrPort{}, ErrAddress
}

// Addr decodes the value of an address attribute as MAPPED-ADDRESS has it (RFC 8489 §14.1), such as ALTERNATE-SERVER or
// OTHER-ADDRESS.
func Addr(value []byte) (netip.AddrPort, error) {
	if len(value) >= 8 {
		ip, ok := netip.AddrFromSlice(value[4:])
		if ok && (value[1] == FamilyIPv4 && ip.Is4() || value[1] == FamilyIPv6 && ip.Is6()) {
			return netip.AddrPortFrom(ip, binary.BigEndian.Uint16(value[2:])), nil
		}
	}
	return netip.AddrPort{}, ErrAddress
}

func padded(n int) int { return (n + 3) &^ 3 }

// integrityOf appends the HMAC of a message whose bytes before MESSAGE-INTEGRITY are b. The header's length field
// is taken as if the message ended with that attribute (RFC 8489 §14.5).
func integrityOf(dst, key, b []byte) []byte { return macOf(dst, sha1.New, key, b, integritySize) }

// integritySHA256Of is integrityOf for MESSAGE-INTEGRITY-SHA256 (RFC 8489 §14.6).
func integritySHA256Of(dst, key, b []byte) []byte {
	return macOf(dst, sha256.New, key, b, integrity256)
}

func macOf(dst []byte, h func() hash.Hash, key, b []byte, size int) []byte {
	var head [4]byte
	copy(head[:2], b)
	binary.BigEndian.PutUint16(head[2:], uint16(len(b)-HeaderSize+size))
	mac := hmac.New(h, key)
	mac.Write(head[:])
	mac.Write(b[4:])
	return mac.Sum(dst)
}

// fingerprintOf is the value of a FINGERPRINT behind b in a message of the given length (RFC 8489 §14.7).
func fingerprintOf(b []byte, length int) uint32 {
	var head [4]byte
	copy(head[:2], b)
	binary.BigEndian.PutUint16(head[2:], uint16(length))
	return crc32.Update(crc32.ChecksumIEEE(head[:]), crc32.IEEETable, b[4:]) ^ 0x5354554e
}
