package broker

import (
	"fmt"
	"testing"
)

// BenchmarkRelay has one Node send messages of 600 bytes to another, a window at a time. The CPU time includes both clients'.
func BenchmarkRelay(b *testing.B) {
	r := start(b, func(c *Config) { c.Settings.Limits.MessagesPerSecond = 1_000_000_000 })
	alice, bob := r.join("Alice"), r.join("Bob")
	message := payload(0, "SOCKET_MSG_EXCHANGE", fmt.Sprintf(`{"from":"Alice","to":"Bob","channel":"c","content":"%0500d"}`, 0))
	b.SetBytes(int64(len(message)))
	b.ReportAllocs()
	const window = 32
	places := make(chan struct{}, window)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range b.N {
			bob.read()
		}
	}()
	go func() {
		for range b.N {
			alice.read()
			<-places
		}
	}()
	b.ResetTimer()
	for range b.N {
		places <- struct{}{}
		alice.write(message)
	}
	<-done
}

// BenchmarkPayload reads what an offer of 3 kB is.
func BenchmarkPayload(b *testing.B) {
	arg := quote(fmt.Appendf(nil, `{"platformFrom":"JVM","versionFrom":"1","from":"Alice","to":"Bob","sessionId":"s","sessionDescription":"%03000d"}`, 0))
	buf := make([]byte, 0, 4096)
	b.SetBytes(int64(len(arg)))
	b.ReportAllocs()
	for b.Loop() {
		buf = buf[:0]
		var m message
		if !m.read(arg, &buf, true) {
			b.Fatal("not read")
		}
	}
}
