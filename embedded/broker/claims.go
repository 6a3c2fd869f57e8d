package broker

import (
	"context"
	"time"

	"github.com/crolang-p2p/crolang-aio/embedded/broker/internal/engineio"
)

// claimResult is what came of asking for an id.
type claimResult uint8

const (
	claimed claimResult = iota + 1
	inUse
	unclear // try again
)

// redisTimeout bounds a lock's acquisition or release.
const redisTimeout = 3 * time.Second

// claim takes the Node's id for c: here first, then in Redis, where other Brokers look too.
func (b *Broker) claim(ctx context.Context, c *conn) claimResult {
	ctx, cancel := context.WithTimeout(ctx, 3*b.cfg.timing.ask+redisTimeout)
	defer cancel()
	node := c.join.Node
	for {
		b.mu.Lock()
		holder := b.nodes[node]
		if holder == nil && !b.stopped {
			c.sid, c.freed = b.newSID(), make(chan struct{})
			b.nodes[node], b.sockets[c.sid] = c, c
			b.mu.Unlock()
			break
		}
		b.mu.Unlock()
		if holder == nil {
			return unclear
		}
		if result := b.displace(ctx, holder, c); result != claimed {
			return result
		}
	}
	if b.shared == nil {
		return claimed
	}
	ok, err := b.shared.Acquire(ctx, node, c.sid)
	switch {
	case err != nil:
		b.unclaim(c)
		return unclear
	case !ok:
		b.forget(c)
		return inUse
	}
	return claimed
}

// displace finds out whether c may have the id that holder holds: claimed says that it was freed.
func (b *Broker) displace(ctx context.Context, holder, c *conn) claimResult {
	b.mu.RLock()
	freed, joined := holder.freed, !holder.joinedAt.IsZero()
	still := b.nodes[c.join.Node] == holder
	may := c.proven || holder.from == c.from
	pending := holder.nc == nil
	b.mu.RUnlock()
	sameID := b.set.Load().SameID
	switch {
	case !still:
		return claimed
	case holder.ended.Load(): // it is leaving
	case pending && !joined && sameID != Refuse:
		return unclear // it is being asked whether it may join
	case pending:
		return inUse
	default:
		switch b.lives(ctx, holder, freed, sameID != Refuse && may) {
		case left:
			return claimed
		case lively:
			return inUse
		case unknown:
			return unclear
		case leaving:
		case silent:
			b.counts.takenOver.Add(1)
			holder.drop("a newer connection took its id over, since nothing came from it")
		}
	}
	select {
	case <-freed:
		return claimed
	case <-ctx.Done():
		return unclear
	}
}

// life is what a connection was found to be.
type life uint8

const (
	lively life = iota + 1
	silent
	leaving // it has ended, and gives its id back
	left    // it has given its id back
	unknown // nobody waits for the answer any more
)

// lives finds out whether a connection still holds its id, once what has come from it is handled: it may be its goodbye, and a
// Node that leaves and joins again at once is not refused. With ask it is pinged too, and is silent where nothing at all comes
// from it: bytes that the Broker has not read yet count, since it may be slow to do so itself.
func (b *Broker) lives(ctx context.Context, c *conn, freed <-chan struct{}, ask bool) life {
	total := func() (int64, bool) {
		waiting, over := unread(c.nc)
		return c.heard.Load() + int64(waiting), over
	}
	before, over := total()
	if ask && !over {
		c.send([]byte(engineio.Ping))
	}
	deadline := time.NewTimer(b.cfg.timing.ask)
	defer deadline.Stop()
	look := time.NewTicker(max(b.cfg.timing.ask/60, time.Millisecond))
	defer look.Stop()
	for late := false; ; {
		now, over := total()
		handled := c.handled.Load()
		select {
		case <-freed: // looked at after handled: giving the id back is handled before that is said
			return left
		default:
		}
		switch {
		case c.ended.Load():
			return leaving
		case over && ask:
			return silent
		case ask && handled > before, !ask && handled >= before:
			return lively
		case late && (now > before || !ask):
			return lively
		case late:
			return silent
		}
		select {
		case <-freed:
			return left
		case <-look.C:
		case <-deadline.C:
			late = true
		case <-ctx.Done():
			return unknown
		}
	}
}

// unclaim gives the id back that c holds, in Redis first: a newcomer waits for both. Again does nothing.
func (b *Broker) unclaim(c *conn) {
	b.mu.Lock()
	sid := c.sid
	joinedAt := c.joinedAt
	c.joinedAt = time.Time{} // nothing more is sent to it
	b.mu.Unlock()
	if sid == "" {
		return
	}
	if b.shared != nil {
		ctx, cancel := context.WithTimeout(context.Background(), redisTimeout)
		b.shared.Release(ctx, c.join.Node, sid)
		cancel()
	}
	if !joinedAt.IsZero() {
		cause := causeLeft
		if c.ended.Load() {
			cause = c.cause
		}
		b.observe(Event{
			Kind: Left, Node: c.join.Node, Cause: cause, From: c.from, Version: c.join.Version, Runtime: c.join.Runtime,
			Took: time.Since(joinedAt), Lost: cause != causeLeft && !c.dismissed.Load(),
		})
	}
	b.forget(c) // only now may another join with the id
}

// forget is unclaim's part in this process.
func (b *Broker) forget(c *conn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.sid == "" {
		return
	}
	if b.nodes[c.join.Node] == c {
		delete(b.nodes, c.join.Node)
	}
	delete(b.sockets, c.sid)
	c.sid = ""
	close(c.freed)
}

// local is the connection that has joined here as node, nil if none has. held says that the id is held here all the same.
func (b *Broker) local(node string) (c *conn, held bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	c = b.nodes[node]
	if c == nil {
		return nil, false
	}
	if c.joinedAt.IsZero() || c.ended.Load() {
		return nil, true
	}
	return c, true
}
