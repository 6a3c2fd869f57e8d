package relay

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// No datagram, however long, makes a length wrap: a client reads whole messages only, and in them what was sent and
// nothing else. What cannot be passed on is dropped and counted.

// party is one client, read as strictly as can be.
type party struct {
	testing.TB
	src    Source
	family int // of the client's own address
	udp    *endpoint
	stream *streamClient
	relay  *Relay
	number uint16 // its channel, 0 for none
}

func parties(t *testing.T, w *world) (all []*party) {
	add := func(p *party, ip netip.Addr) {
		p.TB, p.family = t, 6
		if ip.Is4() {
			p.family = 4
		}
		p.src.MarkAuthenticated()
		all = append(all, p)
	}
	for _, server := range []netip.AddrPort{w.udp4, w.udp6} {
		c := w.client(server)
		add(&party{src: c.src, udp: c.endpoint}, server.Addr())
	}
	for _, ip := range []netip.Addr{loopback4, loopback6} {
		for _, tr := range []Transport{TCP, TLS} {
			c := w.streamsOn(tr, ip).client()
			add(&party{src: c.src, stream: c}, ip)
		}
		c, src, _ := messageConnOn(t, w, ip)
		add(&party{src: src, udp: c}, ip)
	}
	return all
}

func (p *party) String() string { return fmt.Sprintf("%s over IPv%d", p.src.Transport, p.family) }

// most is the longest message that the client can send or be sent.
func (p *party) most() int {
	switch p.src.Transport {
	case UDP:
		return map[int]int{4: 65507, 6: 65527}[p.family]
	case DTLS:
		return 16384
	}
	return 65535
}

// whole is how long a message with n bytes of data is.
func (p *party) whole(n int, number uint16, peer netip.AddrPort) int {
	up := (n + 3) / 4 * 4
	switch {
	case number == 0 && peer.Addr().Is4():
		return 20 + 12 + 4 + up
	case number == 0:
		return 20 + 24 + 4 + up
	case p.stream != nil:
		return 4 + up
	}
	return 4 + n
}

// put sends a message, if the client could.
func (p *party) put(msg []byte) {
	p.Helper()
	if p.stream != nil {
		p.stream.put(padded(msg))
		return
	}
	p.udp.to(p.src.Server, msg)
}

// next is one message of the server's.
func (p *party) next() []byte {
	p.Helper()
	if p.stream == nil {
		b, _ := p.udp.next()
		return b
	}
	_ = p.stream.SetReadDeadline(time.Now().Add(patience))
	head := make([]byte, 4)
	if _, err := io.ReadFull(p.stream, head); err != nil {
		p.Fatal(err)
	}
	size := int(binary.BigEndian.Uint16(head[2:]))
	switch {
	case head[0] == 0 && size%4 == 0:
		size += 20
	case head[0]&0xc0 == 0x40:
		size = 4 + (size+3)/4*4
	default:
		p.Fatalf("%s: no message begins with %x", p, head)
	}
	b := make([]byte, size)
	copy(b, head)
	if _, err := io.ReadFull(p.stream, b[4:]); err != nil {
		p.Fatal(err)
	}
	return b
}

// payload takes a message of the server's apart, down to the last byte.
func (p *party) payload(b []byte) (number uint16, from netip.AddrPort, data []byte) {
	p.Helper()
	if b[0]&0xc0 == 0x40 {
		n := int(binary.BigEndian.Uint16(b[2:]))
		if want := p.whole(n, 1, from); len(b) != want {
			p.Fatalf("%s: ChannelData of %d bytes in %d, want %d", p, n, len(b), want)
		}
		return binary.BigEndian.Uint16(b), from, b[4 : 4+n]
	}
	from, data = dataOf(p, b)
	return 0, from, data
}

func lengths(rng *rand.Rand) []int {
	all := []int{0, 1, 4, 5, 1500, 1600, 16336, 16337, 16349, 16380, 16381, 65459, 65460, 65472, 65473, 65485, 65488, 65489, 65500, 65504, 65507, 65508}
	for n := 65519; n <= 65535; n++ {
		all = append(all, n)
	}
	for range 3 {
		all = append(all, rng.IntN(65536))
	}
	return all
}

// junk reads as frames of a channel, should a client ever lose its place in the stream and look into it.
var junk = func() []byte {
	rng := rand.New(rand.NewPCG(9, 7))
	b := make([]byte, 1<<17)
	for i := range b {
		b[i] = []byte{0x40, 0x00, 0x00, 0x04}[i%4] ^ byte(rng.IntN(2))
	}
	return b
}()

// exchange checks what becomes of one datagram for p. send reports whether its sender could send it.
func (p *party) exchange(n int, from netip.AddrPort, send func(data []byte) bool) {
	p.Helper()
	data := junk[n%4096 : n%4096+n]
	before := p.relay.Stats().Down
	if !send(data) {
		return
	}
	fits := p.whole(n, p.number, from) <= p.most()
	if fits {
		number, by, got := p.payload(p.next())
		if number != p.number || number == 0 && by != from || !bytes.Equal(got, data) {
			p.Fatalf("%d bytes for %s: channel %#x, from %s, %d bytes", n, p, number, by, len(got))
		}
	}
	// It is counted when it has been sent.
	for end := time.Now().Add(patience); handled(p.relay) == before.Datagrams+before.Dropped; runtime.Gosched() {
		if time.Now().After(end) {
			p.Fatalf("%d bytes for %s are not counted", n, p)
		}
	}
	after := p.relay.Stats().Down
	if got := after.Drops[TooLarge] - before.Drops[TooLarge]; got != 0 == fits || after.Dropped-before.Dropped != got {
		p.Fatalf("%d bytes for %s: drops before %v, after %v; it fits: %v", n, p, before.Drops, after.Drops, fits)
	}
}

// marker checks that nothing else has come.
func (p *party) marker() {
	p.Helper()
	msg := binding()
	p.put(msg)
	if got := p.next(); !bytes.Equal(got, msg) {
		p.Fatalf("%s: %d bytes %.40x that nobody sent", p, len(got), got)
	}
}

func TestNoLengthWraps(t *testing.T) {
	for _, family := range []int{4, 6} {
		for _, channels := range []bool{true, false} {
			t.Run(fmt.Sprintf("IPv%d, channels %v", family, channels), func(t *testing.T) {
				w := newWorld(t)
				rng := rand.New(rand.NewPCG(uint64(family), 3))
				all := parties(t, w)
				local := map[int]netip.Addr{4: loopback4, 6: loopback6}[family]
				outside := newEndpoint(t, local)
				_ = outside.SetWriteBuffer(1 << 20)
				for _, p := range all {
					r, err := w.Open(p.src, OpenOptions{Family: family})
					if err != nil {
						t.Fatal(err)
					}
					p.relay = r
					r.permit(local, ScopeAny)
				}
				for _, to := range all {
					for _, by := range all {
						if to != by {
							to.hear(by, channels, rng)
						}
					}
					to.hearPeer(outside, channels, rng)
					to.tellPeer(outside, rng)
				}
			})
		}
	}
}

func (p *party) listen(peer netip.AddrPort, channel bool) {
	if p.number = 0; channel {
		p.number = 0x4001
		p.relay.bind(p.number, peer, ScopeAny)
	}
}

// hear has another client send, within the process.
func (p *party) hear(by *party, channel bool, rng *rand.Rand) {
	p.Helper()
	p.listen(by.relay.Addr(), channel)
	by.relay.bind(0x4002, p.relay.Addr(), ScopeRelays)
	for _, n := range lengths(rng) {
		p.exchange(n, by.relay.Addr(), func(data []byte) bool {
			msg := channelData(0x4002, data)
			if n%2 == 1 {
				msg = sendIndication(p.relay.Addr(), data)
			}
			if msg == nil || len(padded(bytes.Clone(msg))) > by.most() {
				return false
			}
			by.put(msg)
			return true
		})
	}
	p.marker()
	p.relay.unbind(0x4001)
	by.relay.unbind(0x4002)
}

// hearPeer has a peer send, over the network.
func (p *party) hearPeer(peer *endpoint, channel bool, rng *rand.Rand) {
	p.Helper()
	p.listen(peer.addr, channel)
	for _, n := range lengths(rng) {
		p.exchange(n, peer.addr, func(data []byte) bool {
			_, err := peer.WriteToUDPAddrPort(data, p.relay.Addr())
			return err == nil
		})
	}
	p.marker()
	p.relay.unbind(0x4001)
}

// tellPeer sends to a peer. What no datagram can carry is dropped as well.
func (p *party) tellPeer(peer *endpoint, rng *rand.Rand) {
	p.Helper()
	p.relay.bind(0x4003, peer.addr, ScopeAny)
	for _, n := range lengths(rng) {
		before := p.relay.Stats().Up
		data := bytes.Repeat([]byte{byte(n)}, n)
		msg := channelData(0x4003, data)
		if len(padded(bytes.Clone(msg))) > p.most() {
			continue
		}
		p.put(msg)
		if n <= map[bool]int{true: 65507, false: 65527}[peer.addr.Addr().Is4()] {
			peer.expect(p.relay.Addr(), data)
			continue
		}
		counted(p, p.relay, func(s Stats) bool { return s.Up.Drops[TooLarge] == before.Drops[TooLarge]+1 })
	}
	p.relay.unbind(0x4003)
}
