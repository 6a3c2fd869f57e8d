package redis

import (
	"errors"
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

// commands is all that is offered. Everything else (scripts but two, blocking reads, bit operations, transactions,
// other types) is refused: some of it can stop or end miniredis, and no Broker asks for it.
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

	"GET":       {run: read, min: 1, max: 1},
	"GETRANGE":  {run: getrange, min: 3, max: 3},
	"MGET":      {run: read, min: 1, max: 64},
	"STRLEN":    {run: read, min: 1, max: 1},
	"EXISTS":    {run: read, min: 1, max: -1},
	"TYPE":      {run: read, min: 1, max: 1},
	"PTTL":      {run: read, min: 1, max: 1},
	"TTL":       {run: ttl, min: 1, max: 1},
	"DBSIZE":    {run: read, min: 0, max: 0},
	"KEYS":      {run: keys, min: 1, max: 1},
	"SCAN":      {run: scan, min: 1, max: 7},
	"DEL":       {run: read, min: 1, max: -1},
	"UNLINK":    {run: read, min: 1, max: -1},
	"GETDEL":    {run: read, min: 1, max: 1},
	"PERSIST":   {run: read, min: 1, max: 1},
	"EXPIRE":    {run: expire, min: 2, max: 3},
	"PEXPIRE":   {run: expire, min: 2, max: 3},
	"SET":       {run: set, min: 2, max: 8},
	"SETNX":     {run: write, min: 2, max: 2},
	"GETSET":    {run: write, min: 2, max: 2},
	"SETEX":     {run: setex, min: 3, max: 3},
	"PSETEX":    {run: setex, min: 3, max: 3},
	"MSET":      {run: write, min: 2, max: -1},
	"MSETNX":    {run: write, min: 2, max: -1},
	"INCR":      {run: write, min: 1, max: 1},
	"DECR":      {run: write, min: 1, max: 1},
	"INCRBY":    {run: write, min: 2, max: 2},
	"DECRBY":    {run: write, min: 2, max: 2},
	"HSET":      {run: hset, min: 3, max: 3},
	"HSETNX":    {run: hset, min: 3, max: 3},
	"HGETALL":   {run: read, min: 1, max: 1},
	"HGET":      {run: read, min: 2, max: 2},
	"HDEL":      {run: read, min: 2, max: -1},
	"HKEYS":     {run: read, min: 1, max: 1},
	"HSTRLEN":   {run: read, min: 2, max: 2},
	"HLEN":      {run: read, min: 1, max: 1},
	"HSCAN":     {run: hscan, min: 2, max: 4},
	"XADD":      {run: xadd, min: 7, max: 7},
	"XRANGE":    {run: xrange, min: 5, max: 5},
	"XREVRANGE": {run: xrange, min: 5, max: 5},
	"XLEN":      {run: read, min: 1, max: 1},
	"EVALSHA":   {run: evalSHA, min: 4, max: 5},
	"FLUSHDB":   {run: flush, min: 0, max: 1},
	"FLUSHALL":  {run: flush, min: 0, max: 1},
}

// read passes on a command that adds nothing to what is kept.
func read(c *client, name string, args [][]byte) { c.dispatch(name, args, effect{}) }

// getrange takes a beginning and an end that count from the start of the value.
func getrange(c *client, name string, args [][]byte) {
	for _, arg := range args[1:] {
		if _, err := strconv.ParseUint(string(arg), 10, 31); err != nil {
			c.fail("ERR the embedded Redis takes GETRANGE key from to alone, both 0 or more")
			return
		}
	}
	c.dispatch(name, args, effect{})
}

// write passes on a command that may keep its arguments.
func write(c *client, name string, args [][]byte) {
	cost := int64(0)
	for i := 0; i < len(args); i += 2 {
		var value []byte // INCR has none
		if i+1 < len(args) {
			value = args[i+1]
		}
		if !c.fits(args[i], value) {
			return
		}
		cost += keyCost + int64(len(args[i])+len(value))
	}
	c.dispatch(name, args, effect{bytes: cost})
}

// fits answers a key or a value that is too long.
func (c *client) fits(key, value []byte) bool {
	switch {
	case len(key) > maxKey:
		c.fail("ERR a key is longer than 1 KiB, which the embedded Redis does not take")
	case len(value) > maxValue:
		c.fail("ERR a value is longer than 1 MiB, which the embedded Redis does not take")
	default:
		return true
	}
	return false
}

// dispatch has miniredis execute a command, and queues its answer.
func (c *client) dispatch(name string, args [][]byte, e effect) {
	words := make([]string, 0, 1+len(args))
	words = append(words, name)
	for _, a := range args {
		words = append(words, string(a))
	}
	if err := c.s.store.dispatch(c, words, e); err != nil {
		c.undone(err)
		return
	}
	c.send(c.takeReply())
}

// undone tells the client that the store has not done what it wanted.
func (c *client) undone(err error) {
	if errors.Is(err, errFull) {
		c.s.counts.refused.memory.Add(1)
	}
	c.fail(err.Error())
}

// set checks for what miniredis would overflow at, and for a time to live that would outlast its key.
func set(c *client, name string, args [][]byte) {
	var ttl time.Duration
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
			if i++; i < len(args) {
				var ok bool
				if ttl, ok = parseTTL(args[i], unit); !ok || ttl <= 0 {
					c.invalidTTL(name)
					return
				}
			}
		}
	}
	c.keep(name, args, args[0], args[1], ttl)
}

func setex(c *client, name string, args [][]byte) {
	ttl, ok := parseTTL(args[1], unitOf(name))
	if !ok || ttl <= 0 {
		c.invalidTTL(name)
		return
	}
	c.keep(name, args, args[0], args[2], ttl)
}

// keep passes on a command that keeps one value.
func (c *client) keep(name string, args [][]byte, key, value []byte, ttl time.Duration) {
	if !c.fits(key, value) {
		return
	}
	c.dispatch(name, args, effect{bytes: keyCost + int64(len(key)+len(value)), ttl: ttl})
}

func expire(c *client, name string, args [][]byte) {
	ttl, ok := parseTTL(args[1], unitOf(name))
	if !ok {
		c.invalidTTL(name)
		return
	}
	c.dispatch(name, args, effect{ttl: ttl})
}

// unitOf is that of EXPIRE and SETEX, or of PEXPIRE and PSETEX.
func unitOf(name string) time.Duration {
	if name[0] == 'P' {
		return time.Millisecond
	}
	return time.Second
}

func (c *client) invalidTTL(name string) {
	c.fail("ERR invalid expire time in '" + strings.ToLower(name) + "' command")
}

// parseTTL takes what is no number for one unit: miniredis will answer it.
func parseTTL(arg []byte, unit time.Duration) (ttl time.Duration, ok bool) {
	n, err := strconv.ParseInt(string(arg), 10, 64)
	if errors.Is(err, strconv.ErrSyntax) {
		return unit, true
	}
	most := int64(maxTTL / unit)
	if err != nil || n < -most || n > most {
		return 0, false
	}
	return time.Duration(n) * unit, true
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
		c.dispatch(name, nil, effect{})
		return
	}
	if err := c.s.store.reset(); err != nil {
		c.fail(err.Error())
		return
	}
	c.ok()
}

// keys and scan match by themselves: miniredis makes a regular expression of a pattern, and panics if it is none.
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
