package broker

import (
	"bytes"
	"context"
	"encoding/json"
	"time"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/engineio"
)

// The texts of refusals, which Nodes know.
const (
	textMissing       = "server side exception: Error: Missing required OnConnectionData value: "
	textUnauthorized  = "authentication failed"
	textAlreadyJoined = "client already connected"
	textNamespace     = "Invalid namespace"
)

// outcome is what came of asking whether a Node may join. With neither refusal nor failure it holds its id.
type outcome struct {
	refusal string // told by 44: a decided no
	cause   string // for the why-record
	failed  bool   // nobody could say: the Node is to try again
	config  []byte // what AUTHENTICATED carries, JSON
}

// admit asks, in the order of the original Broker: what was given, whether the Node may join, whether its id is free, and
// what it is told. ctx ends if the client leaves meanwhile; the id is then given back by the caller, as after any failure.
func (b *Broker) admit(ctx context.Context, c *conn) outcome {
	if c.lacks != "" {
		return outcome{refusal: textMissing + c.lacks, cause: c.lacks + " is not there exactly once"}
	}
	admission := b.cfg.Decider.Authenticate(ctx, c.join)
	switch admission.Outcome {
	case Allowed:
	case Refused:
		return outcome{refusal: textUnauthorized, cause: admission.Cause}
	default:
		return outcome{failed: true, cause: admission.Cause}
	}
	b.mu.Lock()
	c.proven = admission.Proven
	b.mu.Unlock()
	switch b.claim(ctx, c) {
	case claimed:
	case inUse:
		return outcome{refusal: textAlreadyJoined, cause: "a Node with this id is connected"}
	default:
		return outcome{failed: true, cause: "the id could not be locked"}
	}
	config, verdict := b.cfg.Decider.Configuration(ctx, c.join.Node, c.join.Source)
	switch {
	case c.ended.Load() || ctx.Err() != nil:
		return outcome{failed: true, cause: "it left while it joined"}
	case verdict.Outcome == Refused:
		return outcome{refusal: textUnauthorized, cause: verdict.Cause}
	case verdict.Outcome != Allowed:
		return outcome{failed: true, cause: verdict.Cause}
	}
	text := []byte("null")
	if config != nil {
		var indented bytes.Buffer
		if err := json.Indent(&indented, config, "", "  "); err != nil {
			b.log.Error("the RTC configuration is no JSON, Nodes cannot join: please report this", "error", err)
			return outcome{failed: true, cause: "the RTC configuration is no JSON"}
		}
		text = quote(indented.Bytes())
	}
	return outcome{config: text}
}

// settle frees the id where the Node may not join, counts and tells what came of it.
func (b *Broker) settle(c *conn, o *outcome) {
	kind := JoinRefused
	switch {
	case o.failed:
		kind = JoinFailed
		b.counts.joinFailed.Add(1)
	case o.refusal == textUnauthorized:
		b.counts.joinUnauthorized.Add(1)
	case o.refusal == textAlreadyJoined:
		b.counts.joinTaken.Add(1)
	case o.refusal != "":
		b.counts.joinMalformed.Add(1)
	default:
		return
	}
	b.unclaim(c)
	answer := ""
	if o.refusal == textUnauthorized {
		answer = Unauthorized
	}
	b.observe(Event{Kind: kind, Node: c.join.Node, Answer: answer, Cause: o.cause, From: c.from, Version: c.join.Version, Runtime: c.join.Runtime})
}

// connect answers a CONNECT. The first one was decided before the handshake ended.
func (c *conn) connect(p engineio.Packet) error {
	b := c.b
	if len(p.Namespace) > 0 {
		c.send(engineio.AppendRefused(nil, p.Namespace, textNamespace))
		return nil
	}
	if c.isJoined() {
		return violation(0)
	}
	o := c.prepared
	c.prepared = nil
	if o == nil {
		c.occupied.Store(true)
		fresh := b.admit(c.ctx, c)
		c.occupied.Store(false)
		c.slowed.Store(int64(time.Since(b.start)))
		b.settle(c, &fresh)
		o = &fresh
	}
	switch {
	case o.failed:
		c.hangUp("it could not join now: " + o.cause)
		return nil
	case o.refusal != "":
		c.send(engineio.AppendRefused(nil, nil, o.refusal))
		c.prepared = nil
		return nil
	}
	b.mu.Lock()
	if c.sid == "" || c.ended.Load() { // banned, or the Broker stops
		b.mu.Unlock()
		return nil
	}
	sid := c.sid
	c.joinedAt = time.Now()
	b.mu.Unlock()
	c.member.Store(true)
	b.places.Keep(c.place, true)
	b.counts.joined.Add(1)
	c.send(engineio.AppendConnected(nil, sid))
	c.send(engineio.AppendEvent(nil, "AUTHENTICATED", o.config))
	b.observe(Event{Kind: Joined, Node: c.join.Node, From: c.from, Version: c.join.Version, Runtime: c.join.Runtime, Took: time.Since(c.opened)})
	return nil
}

// leave forgets a connection that has ended.
func (b *Broker) leave(c *conn) {
	b.unclaim(c)
	b.mu.Lock()
	delete(b.live, c)
	b.mu.Unlock()
}

func (b *Broker) observe(e Event) { b.cfg.Observer.Observe(e) }
