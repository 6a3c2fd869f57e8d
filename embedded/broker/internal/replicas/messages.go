package replicas

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/crolang-p2p/crolang-aio/internal/redisurl"
)

const (
	prefix = "socket.io#/#"
	// maxMessage is that of a Node, its envelope, and its escapes.
	maxMessage = 2 << 20
	// fields of a map that are looked at, at most.
	maxFields = 16
)

// newUID is 6 characters that tell own messages from others'.
func newUID() string { return rand.Text()[:6] }

// Publish sends an event with its text to the socket sid, which another Broker has; from is the sender's socket.
func (r *Replicas) Publish(ctx context.Context, sid, from, event string, text []byte) error {
	message, err := r.encode(sid, from, event, text)
	if err != nil {
		return err
	}
	return r.ask(ctx, func(ctx context.Context) error {
		return r.cfg.Client.Publish(ctx, prefix+sid+"#", message).Err()
	})
}

func (r *Replicas) encode(sid, from, event string, text []byte) ([]byte, error) {
	var b bytes.Buffer
	b.Grow(len(text) + 160)
	e := msgpack.NewEncoder(&b)
	e.UseCompactInts(true)
	err := e.EncodeMulti(msgpack.RawMessage{0x93}, r.uid, // an array of three
		msgpack.RawMessage{0x83}, "type", 2, "data", msgpack.RawMessage{0x92}, event, string(text), "nsp", "/",
		msgpack.RawMessage{0x83}, "rooms", []string{sid}, "except", []string{from}, "flags", map[string]bool{})
	return b.Bytes(), err
}

// Run receives what other Brokers send until ctx ends, and subscribes again whenever Redis was away.
func (r *Replicas) Run(ctx context.Context) {
	for ctx.Err() == nil {
		if r.contained(func() error { r.listen(ctx); return nil }) != nil {
			r.failures.Add(1)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// listen subscribes, and returns where the subscription has broken.
func (r *Replicas) listen(ctx context.Context) {
	sub := r.cfg.Client.PSubscribe(ctx, prefix+"*")
	defer sub.Close()
	redisurl.Receive(ctx, sub, 30*time.Second, func(m any) {
		if m, ok := m.(*redis.Message); ok {
			r.take(m.Channel, m.Payload)
		}
	})
}

// take delivers a message. Whatever else is on the channels is passed over.
func (r *Replicas) take(channel, payload string) {
	sid, ok := strings.CutPrefix(channel, prefix)
	sid, whole := strings.CutSuffix(sid, "#")
	if !ok || !whole || sid == "" || len(payload) > maxMessage {
		return
	}
	uid, event, text, err := decode(payload)
	if err != nil || uid == r.uid {
		return
	}
	r.cfg.Deliver(sid, event, text)
}

// errForeign: no message of a Broker.
var errForeign = errors.New("no message of a Broker")

// decode reads [uid, {type, data: [event, text], nsp}, {…}].
func decode(payload string) (uid, event string, text []byte, err error) {
	defer func() {
		if p := recover(); p != nil { // the library's fault, in what a stranger has sent
			err = fmt.Errorf("%w: %v", errForeign, p)
		}
	}()
	d := msgpack.NewDecoder(strings.NewReader(payload))
	if n, err := d.DecodeArrayLen(); err != nil || n != 3 {
		return "", "", nil, errForeign
	}
	if uid, err = d.DecodeString(); err != nil {
		return "", "", nil, errForeign
	}
	fields, err := d.DecodeMapLen()
	if err != nil || fields < 0 || fields > maxFields {
		return "", "", nil, errForeign
	}
	kind, namespace := int64(-1), "/"
	for range fields {
		name, err := d.DecodeString()
		if err != nil {
			return "", "", nil, errForeign
		}
		switch name {
		case "type":
			kind, err = d.DecodeInt64()
		case "nsp":
			namespace, err = d.DecodeString()
		case "data":
			event, text, err = decodeData(d)
		default:
			err = errForeign // nothing else is in a Broker's, and skipping has no bound on depth
		}
		if err != nil {
			return "", "", nil, errForeign
		}
	}
	if kind != 2 || namespace != "/" || text == nil {
		return "", "", nil, errForeign
	}
	return uid, event, text, nil
}

func decodeData(d *msgpack.Decoder) (event string, text []byte, err error) {
	if n, err := d.DecodeArrayLen(); err != nil || n != 2 {
		return "", nil, errForeign
	}
	if event, err = d.DecodeString(); err != nil {
		return "", nil, err
	}
	s, err := d.DecodeString()
	if err == nil {
		text = []byte(strings.ToValidUTF8(s, "\ufffd"))
	}
	return event, text, err
}
