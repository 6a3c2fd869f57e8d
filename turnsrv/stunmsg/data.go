package stunmsg

import (
	"encoding/binary"
	"errors"
	"net/netip"
)

// ErrFrame is the error of a stream that carries something which is neither STUN nor ChannelData. Nothing behind it can
// be trusted, so the connection must be closed.
var ErrFrame = errors.New("neither a STUN message nor ChannelData on the stream")

// FrameSize is the size in bytes, padding included, of the frame that b begins with on a stream (RFC 8656 §12.5). b
// holds at least 4 bytes; with 8 or more the magic cookie of a STUN message is checked too. Sizes are computed in an
// int, so that no length can wrap, and a frame above [MaxFrame] is [ErrFrame].
func FrameSize(b []byte) (int, error) {
	if len(b) < 4 {
		return 0, ErrFrame
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case b[0] < 4:
		if n%4 != 0 || len(b) >= 8 && binary.BigEndian.Uint32(b[4:]) != magicCookie {
			return 0, ErrFrame
		}
		n += HeaderSize
	case IsChannel(b[0]):
		n = ChannelHeader + padded(n)
	default:
		return 0, ErrFrame
	}
	if n > MaxFrame {
		return 0, ErrFrame
	}
	return n, nil
}

// IsChannel reports whether a message with this first byte is ChannelData, with a number from [MinChannel] to
// [MaxChannel].
func IsChannel(first byte) bool { return first&0xc0 == 0x40 }

// ParseChannelData reads one ChannelData message. ok is false if b is none: a number outside [MinChannel] to
// [MaxChannel], or a length beyond b. data points into b and may be empty; what is behind it in b is padding.
func ParseChannelData(b []byte) (number uint16, data []byte, ok bool) {
	if len(b) < ChannelHeader || !IsChannel(b[0]) {
		return 0, nil, false
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n > len(b)-ChannelHeader {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(b), b[ChannelHeader : ChannelHeader+n], true
}

// Send is the content of a Send indication.
type Send struct {
	Peer         netip.AddrPort
	Data         []byte // points into the message
	DontFragment bool
}

// ParseSend reads a Send indication (RFC 8656 §11.2). ok is false if the message must be dropped: it is no Send
// indication, is malformed, lacks XOR-PEER-ADDRESS or DATA, or has an unexpected comprehension-required attribute. It
// allocates nothing.
func ParseSend(b []byte) (s Send, ok bool) {
	if !IsSTUN(b) || Type(binary.BigEndian.Uint16(b)) != SendIndication {
		return Send{}, false
	}
	end := HeaderSize + int(binary.BigEndian.Uint16(b[2:]))
	var addr []byte
	haveData := false
	for at := HeaderSize; at < end; {
		if at+4 > end {
			return Send{}, false
		}
		t, n := binary.BigEndian.Uint16(b[at:]), int(binary.BigEndian.Uint16(b[at+2:]))
		next := at + 4 + padded(n)
		if next > end {
			return Send{}, false
		}
		switch v := b[at+4 : at+4+n]; {
		case t == AttrXORPeerAddress && addr == nil:
			addr = v
		case t == AttrData && !haveData:
			s.Data, haveData = v, true
		case t == AttrDontFragment:
			s.DontFragment = true
		case t == AttrXORPeerAddress || t == AttrData || t >= 0x8000:
		default:
			return Send{}, false
		}
		at = next
	}
	if addr == nil || !haveData {
		return Send{}, false
	}
	var err error
	s.Peer, err = XORAddr(addr, b[8:HeaderSize])
	return s, err == nil
}

// AppendDataHeader appends a Data indication from peer (RFC 8656 §11.3) up to where the value of its DATA attribute
// begins. The caller puts the n bytes of data behind it, then DataPadding(n) zeros. Its transaction id is txid. ok is
// false, and nothing appended, if the whole would have more than [MaxFrame] bytes.
func AppendDataHeader(dst []byte, peer netip.AddrPort, n int, txid *[12]byte) (b []byte, ok bool) {
	addr := addrSize(peer)
	length := 4 + addr + 4 + padded(n)
	if n < 0 || HeaderSize+length > MaxFrame {
		return dst, false
	}
	dst = append(dst, byte(DataIndication>>8), byte(DataIndication), byte(length>>8), byte(length), 0x21, 0x12, 0xa4, 0x42)
	dst = append(dst, txid[:]...)
	dst = append(dst, byte(AttrXORPeerAddress>>8), byte(AttrXORPeerAddress&0xff), 0, byte(addr))
	dst = appendXORAddr(dst, peer, txid[:])
	return append(dst, byte(AttrData>>8), byte(AttrData&0xff), byte(n>>8), byte(n)), true
}

// ICMP is the value of ICMP in a Data indication without data (RFC 8656 §18.13): what an ICMP message said of a datagram
// that was sent to the peer, in the numbers of ICMPv4 or ICMPv6 as the peer's address is of IPv4 or IPv6.
//
// Type and code are on the wire with the 8 bits that they have in ICMP, which is also how turn-proto has them. Figure 11 of the
// RFC draws 7 and 9; its text gives no widths.
type ICMP struct {
	Type, Code uint8
	MTU        uint32 // of the next link in bytes, where the datagram was too large for that; else 0
}

// ParseICMP reads the value of an ICMP attribute. ok is false if it is none.
func ParseICMP(value []byte) (e ICMP, ok bool) {
	if len(value) != 8 {
		return e, false
	}
	return ICMP{value[2], value[3], binary.BigEndian.Uint32(value[4:])}, true
}

// PutChannelHeader writes the header of a ChannelData message with n bytes of data (RFC 8656 §12.4). It reports whether
// there is such a message: with its padding it may have [MaxFrame] bytes at most.
func PutChannelHeader(dst *[ChannelHeader]byte, number uint16, n int) bool {
	if n < 0 || ChannelHeader+padded(n) > MaxFrame || number < MinChannel || number > MaxChannel {
		return false
	}
	*dst = [ChannelHeader]byte{byte(number >> 8), byte(number), byte(n >> 8), byte(n)}
	return true
}

// DataPadding is the number of zeros behind a value of n bytes.
func DataPadding(n int) int { return padded(n) - n }
