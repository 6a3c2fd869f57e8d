package redis

import (
	"fmt"
	"strconv"
)

// script is one that is offered, by the SHA-1 of its text: no other is, and no text is ever run.
type script struct {
	command string // executed if the key's value is the first argument; else the answer is 0
	args    int    // arguments beyond the first
}

// scripts are what Brokers of this program use to extend and release only locks that are theirs:
//
//	if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('PEXPIRE',KEYS[1],ARGV[2]) else return 0 end
//	if redis.call('GET',KEYS[1])==ARGV[1] then return redis.call('DEL',KEYS[1]) else return 0 end
var scripts = map[string]script{
	"0ed4e18d2cad73febcfa8e0811d926ccdb04441b": {command: "PEXPIRE", args: 1},
	"e8022015b1db2126f2af52e2659c302bb86e2557": {command: "DEL"},
}

// evalSHA runs one of the scripts.
func evalSHA(c *client, name string, args [][]byte) {
	found, ok := scripts[string(args[0])]
	switch {
	case !ok:
		c.fail("NOSCRIPT the embedded Redis knows the scripts of crolang-aio's Broker only")
		return
	case string(args[1]) != "1" || len(args) != 4+found.args:
		c.fail(fmt.Sprintf("ERR this script takes one key and %d arguments, not %s", 1+found.args, strconv.QuoteToASCII(string(args[1]))))
		return
	}
	key, owner, rest := args[2], args[3], args[4:]
	words := []string{found.command, string(key)}
	var e effect
	if len(rest) > 0 {
		ttl, ok := parseTTL(rest[0], unitOf(found.command))
		if !ok {
			c.invalidTTL(found.command)
			return
		}
		e.ttl = ttl
		words = append(words, string(rest[0]))
	}
	done, err := c.s.store.dispatchIf(c, string(key), string(owner), words, e)
	switch {
	case err != nil:
		c.undone(err)
	case !done:
		c.send(appendInt(nil, 0))
	default:
		c.send(c.takeReply())
	}
}
