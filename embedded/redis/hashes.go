package redis

import (
	"strconv"
	"strings"

	"github.com/alicebob/miniredis/v2"
)

// The hashes and streams that the machines of a fleet share, in just the form in which they ask: miniredis would panic at some
// others.

// fieldCost is what miniredis needs for a field of a hash, or an entry of a stream, beside its texts.
const fieldCost = 200

func hset(c *client, name string, args [][]byte) {
	if !c.fits(args[1], args[2]) || !c.fits(args[0], nil) {
		return
	}
	c.dispatch(name, args, effect{bytes: keyCost + fieldCost + int64(len(args[0])+len(args[1])+len(args[2]))})
}

// hscan answers everything at once, as miniredis does.
func hscan(c *client, name string, args [][]byte) {
	if _, err := strconv.ParseUint(string(args[1]), 10, 32); err != nil {
		c.fail("ERR invalid cursor")
		return
	}
	if len(args) == 3 || len(args) == 4 && (!strings.EqualFold(string(args[2]), "COUNT") || !count(args[3])) {
		c.fail("ERR the embedded Redis takes HSCAN with COUNT alone")
		return
	}
	c.dispatch(name, args, effect{})
}

// xadd takes XADD key MAXLEN ~ n * field value.
func xadd(c *client, name string, args [][]byte) {
	if !strings.EqualFold(string(args[1]), "MAXLEN") || string(args[2]) != "~" || !count(args[3]) || string(args[4]) != "*" {
		c.fail("ERR the embedded Redis takes XADD key MAXLEN ~ n * field value alone")
		return
	}
	if !c.fits(args[0], nil) || !c.fits(args[5], args[6]) {
		return
	}
	c.dispatch(name, args, effect{bytes: keyCost + fieldCost + int64(len(args[0])+len(args[5])+len(args[6]))})
}

// xrange takes XRANGE and XREVRANGE key from to COUNT n.
func xrange(c *client, name string, args [][]byte) {
	if !entryID(args[1]) || !entryID(args[2]) || !strings.EqualFold(string(args[3]), "COUNT") || !count(args[4]) {
		c.fail("ERR the embedded Redis takes " + name + " key from to COUNT n alone, with ids such as 1-0, - and +")
		return
	}
	c.dispatch(name, args, effect{})
}

func count(arg []byte) bool {
	n, err := strconv.ParseUint(string(arg), 10, 31)
	return err == nil && n > 0
}

// entryID reports whether arg is the id of an entry in a stream, or stands for its first or last.
func entryID(arg []byte) bool {
	text := string(arg)
	if text == "-" || text == "+" {
		return true
	}
	at, n, _ := strings.Cut(text, "-")
	_, err := strconv.ParseUint(at, 10, 63)
	_, errN := strconv.ParseUint(n, 10, 63)
	return err == nil && errN == nil
}

// move copies a key from one database to another, and returns how many bytes that takes.
func move(from, to *miniredis.RedisDB, key string) (used int64) {
	used = keyCost + int64(len(key))
	switch from.Type(key) {
	case "string":
		value, err := from.Get(key)
		if err != nil || to.Set(key, value) != nil {
			return 0
		}
		used += int64(len(value))
	case "hash":
		fields, err := from.HKeys(key)
		if err != nil {
			return 0
		}
		for _, field := range fields {
			value := from.HGet(key, field)
			to.HSet(key, field, value)
			used += fieldCost + int64(len(field)+len(value))
		}
	case "stream":
		entries, err := from.Stream(key)
		if err != nil {
			return 0
		}
		for _, e := range entries {
			if _, err := to.XAdd(key, e.ID, e.Values); err != nil {
				return 0
			}
			used += fieldCost
			for _, v := range e.Values {
				used += int64(len(v))
			}
		}
	default:
		return 0 // nothing else is ever kept
	}
	if left := from.TTL(key); left != 0 {
		to.SetTTL(key, left)
	}
	return used
}
