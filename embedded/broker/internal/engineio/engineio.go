// Package engineio reads and writes the packets that a Node and its Broker exchange in WebSocket messages: Engine.IO
// protocol 4 around Socket.IO protocol 5, for one transport (websocket) and without sending binary. What it refuses is what
// socket.io 4.8 closes a connection for.
package engineio

import (
	"errors"
	"time"
)

// What the server tells in its first packet, as socket.io does.
const (
	PingInterval = 25 * time.Second
	PingTimeout  = 20 * time.Second
	MaxPayload   = 1_000_000
)

// Packets that are always the same.
const (
	Ping       = "2"
	Disconnect = "41"
)

// ErrProtocol is a packet after which the connection must end.
var ErrProtocol = errors.New("engine.io or socket.io protocol violated")

// Type is that of a Socket.IO packet; a binary event or acknowledgement has the type of its plain form.
type Type byte

// The types that a client sends.
const (
	Connect Type = iota
	Leave
	Event
	Ack
	ConnectError
)

// Packet is a Socket.IO packet of a client. Its slices point into the message that it was read from, except where Binary.
type Packet struct {
	Type      Type
	Namespace []byte // without the query that a client may append; empty: "/"
	HasID     bool
	ID        []byte // of the acknowledgement that the client wants, as digits
	Data      []byte // JSON; empty if there was none
	Binary    bool   // had attachments, which are gone
}

// Kind says what a message was.
type Kind byte

// The kinds of messages.
const (
	Ignored Kind = iota // nothing to do
	Pong
	Message // a Packet
)

// Decoder reads the messages of one connection. It is not safe for concurrent use.
type Decoder struct {
	// waiting is a binary packet whose attachments are still to come, nil otherwise.
	waiting     *Packet
	attachments int
}

// Text reads a text message, which must be UTF-8. An error is an [ErrProtocol].
func (d *Decoder) Text(b []byte) (Packet, Kind, error) {
	if len(b) == 0 {
		return Packet{}, 0, ErrProtocol
	}
	switch b[0] {
	case '0', '1', '5', '6':
		return Packet{}, Ignored, nil
	case '3':
		return Packet{}, Pong, nil
	case 'b': // binary in base64
		return d.Binary()
	case '4':
		return d.packet(b[1:])
	}
	return Packet{}, 0, ErrProtocol
}

// maxPending is how long a packet may be that is kept until its attachments come, which may be never. No Node has any.
const maxPending = 4 << 10

func (d *Decoder) packet(b []byte) (Packet, Kind, error) {
	if d.waiting != nil {
		return Packet{}, 0, ErrProtocol
	}
	p, attachments, err := parse(b)
	if err != nil {
		return Packet{}, 0, err
	}
	if !p.Binary {
		return p, Message, nil
	}
	if len(b) > maxPending && attachments > 0 {
		return Packet{}, 0, ErrProtocol
	}
	kept := Packet{Type: p.Type, HasID: p.HasID, Binary: true}
	kept.Namespace = append(kept.Namespace, p.Namespace...)
	kept.ID = append(kept.ID, p.ID...)
	kept.Data = append(kept.Data, p.Data...)
	d.waiting, d.attachments = &kept, attachments
	if attachments == 0 {
		d.attachments = -1 // none will ever be the last, as in socket.io
		return kept, Message, nil
	}
	return Packet{}, Ignored, nil
}

// Binary takes an attachment; what is in it does not matter, since no event of a Node has one.
func (d *Decoder) Binary() (Packet, Kind, error) {
	if d.waiting == nil {
		return Packet{}, 0, ErrProtocol
	}
	if d.attachments > 0 {
		d.attachments--
	}
	if d.attachments != 0 {
		return Packet{}, Ignored, nil
	}
	p := *d.waiting
	d.waiting = nil
	return p, Message, nil
}
