package turnsrv

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// A client whose last words and whose end arrive together, while the server is busy with what came before, is gone at
// once, and its allocation with it. Nothing of this is answered: an answer would be met with a reset.
func TestLastWordsAndEndTogether(t *testing.T) {
	var armed atomic.Bool
	busy, free := make(chan struct{}), make(chan struct{})
	s := startServer(t, func(c *Config) {
		c.Protected = func() []netip.AddrPort { // asked for each Send indication
			if armed.CompareAndSwap(true, false) {
				busy <- struct{}{}
				<-free
			}
			return nil
		}
	})
	_, peer := listenUDP(t, "127.0.0.1:0")
	for _, transport := range []string{"tcp", "tls"} {
		c, _ := s.allocated(t, transport, "n")
		if err := c.Bind(within(t), 0x4000, peer); err != nil {
			t.Fatal(err)
		}
		armed.Store(true)
		if err := c.Send(peer, []byte("first")); err != nil {
			t.Fatal(err)
		}
		<-busy
		if err := c.SendChannel(0x4000, []byte("last")); err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
		time.Sleep(50 * time.Millisecond) // for both to arrive; nothing tells when they have
		free <- struct{}{}
		eventually(t, transport+": the connection and its allocation have ended", func() bool { return s.Streams().Open == 0 && s.Live() == 0 })
	}
}
