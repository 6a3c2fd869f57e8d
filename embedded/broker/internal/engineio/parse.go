package engineio

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/jsontext"
)

// reserved are the event names that no client may send.
var reserved = []string{"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}

// parse reads a Socket.IO packet: type, attachments of a binary one, namespace, id, JSON.
func parse(b []byte) (p Packet, attachments int, err error) {
	if len(b) == 0 || b[0] < '0' || b[0] > '6' {
		return p, 0, ErrProtocol
	}
	p.Type = Type(b[0] - '0')
	b = b[1:]
	if p.Type > ConnectError {
		p.Binary = true
		p.Type -= 3 // binary event, binary acknowledgement
		dash := bytes.IndexByte(b, '-')
		if dash < 0 || dash > 6 || digits(b) < dash {
			return p, 0, ErrProtocol
		}
		attachments, _ = strconv.Atoi(string(b[:dash])) // none is 0
		b = b[dash+1:]
	}
	if len(b) > 0 && b[0] == '/' {
		end := bytes.IndexByte(b, ',')
		if end < 0 {
			p.Namespace, b = b, nil
		} else {
			p.Namespace, b = b[:end], b[end+1:]
		}
		if len(p.Namespace) == 1 {
			p.Namespace = nil
		}
	}
	if n := digits(b); n > 0 {
		p.HasID = true
		p.ID, b = b[:n], b[n:]
	}
	p.Data = b
	if len(b) > 0 && !validData(p.Type, b) {
		return p, 0, ErrProtocol
	}
	return p, attachments, nil
}

func digits(b []byte) int {
	for i, c := range b {
		if c < '0' || c > '9' {
			return i
		}
	}
	return len(b)
}

// validData reports whether a packet of type t may have the data b, which is not empty.
func validData(t Type, b []byte) bool {
	first := b[min(jsontext.Space(b, 0), len(b)-1)]
	if t == Leave || !jsontext.Valid(b) {
		return false
	}
	switch t {
	case Connect:
		return first == '{'
	case ConnectError:
		return first == '{' || first == '"'
	case Ack:
		return first == '['
	}
	if first != '[' {
		return false
	}
	// The name: a string that is not reserved, or a number.
	i := jsontext.Space(b, jsontext.Space(b, 0)+1)
	if b[i] == '-' || (b[i] >= '0' && b[i] <= '9') {
		return true
	}
	if b[i] != '"' {
		return false
	}
	end, err := jsontext.Skip(b, i)
	if err != nil || end-i > 100 {
		return err == nil // too long for a reserved one
	}
	return !slices.Contains(reserved, string(jsontext.AppendText(nil, b[i:end])))
}

// Name is the raw name of an event, and the raw arguments that follow it: at most two of them, since no event has more
// than one. more is how many there were beyond.
func (p *Packet) Name() (name []byte, args [2][]byte, n int) {
	i := -1
	_ = jsontext.Array(p.Data, func(v []byte) {
		switch {
		case i < 0:
			name = v
		case i < len(args):
			args[i] = v
		}
		i++
	})
	return name, args, max(i, 0)
}
