package relay

import (
	"io"
	"net/netip"
	"testing"
	"time"
)

// window is how many datagrams are on their way at a time. Everything is in this process, so the time is that of
// both ends and the server; the allocations are the server's, since the ends make none.
const window = 32

func benchWorld(b *testing.B) (*world, []byte) {
	w := newWorld(b)
	b.ReportAllocs()
	b.SetBytes(1200)
	return w, make([]byte, 1200)
}

func pump(b *testing.B, send, receive func()) {
	b.Helper()
	for range 100 { // buffers and tables grow to their size
		send()
		receive()
	}
	b.ResetTimer()
	for n := 0; n < b.N; n += window {
		k := min(window, b.N-n)
		for range k {
			send()
		}
		for range k {
			receive()
		}
	}
}

func (e *endpoint) reader() func() {
	buf := make([]byte, 2048)
	_ = e.SetReadDeadline(time.Now().Add(time.Minute))
	return func() {
		if _, _, err := e.ReadFromUDPAddrPort(buf); err != nil {
			e.Fatal(err)
		}
	}
}

func (e *endpoint) writer(to netip.AddrPort, msg []byte) func() {
	return func() {
		if _, err := e.WriteToUDPAddrPort(msg, to); err != nil {
			e.Fatal(err)
		}
	}
}

func benchUDP(b *testing.B, channel bool) (w *world, c *client, peer *endpoint, r *Relay, data []byte) {
	w, data = benchWorld(b)
	c, peer = w.client(w.udp4), newEndpoint(b, loopback4)
	r = c.open(OpenOptions{})
	r.permit(loopback4, ScopeAny)
	if channel {
		r.bind(0x4000, peer.addr, ScopeAny)
	}
	return w, c, peer, r, data
}

func BenchmarkChannelUp(b *testing.B) {
	_, c, peer, _, data := benchUDP(b, true)
	pump(b, c.writer(c.server, channelData(0x4000, data)), peer.reader())
}

func BenchmarkChannelDown(b *testing.B) {
	_, c, peer, r, data := benchUDP(b, true)
	pump(b, peer.writer(r.Addr(), data), c.reader())
}

func BenchmarkSendIndication(b *testing.B) {
	_, c, peer, _, data := benchUDP(b, false)
	pump(b, c.writer(c.server, sendIndication(peer.addr, data)), peer.reader())
}

func BenchmarkDataIndication(b *testing.B) {
	_, c, peer, r, data := benchUDP(b, false)
	pump(b, peer.writer(r.Addr(), data), c.reader())
}

func BenchmarkInProcess(b *testing.B) {
	w, c, _, r, data := benchUDP(b, false)
	other := w.client(w.udp4)
	o := other.open(OpenOptions{})
	o.permit(loopback4, ScopeRelays)
	o.bind(0x4000, r.Addr(), ScopeRelays)
	r.bind(0x4000, o.Addr(), ScopeRelays)
	pump(b, c.writer(c.server, channelData(0x4000, data)), other.reader())
}

func benchStream(b *testing.B, tr Transport, down bool) {
	w, data := benchWorld(b)
	c, peer := w.streams(tr).client(), newEndpoint(b, loopback4)
	r, err := w.Open(c.src, OpenOptions{Family: 4})
	if err != nil {
		b.Fatal(err)
	}
	r.permit(loopback4, ScopeAny)
	r.bind(0x4000, peer.addr, ScopeAny)
	frame := channelData(0x4000, data)
	if down {
		buf := make([]byte, len(frame))
		pump(b, peer.writer(r.Addr(), data), func() {
			if _, err := io.ReadFull(c, buf); err != nil {
				b.Fatal(err)
			}
		})
		return
	}
	pump(b, func() { c.put(frame) }, peer.reader())
}

func BenchmarkTCPUp(b *testing.B)   { benchStream(b, TCP, false) }
func BenchmarkTCPDown(b *testing.B) { benchStream(b, TCP, true) }
func BenchmarkTLSUp(b *testing.B)   { benchStream(b, TLS, false) }
func BenchmarkTLSDown(b *testing.B) { benchStream(b, TLS, true) }

// BenchmarkOpenClose is what setting up and taking down a relay costs the data plane.
func BenchmarkOpenClose(b *testing.B) {
	w := newWorld(b)
	c := w.client(w.udp4)
	b.ReportAllocs()
	for b.Loop() {
		r := c.open(OpenOptions{})
		r.permit(loopback4, ScopeAny)
		r.Close()
	}
}

func BenchmarkClientTable(b *testing.B) {
	t := newClientTable()
	key := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), uint16(i))
	}
	for i := range 10_000 {
		t.put(key(i), loopback4, &Relay{})
	}
	i := 0
	b.ReportAllocs()
	for b.Loop() {
		if t.get(key(i%10_000), loopback4) == nil {
			b.Fatal("missed")
		}
		i++
	}
}
