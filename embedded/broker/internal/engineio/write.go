package engineio

import (
	"strconv"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/jsontext"
)

// AppendOpen appends the first packet of a connection; sid is the engine's id of it.
func AppendOpen(dst []byte, sid string) []byte {
	dst = append(dst, `0{"sid":"`...)
	dst = append(dst, sid...)
	dst = append(dst, `","upgrades":[],"pingInterval":`...)
	dst = strconv.AppendInt(dst, PingInterval.Milliseconds(), 10)
	dst = append(dst, `,"pingTimeout":`...)
	dst = strconv.AppendInt(dst, PingTimeout.Milliseconds(), 10)
	dst = append(dst, `,"maxPayload":`...)
	dst = strconv.AppendInt(dst, MaxPayload, 10)
	return append(dst, '}')
}

// AppendConnected appends the answer to a CONNECT that succeeded; sid is the socket's id.
func AppendConnected(dst []byte, sid string) []byte {
	dst = append(dst, `40{"sid":"`...)
	dst = append(dst, sid...)
	return append(dst, `"}`...)
}

// AppendRefused appends the answer to a CONNECT that failed. namespace is empty for "/".
func AppendRefused(dst, namespace []byte, text string) []byte {
	dst = append(dst, "44"...)
	if len(namespace) > 0 {
		dst = append(append(dst, namespace...), ',')
	}
	dst = append(dst, `{"message":`...)
	dst = jsontext.AppendQuoted(dst, text)
	return append(dst, '}')
}

// AppendEvent appends an event with one argument, which is JSON.
func AppendEvent(dst []byte, name string, arg []byte) []byte {
	dst = append(dst, `42["`...)
	dst = append(dst, name...)
	dst = append(dst, `",`...)
	dst = append(dst, arg...)
	return append(dst, ']')
}

// AppendAck appends an acknowledgement with one argument, which is a plain text of the protocol or text that a Node sent.
func AppendAck[T jsontext.Quoted](dst, id []byte, value T) []byte {
	dst = append(dst, "43"...)
	dst = appendNumber(dst, id)
	dst = append(dst, '[')
	dst = jsontext.AppendQuoted(dst, value)
	return append(dst, ']')
}

// appendNumber appends digits as JavaScript prints the number that it has read from them.
func appendNumber(dst, digits []byte) []byte {
	for len(digits) > 1 && digits[0] == '0' {
		digits = digits[1:]
	}
	if len(digits) <= 15 {
		return append(dst, digits...)
	}
	f, err := strconv.ParseFloat(string(digits), 64)
	switch {
	case err != nil:
		return append(dst, "Infinity"...)
	case f < 1e21:
		return strconv.AppendFloat(dst, f, 'f', -1, 64)
	}
	return strconv.AppendFloat(dst, f, 'e', -1, 64)
}
