package redis

import (
	"strings"
	"sync"
)

const (
	// maxChannels and maxPatterns are what all clients together may subscribe to, each counted once per client;
	// maxChannelName bounds what a match costs.
	maxChannels    = 1 << 16
	maxPatterns    = 1 << 10
	maxChannelName = 1 << 10
)

// pubsub knows who has subscribed to what.
type pubsub struct {
	mu       sync.Mutex
	channels topics
	patterns topics
}

// topics are channels or patterns with their subscribers.
type topics struct {
	by   map[string]map[*client]struct{}
	n    int // subscriptions
	most int
}

func newPubsub() *pubsub {
	return &pubsub{
		channels: topics{by: map[string]map[*client]struct{}{}, most: maxChannels},
		patterns: topics{by: map[string]map[*client]struct{}{}, most: maxPatterns},
	}
}

func (t *topics) add(name string, c *client) bool {
	if t.n >= t.most {
		return false
	}
	if t.by[name] == nil {
		t.by[name] = map[*client]struct{}{}
	}
	t.by[name][c] = struct{}{}
	t.n++
	return true
}

func (t *topics) remove(name string, c *client) {
	delete(t.by[name], c)
	if len(t.by[name]) == 0 {
		delete(t.by, name)
	}
	t.n--
}

// subscriptionCost is an upper estimate of the bytes that a subscription takes: the name, once for the client and once
// for all, and entries in three maps, one of which may be new.
func subscriptionCost(topic string) int64 { return 400 + 2*int64(len(topic)) }

// subscriptions are those of one client, in both kinds.
type subscriptions struct{ channels, patterns map[string]struct{} }

func (s *subscriptions) count() int { return len(s.channels) + len(s.patterns) }

// kind is what differs between SUBSCRIBE and PSUBSCRIBE.
type kind struct {
	word    string // in the answer
	longest int
	own     *map[string]struct{}
	all     *topics
}

func (c *client) kindOf(name string) kind {
	if name[0] == 'P' {
		return kind{strings.ToLower(name), maxPattern, &c.subs.patterns, &c.s.pubsub.patterns}
	}
	return kind{strings.ToLower(name), maxChannelName, &c.subs.channels, &c.s.pubsub.channels}
}

// subscribe and unsubscribe answer each name by itself, with the number of subscriptions after it. The answers are
// queued before anything is published to them.
func subscribe(c *client, name string, args [][]byte) {
	k, ps := c.kindOf(name), c.s.pubsub
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var b []byte
	for _, a := range args {
		topic := string(a)
		if _, have := (*k.own)[topic]; !have {
			if len(topic) > k.longest {
				b = appendError(b, "ERR a name to subscribe to is too long for the embedded Redis")
				continue
			}
			if !c.s.store.hold(subscriptionCost(topic)) {
				c.s.counts.refused.memory.Add(1)
				b = appendError(b, errFull.Error())
				continue
			}
			if !k.all.add(topic, c) {
				c.s.store.release(subscriptionCost(topic))
				b = appendError(b, "ERR too many subscriptions for the embedded Redis")
				continue
			}
			if *k.own == nil {
				*k.own = map[string]struct{}{}
			}
			(*k.own)[topic] = struct{}{}
		}
		b = c.appendSubscription(b, k.word, topic)
	}
	c.send(b)
}

func unsubscribe(c *client, name string, args [][]byte) {
	k, ps := c.kindOf(name), c.s.pubsub
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var b []byte
	if len(args) == 0 {
		for topic := range *k.own {
			args = append(args, []byte(topic))
		}
	}
	for _, a := range args {
		topic := string(a)
		if _, have := (*k.own)[topic]; have {
			k.all.remove(topic, c)
			delete(*k.own, topic)
			c.s.store.release(subscriptionCost(topic))
		}
		b = c.appendSubscription(b, k.word, topic)
	}
	if len(args) == 0 { // there is always an answer
		resp3 := c.resp3.Load()
		b = appendBulk(appendPush(b, 3, resp3), k.word)
		b = appendInt(appendNull(b, resp3), int64(c.subs.count()))
	}
	c.send(b)
}

func (c *client) appendSubscription(b []byte, word, topic string) []byte {
	b = appendBulk(appendBulk(appendPush(b, 3, c.resp3.Load()), word), topic)
	return appendInt(b, int64(c.subs.count()))
}

// leave ends all subscriptions of c.
func (ps *pubsub) leave(c *client) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	cost := int64(0)
	for topic := range c.subs.channels {
		ps.channels.remove(topic, c)
		cost += subscriptionCost(topic)
	}
	for topic := range c.subs.patterns {
		ps.patterns.remove(topic, c)
		cost += subscriptionCost(topic)
	}
	c.s.store.release(cost)
	c.subs = subscriptions{}
}

func publish(c *client, _ string, args [][]byte) {
	if len(args[0]) > maxChannelName {
		c.fail("ERR a channel's name is too long for the embedded Redis")
		return
	}
	n, ok := c.s.publish(string(args[0]), args[1])
	if !ok {
		c.s.counts.refused.memory.Add(1)
		c.fail("ERR " + noRoom)
		return
	}
	c.send(appendInt(nil, n))
}

// publish queues a message for everybody who subscribed, and counts them. One that does not read is cut off rather than
// waited for. ok is false if there was no room for the message.
func (s *Server) publish(channel string, payload []byte) (n int64, ok bool) {
	ps := s.pubsub
	ps.mu.Lock()
	defer ps.mu.Unlock()
	size := len(channel) + len(payload) + 64
	ok = s.deliver(ps.channels.by[channel], func(resp3 bool) []byte {
		b := appendBulk(appendPush(make([]byte, 0, size), 3, resp3), "message")
		return appendBulk(appendBulk(b, channel), payload)
	})
	n = int64(len(ps.channels.by[channel]))
	steps := maxSteps
	for pattern, subscribers := range ps.patterns.by {
		if !glob(pattern, channel, &steps) {
			continue
		}
		ok = s.deliver(subscribers, func(resp3 bool) []byte {
			b := appendBulk(appendPush(make([]byte, 0, size+len(pattern)), 4, resp3), "pmessage")
			return appendBulk(appendBulk(appendBulk(b, pattern), channel), payload)
		}) && ok
		n += int64(len(subscribers))
	}
	return n, ok
}

// deliver makes the message once for each protocol, and shares it.
func (s *Server) deliver(to map[*client]struct{}, message func(resp3 bool) []byte) bool {
	var made [2]*frame
	defer func() {
		for _, f := range made {
			if f != nil {
				f.release()
			}
		}
	}()
	for c := range to {
		i, resp3 := 0, c.resp3.Load()
		if resp3 {
			i = 1
		}
		if made[i] == nil {
			if made[i] = s.frame(message(resp3)); made[i] == nil {
				return false
			}
		}
		s.push(c, made[i])
	}
	return true
}

// pubsubCommand is PUBSUB CHANNELS [pattern], NUMSUB [channel …] and NUMPAT.
func pubsubCommand(c *client, _ string, args [][]byte) {
	ps := c.s.pubsub
	sub, args := strings.ToUpper(string(args[0])), args[1:]
	ps.mu.Lock()
	defer ps.mu.Unlock()
	switch {
	case sub == "NUMSUB":
		b := appendArray(nil, 2*len(args))
		for _, a := range args {
			b = appendInt(appendBulk(b, a), int64(len(ps.channels.by[string(a)])))
		}
		c.send(b)
	case sub == "NUMPAT" && len(args) == 0:
		c.send(appendInt(nil, int64(len(ps.patterns.by))))
	case sub == "CHANNELS" && len(args) <= 1 && (len(args) == 0 || len(args[0]) <= maxPattern):
		pattern := "*"
		if len(args) == 1 {
			pattern = string(args[0])
		}
		steps := maxSteps
		var list []string
		for channel := range ps.channels.by {
			if glob(pattern, channel, &steps) {
				list = append(list, channel)
			}
		}
		c.sendList(nil, list)
	default:
		c.fail("ERR unknown subcommand or wrong number of arguments for 'pubsub'")
	}
}
