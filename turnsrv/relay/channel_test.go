package relay

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"
)

// unanswered is how long it is watched that nothing comes before the answer. It only decides how surely a fault is found.
const unanswered = 20 * time.Millisecond

// What a peer sends while its channel's answer is on the way reaches the client behind the answer: it would drop ChannelData
// of a channel that it does not know.
func TestChannelDataWaitsForTheAnswer(t *testing.T) {
	families(t, func(t *testing.T, w *world, server netip.AddrPort) {
		c, peer := w.client(server), newEndpoint(t, server.Addr())
		r := c.open(OpenOptions{})
		must(r.Bind(0x4001, peer.addr, ScopeAny, func() {
			peer.to(r.Addr(), []byte("early"))
			c.nothing(unanswered)
			c.src.Send([]byte("answer"))
		}))
		c.expect(server, []byte("answer"))
		c.expect(server, channelData(0x4001, []byte("early")))
	})
}

func TestChannelDataWaitsForTheAnswerOnStreams(t *testing.T) {
	bothStreams(t, func(t *testing.T, s *streamServer) {
		c, peer, other := s.client(), newEndpoint(t, loopback4), s.world.client(s.udp4)
		c.src.MarkAuthenticated()
		r, err := s.Open(c.src, OpenOptions{Family: 4})
		if err != nil {
			t.Fatal(err)
		}
		relay := other.open(OpenOptions{})
		relay.bind(0x4000, r.Addr(), ScopeAny)
		for i, from := range []struct {
			addr netip.AddrPort
			send func()
		}{
			{peer.addr, func() { peer.to(r.Addr(), []byte("early")) }},
			{relay.Addr(), func() { other.send(channelData(0x4000, []byte("early"))) }},
		} {
			number, answer := 0x4000+uint16(i), binding()
			must(r.Bind(number, from.addr, ScopeAny, func() {
				from.send()
				_ = c.SetReadDeadline(time.Now().Add(unanswered))
				if n, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%d bytes before the answer, %v", n, err)
				}
				c.src.Send(answer)
			}))
			c.expect(answer)
			c.expect(padded(channelData(number, []byte("early"))))
		}
	})
}
