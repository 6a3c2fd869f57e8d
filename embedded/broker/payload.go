package broker

import (
	"bytes"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/jsontext"
)

// message is what the Broker reads of a payload: JSON in a JSON string.
type message struct {
	to        string // trimmed, not empty
	candidate string
	from      []byte // raw value, valid until the buffer is used again; nil if there was none
}

// read reads the payload arg, a JSON value, with buf for its text; false if it is not what an event must carry. Of a member
// that is there twice the last counts, as for JSON.parse.
func (m *message) read(arg []byte, buf *[]byte, candidate bool) bool {
	if len(arg) == 0 || arg[0] != '"' {
		return false
	}
	*buf = jsontext.AppendText(*buf, arg)
	text := *buf
	var to []byte
	err := jsontext.Object(text, func(name, value []byte) {
		switch string(name) {
		case "to":
			to = value
		case "from":
			m.from = value
		}
	})
	if err != nil || len(to) == 0 || to[0] != '"' {
		return false
	}
	m.to = string(jsontext.Trim(plainText(to)))
	if candidate {
		m.candidate = candidateKind(text)
	}
	return m.to != ""
}

// plainText is what a raw JSON string stands for.
func plainText(raw []byte) []byte {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw[1 : len(raw)-1]
	}
	return jsontext.AppendText(nil, raw)
}

// forged reports whether the payload names another sender than node.
func (m *message) forged(node string) bool {
	return m.from != nil && (m.from[0] != '"' || string(plainText(m.from)) != node)
}

// candidateKind finds the kind of the ICE candidate in a payload ("… typ srflx raddr …", RFC 8839 section 5.1), empty for
// none that is known.
func candidateKind(text []byte) string {
	_, rest, _ := bytes.Cut(text, []byte(" typ "))
	for _, kind := range [...]string{"host", "srflx", "prflx", "relay"} {
		if len(rest) > len(kind) && string(rest[:len(kind)]) == kind && (rest[len(kind)] == ' ' || rest[len(kind)] == '"' || rest[len(kind)] == '\\') {
			return kind
		}
	}
	return ""
}

// readIDs reads the payload of ARE_NODES_CONNECTED_TO_BROKER.
func readIDs(arg []byte, buf *[]byte) (ids []string, ok bool) {
	if len(arg) == 0 || arg[0] != '"' {
		return nil, false
	}
	*buf = jsontext.AppendText(*buf, arg)
	var list []byte
	if err := jsontext.Object(*buf, func(name, value []byte) {
		if string(name) == "ids" {
			list = value
		}
	}); err != nil {
		return nil, false
	}
	ok = true
	err := jsontext.Array(list, func(v []byte) {
		if v[0] != '"' {
			ok = false
			return
		}
		id := jsontext.Trim(plainText(v))
		ok = ok && len(id) > 0
		ids = append(ids, string(id))
	})
	return ids, ok && err == nil
}
