package redis_test

import (
	"fmt"
	"strings"
	"testing"

	embedded "github.com/crolang-p2p/crolang-aio/embedded/redis"
)

// What machines of a fleet ask, and nothing like it.
func TestHashesAndStreams(t *testing.T) {
	r := dial(t, start(t, embedded.Config{}))
	r.want(1, "HSET", "\xffh", "f", "v")
	r.want(0, "HSETNX", "\xffh", "f", "other")
	r.want(list("f", "v"), "HGETALL", "\xffh")
	r.want(list("0", list("f", "v")), "HSCAN", "\xffh", "0", "COUNT", "256")
	r.want(list("f"), "HKEYS", "\xffh")
	r.want(1, "HSTRLEN", "\xffh", "f")
	r.want(1, "HDEL", "\xffh", "f", "g")
	r.want(0, "HLEN", "\xffh")
	first := fmt.Sprint(r.do("XADD", "s", "MAXLEN", "~", "2", "*", "e", "1"))
	second := fmt.Sprint(r.do("XADD", "s", "MAXLEN", "~", "2", "*", "e", "2"))
	r.want(list(list(first, list("e", "1")), list(second, list("e", "2"))), "XRANGE", "s", first, "+", "COUNT", "10")
	r.want(list(list(second, list("e", "2"))), "XREVRANGE", "s", "+", "-", "COUNT", "1")
	for range 5 {
		r.do("XADD", "s", "MAXLEN", "~", "2", "*", "e", "3")
	}
	r.want(2, "XLEN", "s")
	for _, words := range []string{
		"XADD s * e 1", "XADD s MAXLEN ~ x * e 1", "XADD s MAXLEN = 1 * e 1", "XADD s MAXLEN ~ 1 5-1 e 1", "XADD s MINID ~ 1 * e 1",
		"XRANGE s - + COUNT", "XRANGE s - + COUNT 0", "XRANGE s ( + COUNT 1", "XRANGE s x + COUNT 1", "XRANGE s 1-x + COUNT 1", "XRANGE s - + LIMIT 1",
		"HSCAN h x", "HSCAN h 0 MATCH *", "HSCAN h 0 COUNT", "HSCAN h 0 COUNT x", "HSET h f", "HSET h f v g w",
		"XREAD STREAMS s 0", "XGROUP CREATE s g 0",
	} {
		args := []string{}
		args = append(args, strings.Fields(words)...)
		if got := fmt.Sprint(r.do(args...)); !strings.Contains(got, "ERR") {
			t.Errorf("%s: %s", words, got)
		}
	}
	r.want(2, "XLEN", "s")
}

// A store that is full is looked through, and hashes and streams come out of it as they were.
func TestHashesSurviveARebuild(t *testing.T) {
	r := dial(t, start(t, embedded.Config{MaxMemory: 64 << 10}))
	r.want(1, "HSET", "h", "kept", "value")
	id := fmt.Sprint(r.do("XADD", "s", "MAXLEN", "~", "9", "*", "e", "1"))
	for i := range 1000 {
		if got := fmt.Sprint(r.do("HSET", "h", "often", fmt.Sprint(i))); strings.Contains(got, "OOM") {
			eventually(t, "there is room again", func() bool {
				return r.do("HSET", "h", "often", fmt.Sprint(i)) != nil && !strings.Contains(fmt.Sprint(r.do("HSET", "h", "often", "x")), "OOM")
			})
		}
	}
	r.want(2, "HLEN", "h")
	r.want(list(list(id, list("e", "1"))), "XRANGE", "s", "-", "+", "COUNT", "9")
}
