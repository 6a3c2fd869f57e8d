package policy

import (
	"iter"
	"strconv"

	"github.com/crolang-p2p/crolang-aio/internal/strictjson"
)

// What follows writes calls as the TypeScript Broker's code does, for an upstream that is to be asked on behalf of a
// Broker in this process.

func encodeRequest(r Request) []byte {
	body := strictjson.AppendString([]byte(`{"id":`), r.Node)
	if r.Data != nil {
		body = append(append(body, `,"data":`...), r.Data...)
	}
	return append(body, '}')
}

func encodePair(from, to string) []byte {
	body := strictjson.AppendString([]byte(`{"from":`), from)
	body = strictjson.AppendString(append(body, `,"to":`...), to)
	return append(body, '}')
}

func encodeConnected(nodes iter.Seq[string]) []byte {
	body := []byte(`{"connectedNodesIds":[`)
	empty := len(body)
	for node := range nodes {
		body = append(strictjson.AppendString(body, node), ',')
	}
	if len(body) > empty {
		body = body[:len(body)-1] // the last comma
	}
	return append(body, `]}`...)
}

func encodeMessage(m Message) []byte {
	body := strictjson.AppendString([]byte(`{"senderId":`), m.From)
	body = strictjson.AppendString(append(body, `,"receiverId":`...), m.To)
	body = strconv.AppendBool(append(body, `,"isReceiverConnected":`...), m.Connected)
	return append(body, '}')
}
