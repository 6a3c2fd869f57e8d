package broker

import (
	"net/http"
	"time"
)

// ended is how the log calls what a panic has ended.
const ended = "a Node's connection to the Broker was ended by what should never fail: please report this"

// contain keeps a panic in what a Node's messages bring about to its connection. It is to be deferred.
func (c *conn) contain() {
	if cause := recover(); cause != nil {
		c.b.counts.panics.Stopped(c.b.log, ended, cause)
		c.drop("a mistake in the program ended it")
	}
}

// containHandshake is contain for the handshake, which gives back what the connection holds of the Broker.
func (c *conn) containHandshake() {
	if cause := recover(); cause != nil {
		c.b.counts.panics.Stopped(c.b.log, ended, cause)
		c.drop("a mistake in the program ended it")
		c.b.abandon(c)
		panic(http.ErrAbortHandler)
	}
}

// contained is due, which others' timers must survive.
func (c *conn) contained(now time.Time) time.Duration {
	defer c.contain()
	return c.due(now)
}

// contain keeps a panic in what is asked for all Nodes from ending anything else. It is to be deferred.
func (b *Broker) contain() {
	if cause := recover(); cause != nil {
		b.counts.panics.Stopped(b.log, "who must leave the Broker could not be asked: please report this", cause)
	}
}
