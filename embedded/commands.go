package embedded

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

const (
	// databases that SELECT takes, as in Redis.
	databases = 16
	// maxKey and maxValue bound what is kept; messages may be longer.
	maxKey, maxValue = 1 << 10, 1 << 20
	// maxPattern bounds what a match costs.
	maxPattern = 256
	// maxTTL keeps miniredis from overflowing a time.Duration.
	maxTTL = 100 * 365 * 24 * time.Hour
)

// command is one that is offered.
type command struct {
	run        func(c *client, name string, args [][]byte)
	min, max   int  // arguments; max -1: up to maxArgs
	stranger   bool // also before AUTH
	subscribed bool // also while subscribed
}

// commands is all that is offered. What is not here (scripts, blocking reads,
// bit operations, transactions, other types) is refused: some of it can stop or
// end miniredis, and no Broker asks for it.
var commands = map[string]command{
	"AUTH":    {run: auth, min: 1, max: 2, stranger: true},
	"HELLO":   {run: hello, min: 0, max: 6, stranger: true},
	"QUIT":    {run: quit, min: 0, max: -1, stranger: true, subscribed: true},
	"PING":    {run: ping, min: 0, max: 1, subscribed: true},
	"ECHO":    {run: echo, min: 1, max: 1},
	"SELECT":  {run: selectDB, min: 1, max: 1},
	"CLIENT":  {run: clientCommand, min: 1, max: 4},
	"COMMAND": {run: describe, min: 0, max: -1},
	"INFO":    {run: info, min: 0, max: -1},
	"TIME":    {run: now, min: 0, max: 0},

	"SUBSCRIBE":    {run: subscribe, min: 1, max: -1, subscribed: true},
	"PSUBSCRIBE":   {run: subscribe, min: 1, max: -1, subscribed: true},
	"UNSUBSCRIBE":  {run: unsubscribe, min: 0, max: -1, subscribed: true},
	"PUNSUBSCRIBE": {run: unsubscribe, min: 0, max: -1, subscribed: true},
	"PUBLISH":      {run: publish, min: 2, max: 2},
	"PUBSUB":       {run: pubsubCommand, min: 1, max: -1},

	"GET":      {run: read, min: 1, max: 1},
	"MGET":     {run: read, min: 1, max: 64},
	"STRLEN":   {run: read, min: 1, max: 1},
	"EXISTS":   {run: read, min: 1, max: -1},
	"TYPE":     {run: read, min: 1, max: 1},
	"PTTL":     {run: read, min: 1, max: 1},
	"TTL":      {run: ttl, min: 1, max: 1},
	"DBSIZE":   {run: read, min: 0, max: 0},
	"KEYS":     {run: keys, min: 1, max: 1},
	"SCAN":     {run: scan, min: 1, max: 7},
	"DEL":      {run: read, min: 1, max: -1},
	"UNLINK":   {run: read, min: 1, max: -1},
	"GETDEL":   {run: read, min: 1, max: 1},
	"PERSIST":  {run: read, min: 1, max: 1},
	"EXPIRE":   {run: expire, min: 2, max: 3},
	"PEXPIRE":  {run: expire, min: 2, max: 3},
	"SET":      {run: set, min: 2, max: 8},
	"SETNX":    {run: write, min: 2, max: 2},
	"GETSET":   {run: write, min: 2, max: 2},
	"SETEX":    {run: setex, min: 3, max: 3},
	"PSETEX":   {run: setex, min: 3, max: 3},
	"MSET":     {run: write, min: 2, max: -1},
	"MSETNX":   {run: write, min: 2, max: -1},
	"INCR":     {run: write, min: 1, max: 1},
	"DECR":     {run: write, min: 1, max: 1},
	"INCRBY":   {run: write, min: 2, max: 2},
	"DECRBY":   {run: write, min: 2, max: 2},
	"FLUSHDB":  {run: flush, min: 0, max: 1},
	"FLUSHALL": {run: flush, min: 0, max: 1},
}

// read passes a command on that adds nothing to what is kept.
func read(c *client, name string, args [][]byte) { c.dispatch(name, args, 0) }

// write passes a command on that may keep its arguments.
func write(c *client, name string, args [][]byte) {
	cost := int64(0)
	for i, a := range args {
		if i%2 == 0 && len(a) > maxKey {
			c.fail("ERR a key is longer than 1 KiB, which the embedded Redis does not take")
			return
		}
		if len(a) > maxValue {
			c.fail("ERR a value is longer than 1 MiB, which the embedded Redis does not take")
			return
		}
		cost += int64(len(a))
		if i%2 == 0 {
			cost += keyCost
		}
	}
	c.dispatch(name, args, cost)
}

// dispatch has miniredis execute a command, and queues its answer.
func (c *client) dispatch(name string, args [][]byte, cost int64) {
	words := make([]string, 0, 1+len(args))
	words = append(words, name)
	for _, a := range args {
		words = append(words, string(a))
	}
	if err := c.s.store.dispatch(c, words, cost); err != nil {
		c.fail(err.Error())
		return
	}
	c.send(c.takeReply())
}

// set checks what miniredis would let through to an overflow, or to a time to
// live that outlasts its key.
func set(c *client, name string, args [][]byte) {
	for i := 2; i < len(args); i++ {
		unit := time.Second
		switch strings.ToUpper(string(args[i])) {
		case "EXAT", "PXAT":
			c.fail("ERR EXAT and PXAT are not offered by the embedded Redis, use EX or PX")
			return
		case "PX":
			unit = time.Millisecond
			fallthrough
		case "EX":
			if i++; i < len(args) && !validTTL(args[i], unit, false) {
				c.fail("ERR invalid expire time in 'set' command")
				return
			}
		}
	}
	if len(args[0]) > maxKey || len(args[1]) > maxValue {
		write(c, name, args[:2]) // which says it
		return
	}
	c.dispatch(name, args, keyCost+int64(len(args[0])+len(args[1])))
}

func setex(c *client, name string, args [][]byte) {
	unit := time.Second
	if name == "PSETEX" {
		unit = time.Millisecond
	}
	if !validTTL(args[1], unit, false) {
		c.fail("ERR invalid expire time in '" + strings.ToLower(name) + "' command")
		return
	}
	if len(args[0]) > maxKey || len(args[2]) > maxValue {
		write(c, name, [][]byte{args[0], args[2]})
		return
	}
	c.dispatch(name, args, keyCost+int64(len(args[0])+len(args[2])))
}

func expire(c *client, name string, args [][]byte) {
	unit := time.Second
	if name == "PEXPIRE" {
		unit = time.Millisecond
	}
	if !validTTL(args[1], unit, true) {
		c.fail("ERR invalid expire time in '" + strings.ToLower(name) + "' command")
		return
	}
	c.dispatch(name, args, 0)
}

// validTTL lets through what is no number at all: miniredis answers that.
func validTTL(arg []byte, unit time.Duration, past bool) bool {
	n, err := strconv.ParseInt(string(arg), 10, 64)
	if err != nil {
		return len(arg) < 18 // too short to be a number out of range
	}
	most := int64(maxTTL / unit)
	if past {
		return n >= -most && n <= most
	}
	return n > 0 && n <= most
}

// ttl rounds to the nearest second as Redis does; miniredis cuts off.
func ttl(c *client, _ string, args [][]byte) {
	left, found := c.s.store.ttl(c.db, string(args[0]))
	n := int64(math.Round(left.Seconds()))
	switch {
	case !found:
		n = -2
	case left == 0:
		n = -1
	}
	c.send(appendInt(nil, n))
}

func flush(c *client, name string, args [][]byte) {
	if len(args) == 1 && !strings.EqualFold(string(args[0]), "ASYNC") && !strings.EqualFold(string(args[0]), "SYNC") {
		c.fail("ERR syntax error")
		return
	}
	if name == "FLUSHDB" {
		c.dispatch(name, nil, 0)
		return
	}
	if err := c.s.store.reset(); err != nil {
		c.fail(err.Error())
		return
	}
	c.ok()
}

// keys and scan match by themselves: miniredis makes a regular expression of a
// pattern, and panics when it is none.
func keys(c *client, _ string, args [][]byte) {
	if list, ok := c.match(args[0]); ok {
		c.sendList(nil, list)
	}
}

// scan answers everything at once, with the cursor that ends the scan.
func scan(c *client, _ string, args [][]byte) {
	if _, err := strconv.ParseUint(string(args[0]), 10, 64); err != nil {
		c.fail("ERR invalid cursor")
		return
	}
	pattern, kind := []byte("*"), "string"
	for rest := args[1:]; len(rest) > 0; rest = rest[2:] {
		if len(rest) < 2 {
			c.fail("ERR syntax error")
			return
		}
		switch strings.ToUpper(string(rest[0])) {
		case "MATCH":
			pattern = rest[1]
		case "COUNT":
			if n, err := strconv.Atoi(string(rest[1])); err != nil || n < 1 {
				c.fail("ERR value is not an integer or out of range")
				return
			}
		case "TYPE":
			kind = strings.ToLower(string(rest[1]))
		default:
			c.fail("ERR syntax error")
			return
		}
	}
	list, ok := c.match(pattern)
	if !ok {
		return
	}
	if string(args[0]) != "0" || kind != "string" {
		list = nil
	}
	c.sendList(appendBulk(appendArray(nil, 2), "0"), list)
}

// match lists the keys of the client's database, or answers why not.
func (c *client) match(pattern []byte) ([]string, bool) {
	if len(pattern) > maxPattern {
		c.fail(fmt.Sprintf("ERR a pattern is longer than %d bytes, which the embedded Redis does not take", maxPattern))
		return nil, false
	}
	steps := maxSteps
	var found []string
	for _, key := range c.s.store.keys(c.db) {
		if glob(string(pattern), key, &steps) {
			found = append(found, key)
		}
		if steps <= 0 {
			c.fail("ERR this pattern takes too long, write it with fewer stars")
			return nil, false
		}
	}
	return found, true
}

func (c *client) sendList(b []byte, list []string) {
	b = appendArray(b, len(list))
	for _, s := range list {
		b = appendBulk(b, s)
	}
	c.send(b)
}
