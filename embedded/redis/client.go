package redis

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/alicebob/miniredis/v2/server"

	"github.com/crolang-p2p/crolang-aio/internal/contain"
)

const (
	// maxArgs of one command, its name included.
	maxArgs = 1024 + 1
	// maxReply bounds one answer (MGET of large values).
	maxReply = 64 << 20
	// maxAuthFailures ends a connection that guesses passwords.
	maxAuthFailures = 8
)

type counters struct {
	connections, commands atomic.Uint64
	refused               refusals
}

// refusals are counted by the causes of [Stats].
type refusals struct {
	full, displaced, slow, malformed, unread, password, unknown, memory atomic.Uint64
	panics                                                              contain.Panics
}

// byCause are the counts of connections and of commands.
func (r *refusals) byCause() (connections, commands map[string]uint64) {
	return map[string]uint64{
			"full": r.full.Load(), "displaced": r.displaced.Load(), "slow": r.slow.Load(), "malformed": r.malformed.Load(),
			"unread": r.unread.Load(), "panicked": r.panics.Count(),
		}, map[string]uint64{
			"password": r.password.Load(), "unknown": r.unknown.Load(), "memory": r.memory.Load(),
		}
}

// client is one connection. Its reader goroutine owns everything but conn, out and resp3, which publishers use too.
type client struct {
	s     *Server
	id    int64
	conn  net.Conn
	out   *outbox
	in    reader
	resp3 atomic.Bool
	since time.Time

	authenticated bool
	failures      int
	leaving       bool // after the reply to this command
	name          string
	db            int
	subs          subscriptions

	// peer is what miniredis knows of the client; it writes into reply.
	peer  *server.Peer
	flush *bufio.Writer
	reply replyBuffer
}

func newClient(s *Server, conn net.Conn, id int64) *client {
	c := &client{
		s: s, id: id, conn: conn, since: time.Now(),
		out:           newOutbox(conn, s.cfg.WriteTimeout, max(2*s.cfg.MaxCommand, maxReply)),
		authenticated: s.cfg.Password == "",
	}
	c.in = reader{r: bufio.NewReaderSize(conn, 4<<10), room: s.room, buffers: &s.buffers}
	c.flush = bufio.NewWriterSize(&c.reply, 1<<10)
	c.peer = server.NewPeer(c.flush)
	return c
}

// kill ends the connection at once, from any goroutine.
func (c *client) kill() {
	c.out.drop()
	c.conn.Close()
}

// serve reads and executes commands until the client leaves or has to.
func (c *client) serve() {
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer c.conn.Close() // wakes the reader
		c.out.write()
	}()
	defer func() {
		c.s.pubsub.leave(c)
		c.out.end()
		<-written
		c.in.release()
	}()
	defer func() {
		if r := recover(); r != nil {
			c.s.counts.refused.panics.Stopped(c.s.cfg.Logger, "redis: a client's command failed unexpectedly, its connection is closed: please report this", r)
		}
	}()
	for !c.leaving {
		args, err := c.next()
		if err != nil {
			c.refuse(err)
			return
		}
		if len(args) > 0 {
			c.s.counts.commands.Add(1)
			c.execute(args)
		}
		c.in.release()
		c.out.waitFree()
	}
}

// next waits for a command without a deadline, and for the rest of one with a deadline.
func (c *client) next() ([][]byte, error) {
	var before time.Time // none: a quiet subscriber stays
	if !c.authenticated {
		before = c.since.Add(c.s.cfg.AuthTimeout)
	}
	if err := c.conn.SetReadDeadline(before); err != nil {
		return nil, err
	}
	if _, err := c.in.r.Peek(1); err != nil {
		return nil, err
	}
	inside := time.Now().Add(c.s.cfg.CommandTimeout)
	lim := limits{args: maxArgs, bytes: c.s.cfg.MaxCommand}
	if !c.authenticated {
		lim = strangersLimits
		if before.Before(inside) {
			inside = before
		}
	}
	if err := c.conn.SetReadDeadline(inside); err != nil {
		return nil, err
	}
	return c.in.read(lim)
}

// refuse tells the client what it did wrong. Not every end is worth an answer.
func (c *client) refuse(err error) {
	var wrong protocolError
	var timeout net.Error
	switch {
	case errors.As(err, &wrong):
		c.s.counts.refused.malformed.Add(1)
		c.fail("ERR " + wrong.Error())
	case errors.As(err, &timeout) && timeout.Timeout() && !c.authenticated:
		c.s.counts.refused.slow.Add(1)
		c.fail("NOAUTH no password in time")
	case errors.As(err, &timeout) && timeout.Timeout():
		c.s.counts.refused.slow.Add(1)
		c.fail("ERR a command was not finished in time")
	}
}

func (c *client) send(reply []byte) {
	f := c.s.frame(reply)
	if f == nil {
		c.s.counts.refused.memory.Add(1)
		f = c.s.frame(appendError(nil, "ERR "+noRoom))
	}
	c.s.push(c, f)
	f.release()
}

func (c *client) fail(text string)        { c.send(appendError(nil, text)) }
func (c *client) ok()                     { c.send([]byte("+OK\r\n")) }
func (c *client) null()                   { c.send(appendNull(nil, c.resp3.Load())) }
func (c *client) bulk(text string)        { c.send(appendBulk(nil, text)) }
func (c *client) wrongNumber(name string) { c.fail(wrongNumber(name)) }

func wrongNumber(name string) string {
	return "ERR wrong number of arguments for '" + strings.ToLower(name) + "' command"
}

// execute runs one command; the reply is queued when it returns.
func (c *client) execute(args [][]byte) {
	name := strings.ToUpper(string(args[0][:min(len(args[0]), 32)]))
	cmd, known := commands[name]
	switch {
	case !c.authenticated && !cmd.stranger:
		c.s.counts.refused.password.Add(1)
		c.fail("NOAUTH Authentication required.")
	case !known:
		c.s.counts.refused.unknown.Add(1)
		c.fail(fmt.Sprintf("ERR command %s is not offered by the embedded Redis, which is for development", strconv.QuoteToASCII(name)))
	case len(args)-1 < cmd.min || (cmd.max >= 0 && len(args)-1 > cmd.max):
		c.wrongNumber(name)
	case c.subs.count() > 0 && !c.resp3.Load() && !cmd.subscribed:
		c.fail("ERR Can't execute '" + strings.ToLower(name) +
			"': only (P)SUBSCRIBE / (P)UNSUBSCRIBE / PING / QUIT are allowed in this context")
	default:
		cmd.run(c, name, args[1:])
	}
}

// login checks a password in constant time, and answers a wrong one.
func (c *client) login(user, password []byte) bool {
	sum := sha256.Sum256(password)
	right := subtle.ConstantTimeCompare(sum[:], c.s.secret[:]) & subtle.ConstantTimeCompare(user, []byte("default"))
	if right == 1 {
		if !c.authenticated {
			c.authenticated = true
			c.s.welcome(c)
		}
		return true
	}
	c.s.counts.refused.password.Add(1)
	c.fail("WRONGPASS invalid username-password pair or user is disabled.")
	c.failures++
	c.leaving = c.leaving || c.failures >= maxAuthFailures
	return false
}

// replyBuffer collects what miniredis answers, up to maxReply.
type replyBuffer struct {
	b    []byte
	over bool
}

func (r *replyBuffer) Write(p []byte) (int, error) {
	if len(r.b)+len(p) > maxReply {
		r.over = true
		return 0, errReplyTooLong
	}
	r.b = append(r.b, p...)
	return len(p), nil
}

var errReplyTooLong = errors.New("reply too long")

// takeReply returns the reply, which is the caller's.
func (c *client) takeReply() []byte {
	c.peer.Flush()
	reply := c.reply.b
	if c.reply.over {
		reply = appendError(nil, "ERR the reply is too long, ask for less at once")
		c.flush.Reset(&c.reply) // a bufio.Writer remembers its error
	}
	c.reply = replyBuffer{}
	return reply
}
