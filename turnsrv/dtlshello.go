package turnsrv

import (
	"bytes"
	"encoding/binary"
)

// The layout of a DTLS record with a handshake message, RFC 6347 §4.1 and §4.2.2.
const (
	recordHeader         = 13
	handshakeHeader      = 12
	recordApplication    = 23
	helloMessage         = 1
	verifyRequestMessage = 3

	randomAt   = 2             // in a ClientHello, behind its version
	sessionAt  = randomAt + 32 // the length of its session id
	maxSession = 32            // bytes of a session id
)

// hello is what the first fragment of a ClientHello, or all of it, says. It points into the datagram.
type hello struct {
	record   uint64 // the number of its record
	sequence uint16 // 0 for a client's first ClientHello, 1 for the one with the cookie
	fixed    []byte // version, random and session id, which both have in common
	cookie   []byte
}

// parseHello reads a datagram that begins with a ClientHello or its first fragment, which must go beyond the cookie.
func parseHello(b []byte) (h hello, ok bool) {
	record, _, ok := cutRecord(b)
	if !ok || b[0] != recordHandshake || b[1] != 0xfe || !isPlaintext(b) {
		return h, false
	}
	f, _, ok := cutFragment(record[recordHeader:])
	if !ok || f.kind != helloMessage || f.offset != 0 {
		return h, false
	}
	h.fixed, h.cookie, ok = cutHello(f.body)
	h.record, h.sequence = sequenceOf(b), f.sequence
	return h, ok
}

// random is the hello's own random bytes: two hellos of one handshake have them in common, and no others.
func (h *hello) random() [32]byte { return [32]byte(h.fixed[randomAt:]) }

// cutHello cuts a ClientHello before its cookie's length and behind its cookie.
func cutHello(body []byte) (fixed, cookie []byte, ok bool) {
	if len(body) <= sessionAt || body[sessionAt] > maxSession {
		return nil, nil, false
	}
	at := sessionAt + 1 + int(body[sessionAt])
	if len(body) <= at || len(body) <= at+int(body[at]) {
		return nil, nil, false
	}
	return body[:at], body[at+1 : at+1+int(body[at])], true
}

// cutRecord cuts the first record off a datagram.
func cutRecord(b []byte) (record, rest []byte, ok bool) {
	if len(b) < recordHeader {
		return nil, nil, false
	}
	n := recordHeader + int(binary.BigEndian.Uint16(b[11:]))
	if n > len(b) {
		return nil, nil, false
	}
	return b[:n:n], b[n:], true
}

// fragment is a handshake message or a part of one.
type fragment struct {
	kind           byte
	sequence       uint16
	length, offset int
	body           []byte
}

// cutFragment cuts the first fragment off the content of a handshake record.
func cutFragment(b []byte) (f fragment, rest []byte, ok bool) {
	if len(b) < handshakeHeader {
		return f, nil, false
	}
	n := uint24(b[9:])
	f = fragment{kind: b[0], length: uint24(b[1:]), sequence: binary.BigEndian.Uint16(b[4:]), offset: uint24(b[6:])}
	if n > len(b)-handshakeHeader || f.offset+n > f.length {
		return f, nil, false
	}
	f.body = b[handshakeHeader : handshakeHeader+n]
	return f, b[handshakeHeader+n:], true
}

func (f *fragment) append(b []byte) []byte {
	b = append(b, f.kind)
	b = appendUint24(b, f.length)
	b = binary.BigEndian.AppendUint16(b, f.sequence)
	b = appendUint24(b, f.offset)
	b = appendUint24(b, len(f.body))
	return append(b, f.body...)
}

// withoutCookie is the second ClientHello of a client, or fragments of it, as its first one was: what b has of it, with
// message number 0 and without the cookie. It is empty where b has nothing of it. The numbers of records are doubled,
// as renumber leaves room for.
func withoutCookie(b []byte) (out []byte) {
	for {
		record, rest, ok := cutRecord(b)
		if !ok {
			return out
		}
		if record[0] == recordHandshake && isPlaintext(record) {
			out = appendFirst(out, record)
		}
		b = rest
	}
}

// appendFirst appends what a record has of the second ClientHello, as a record of the first one.
func appendFirst(out, record []byte) []byte {
	begin := len(out)
	out = append(out, record[:recordHeader]...)
	for content := record[recordHeader:]; ; {
		f, rest, ok := cutFragment(content)
		if !ok {
			break
		}
		content = rest
		if f.kind != helloMessage || f.sequence != 1 || f.length < cookieLen {
			continue
		}
		f.sequence = 0
		f.length -= cookieLen
		if f.offset > 0 {
			if f.offset -= cookieLen; f.offset < 0 || f.offset+len(f.body) > f.length {
				continue
			}
		} else {
			fixed, cookie, ok := cutHello(f.body)
			if !ok || len(cookie) != cookieLen {
				continue
			}
			behind := f.body[len(fixed)+1+cookieLen:]
			f.body = append(append(bytes.Clone(fixed), 0), behind...)
		}
		out = f.append(out)
	}
	n := len(out) - begin - recordHeader
	if n == 0 {
		return out[:begin]
	}
	putUint48(out[begin+5:], 2*sequenceOf(record))
	binary.BigEndian.PutUint16(out[begin+11:], uint16(n))
	return out
}

// renumber gives the plaintext records in b odd numbers, in place, in the same order: the even ones are for what
// withoutCookie makes of them. Package dtls drops what comes with a number that was there already.
func renumber(b []byte) {
	eachPlaintext(b, func(n uint64) uint64 { return 2*n + 1 })
}

// eachPlaintext replaces the number of every record in b that is not encrypted, in place.
func eachPlaintext(b []byte, number func(uint64) uint64) {
	for {
		record, rest, ok := cutRecord(b)
		if !ok {
			return
		}
		if isPlaintext(record) {
			putUint48(record[5:], number(sequenceOf(record)))
		}
		b = rest
	}
}

// isVerifyRequest reports whether a datagram is a HelloVerifyRequest.
func isVerifyRequest(b []byte) bool {
	return len(b) > recordHeader && b[0] == recordHandshake && isPlaintext(b) && b[recordHeader] == verifyRequestMessage
}

// isPlaintext reports whether the first record is of epoch 0: of a handshake that has not agreed on keys.
func isPlaintext(b []byte) bool { return len(b) >= recordHeader && b[3] == 0 && b[4] == 0 }

// offersProtocol reports whether a ClientHello has one of our ALPN names, by looking for its bytes: package dtls
// refuses a client that knows other names only, so it may know of ours only if the client does too.
func offersProtocol(hello []byte) bool {
	for _, p := range protocols {
		if bytes.Contains(hello, append([]byte{byte(len(p))}, p...)) {
			return true
		}
	}
	return false
}

// controlBytes is how much of a datagram is not application data: what package dtls keeps for a handshake.
func controlBytes(b []byte) int {
	n := 0
	for len(b) >= recordHeader {
		size := recordHeader + (int(b[11])<<8 | int(b[12]))
		if b[0] != recordApplication {
			n += min(size, len(b))
		}
		b = b[min(size, len(b)):]
	}
	return n + len(b)
}

// sequenceOf is the number of a record within its epoch.
func sequenceOf(record []byte) uint64 {
	return uint64(binary.BigEndian.Uint16(record[5:]))<<32 | uint64(binary.BigEndian.Uint32(record[7:]))
}

func putUint48(b []byte, n uint64) {
	binary.BigEndian.PutUint16(b, uint16(n>>32))
	binary.BigEndian.PutUint32(b[2:], uint32(n))
}

func appendUint48(b []byte, n uint64) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint16(b, uint16(n>>32)), uint32(n))
}

func uint24(b []byte) int { return int(b[0])<<16 | int(b[1])<<8 | int(b[2]) }

func appendUint24(b []byte, n int) []byte { return append(b, byte(n>>16), byte(n>>8), byte(n)) }
