package broker

import (
	"bytes"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/jsontext"
)

// maxID is longer than any id that a [Decider] of ours lets in, in bytes. Nobody is asked about a longer one, and it is kept
// nowhere.
const maxID = 4 << 10

// maxAsked is how many Nodes can be asked about at once. The original has no bound: one message had it look for 90 000.
const maxAsked = 1000

// message is what the Broker reads of a payload: JSON in a JSON string.
type message struct {
	to         string // trimmed; empty: too long for an id, so that it names nobody
	candidates Candidates
	from       []byte // raw value, valid until the buffer is used again; nil if there was none
}

// read reads the payload arg, a JSON value, with buf for its text; false if it is not what an event must carry. Of a member
// that is there twice the last counts, as for JSON.parse.
func (m *message) read(arg []byte, buf *[]byte, candidates bool) bool {
	if len(arg) == 0 || arg[0] != '"' {
		return false
	}
	*buf = jsontext.AppendText(*buf, arg)
	return m.readText(*buf, candidates)
}

// readText reads the text of a payload.
func (m *message) readText(text []byte, candidates bool) bool {
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
	name := jsontext.Trim(plainText(to))
	if len(name) <= maxID {
		m.to = string(name)
	}
	if candidates {
		m.candidates.count(text)
	}
	return len(name) > 0
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

// Candidates counts ICE candidates by kind.
type Candidates struct{ Host, Srflx, Prflx, Relay, Other uint32 }

// count adds the candidates of a payload ("candidate:1 1 udp 1 192.0.2.1 9 typ srflx raddr …", RFC 8839 section 5.1): one by
// itself, or as many as a session description has.
func (c *Candidates) count(text []byte) {
	for {
		_, rest, found := bytes.Cut(text, []byte("candidate:"))
		if !found {
			return
		}
		line := rest
		if i := bytes.IndexAny(rest, "\\\"\r\n"); i >= 0 { // ends of lines are escaped in JSON
			line = rest[:i]
		}
		text = rest[len(line):]
		_, kind, _ := bytes.Cut(line, []byte(" typ "))
		kind, _, _ = bytes.Cut(kind, []byte(" "))
		switch string(kind) {
		case "host":
			c.Host++
		case "srflx":
			c.Srflx++
		case "prflx":
			c.Prflx++
		case "relay":
			c.Relay++
		default:
			if len(line) > 0 { // an empty one says that there are no more
				c.Other++
			}
		}
	}
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
		if len(ids) == maxAsked {
			ok = false
			return
		}
		id := jsontext.Trim(plainText(v))
		ok = ok && len(id) > 0
		ids = append(ids, string(id))
	})
	return ids, ok && err == nil
}
