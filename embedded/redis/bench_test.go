package redis_test

import (
	"fmt"
	"strings"
	"testing"

	embedded "github.com/crolang-p2p/crolang-aio/embedded/redis"
)

// BenchmarkLock is what a Broker does for each Node that comes and goes.
func BenchmarkLock(b *testing.B) {
	r := dial(b, start(b, embedded.Config{}))
	for i := range b.N {
		node := fmt.Sprint("node", i%1000)
		r.do("SET", node, "socket", "PX", "60000", "NX")
		r.do("PEXPIRE", node, "60000")
		r.do("DEL", node)
	}
}

// BenchmarkPublish is one message to two Brokers.
func BenchmarkPublish(b *testing.B) {
	for _, size := range []int{256, 64 << 10, 4 << 20} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := start(b, embedded.Config{})
			pub := dial(b, s)
			var subs [2]*redis
			for i := range subs {
				subs[i] = dial(b, s)
				subs[i].do("PSUBSCRIBE", "socket.io#/#*")
			}
			payload := strings.Repeat("x", size)
			b.SetBytes(int64(size))
			for b.Loop() {
				pub.send("PUBLISH", "socket.io#/#room#", payload)
				for _, sub := range subs {
					sub.read()
				}
				pub.read()
			}
		})
	}
}
