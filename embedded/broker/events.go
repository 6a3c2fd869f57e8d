package broker

import (
	"time"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/engineio"
	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/jsontext"
)

// The answers to an event.
const (
	answerOK           = "OK"
	answerError        = "ERROR"
	answerUnauthorized = "UNAUTHORIZED"
	answerNotConnected = "NOT_CONNECTED"
	answerDisabled     = "DISABLED"
)

// answers are those of relayed events, in the order that counters are kept in.
var answers = [...]string{answerOK, answerError, answerUnauthorized, answerNotConnected, answerDisabled}

// askConnected is the one event that the Broker answers by itself.
const askConnected = "ARE_NODES_CONNECTED_TO_BROKER"

// relayed is an event that goes from one Node to another.
type relayed struct {
	name      string
	index     int
	message   bool // from application to application; the others prepare a connection
	authorize bool
	count     func(*traffic) *uint32
}

var relayedEvents = [...]*relayed{
	{name: "CONNECTION_ATTEMPT", authorize: true, count: func(t *traffic) *uint32 { return &t.attempts }},
	{name: "CONNECTION_ACCEPTANCE", count: func(t *traffic) *uint32 { return &t.acceptances }},
	{name: "CONNECTION_REFUSAL", count: func(t *traffic) *uint32 { return &t.refusals }},
	{name: "INCOMING_CONNECTIONS_NOT_ALLOWED", count: func(t *traffic) *uint32 { return &t.refusals }},
	{name: "ICE_CANDIDATES_EXCHANGE_INITIATOR_TO_RESPONDER", count: func(t *traffic) *uint32 { return &t.candidates }},
	{name: "ICE_CANDIDATES_EXCHANGE_RESPONDER_TO_INITIATOR", count: func(t *traffic) *uint32 { return &t.candidates }},
	{name: "SOCKET_MSG_EXCHANGE", message: true, authorize: true, count: func(t *traffic) *uint32 { return &t.messages }},
}

// byName finds an event by its raw name, quotes included.
var byName = func() map[string]*relayed {
	m := map[string]*relayed{}
	for i, e := range relayedEvents {
		e.index = i
		m[e.name] = e
	}
	return m
}()

// packet handles a Socket.IO packet. An error ends the connection.
func (c *conn) packet(p engineio.Packet) error {
	if p.Type == engineio.Connect {
		return c.connect(p)
	}
	if len(p.Namespace) > 0 || p.Type == engineio.ConnectError || !c.isJoined() {
		if c.ended.Load() {
			return nil
		}
		return violation(0)
	}
	switch p.Type {
	case engineio.Leave:
		c.b.places.Keep(c.place, false) // a stranger again, with a stranger's bounds
		c.member.Store(false)
		c.strange.Store(int64(time.Since(c.b.start)))
		c.b.unclaim(c)
	case engineio.Event:
		c.event(&p)
	}
	return nil // nobody waits for an acknowledgement
}

// event handles an event of a Node that has joined. Without an acknowledgement's id, or with other than one argument,
// nothing comes of it, as with the original.
func (c *conn) event(p *engineio.Packet) {
	if !p.HasID || len(p.Data) == 0 {
		return
	}
	name, args, n := p.Name()
	if len(name) < 2 || name[0] != '"' {
		return
	}
	plain := name[1 : len(name)-1]
	for _, b := range plain {
		if b == '\\' {
			plain = jsontext.AppendText(nil, name)
			break
		}
	}
	if e := byName[string(plain)]; e != nil {
		if n == 1 {
			c.relay(e, p, args[0])
		}
		return
	}
	if string(plain) == askConnected && n == 1 {
		c.tellConnected(p, args[0])
	}
}

// reply sends an acknowledgement with one of the answers.
func (c *conn) reply(id []byte, answer string) {
	compose(c.send, func(dst []byte) []byte { return engineio.AppendAck(dst, id, answer) })
}

// relay passes a Node's event on to another, and answers it.
func (c *conn) relay(e *relayed, p *engineio.Packet, arg []byte) {
	var m message
	answer, cause := c.judge(e, p, arg, &m)
	var to *conn
	var sid string
	if answer == answerOK {
		answer, to, sid = c.find(m.to)
		if e.message {
			c.b.cfg.Decider.Message(c.join.Node, m.to, answer == answerOK)
		}
	}
	if answer == answerOK {
		if answer = c.deliver(e, arg, to, sid); answer == answerNotConnected && to != nil {
			cause = "the receiver reads too slowly, or has just left"
		}
	}
	if c.ended.Load() {
		return // banned meanwhile
	}
	c.count(e, answer, len(arg), to)
	c.reply(p.ID, answer)
	c.b.observe(Event{
		Kind: Answered, Node: c.join.Node, Peer: m.to, Name: e.name, Answer: answer, Cause: cause, From: c.from, Bytes: len(arg),
		Candidates: m.candidates,
	})
}

// judge goes through what must hold before the receiver is looked for.
func (c *conn) judge(e *relayed, p *engineio.Packet, arg []byte, m *message) (answer, cause string) {
	set := c.b.set.Load()
	if (e.message && !set.RelayMessages) || (!e.message && !set.P2P) {
		return answerDisabled, ""
	}
	buf := takeBuffer()
	defer giveBuffer(buf)
	if p.Binary || !m.read(arg, buf, !e.message) {
		return answerError, ""
	}
	if set.CheckSender && m.forged(c.join.Node) {
		return answerError, "its sender is given as another Node"
	}
	if m.to == "" {
		return answerNotConnected, "no Node can have so long an id"
	}
	if !e.authorize {
		return answerOK, ""
	}
	c.occupied.Store(true)
	verdict := c.b.cfg.Decider.Authorize(c.ctx, c.join.Node, m.to)
	c.occupied.Store(false)
	if verdict.Outcome != Allowed {
		return answerUnauthorized, verdict.Cause
	}
	return answerOK, verdict.Cause
}

// find looks for a Node: here, and then where other Brokers have theirs.
func (c *conn) find(node string) (answer string, to *conn, sid string) {
	to, held := c.b.local(node)
	switch {
	case to != nil:
		return answerOK, to, ""
	case held || c.b.shared == nil:
		return answerNotConnected, nil, ""
	}
	c.occupied.Store(true)
	defer c.occupied.Store(false)
	sid, found := c.b.shared.Find(c.ctx, node)
	if !found {
		return answerNotConnected, nil, ""
	}
	return answerOK, nil, sid
}

// deliver hands a message over. One to oneself is answered OK and goes nowhere, as with the original.
func (c *conn) deliver(e *relayed, arg []byte, to *conn, sid string) (answer string) {
	switch {
	case c.ended.Load():
		return answerError
	case to == c:
		return answerOK
	case to != nil:
		if compose(to.pass, func(dst []byte) []byte { return engineio.AppendEvent(dst, e.name, arg) }) {
			return answerOK
		}
		return answerNotConnected
	}
	buf := takeBuffer()
	defer giveBuffer(buf)
	*buf = jsontext.AppendText(*buf, arg)
	c.occupied.Store(true)
	defer c.occupied.Store(false)
	c.b.mu.RLock()
	own := c.sid
	c.b.mu.RUnlock()
	if c.b.shared.Publish(c.ctx, sid, own, e.name, *buf) != nil {
		return answerNotConnected
	}
	return answerOK
}

// deliverShared takes a message that another Broker has sent to the socket sid.
func (b *Broker) deliverShared(sid, event string, text []byte) {
	b.mu.RLock()
	c := b.sockets[sid]
	if c != nil && c.joinedAt.IsZero() {
		c = nil
	}
	b.mu.RUnlock()
	e := byName[event]
	if c == nil || e == nil || !c.pass(engineio.AppendEvent(nil, event, quote(text))) {
		return
	}
	var m message
	if m.readText(text, !e.message) && len(m.from) > 0 && m.from[0] == '"' && len(m.from) <= maxID {
		b.observe(Event{
			Kind: Arrived, Node: string(plainText(m.from)), Peer: c.join.Node, Name: e.name, Answer: answerOK, Bytes: len(text), Candidates: m.candidates,
		})
	}
}

// tellConnected answers which of some Nodes are connected.
func (c *conn) tellConnected(p *engineio.Packet, arg []byte) {
	buf := takeBuffer()
	defer giveBuffer(buf)
	ids, ok := readIDs(arg, buf)
	if p.Binary || !ok {
		c.b.counts.asked.Add(1)
		c.reply(p.ID, answerError)
		return
	}
	connected := make([]bool, len(ids))
	var elsewhere []int
	for i, id := range ids {
		to, held := c.b.local(id)
		connected[i] = to != nil
		if !held && c.b.shared != nil {
			elsewhere = append(elsewhere, i)
		}
	}
	if len(elsewhere) > 0 {
		c.occupied.Store(true)
		c.b.shared.FindAll(c.ctx, ids, elsewhere, connected)
		c.occupied.Store(false)
		c.slowed.Store(int64(time.Since(c.b.start)))
	}
	out := []byte(`{"results":[`)
	for i, id := range ids {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, `{"id":`...)
		out = jsontext.AppendQuoted(out, id)
		if connected[i] {
			out = append(out, `,"connected":true}`...)
		} else {
			out = append(out, `,"connected":false}`...)
		}
	}
	out = append(out, "]}"...)
	c.b.counts.asked.Add(1)
	c.send(engineio.AppendAck(nil, p.ID, out))
}
