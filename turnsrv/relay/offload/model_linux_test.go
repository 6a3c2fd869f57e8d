//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net/netip"

	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// frame is what the model and the tests put together and take apart: an Ethernet frame with a UDP datagram.
type frame struct {
	from, to netip.AddrPort
	tos, ttl byte
	data     []byte
}

func sum(s uint32, b []byte) uint32 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 != 0 {
		s += uint32(b[len(b)-1]) << 8
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return s
}

// checksum is that of a UDP datagram whose own field is 0.
func (f *frame) checksum(udp []byte) uint16 {
	s := sum(uint32(len(udp))+17, f.from.Addr().AsSlice())
	s = sum(sum(s, f.to.Addr().AsSlice()), udp)
	if c := ^uint16(s); c != 0 {
		return c
	}
	return 0xffff
}

// bytes is the frame, with its checksums.
func (f *frame) bytes() []byte {
	udp := binary.BigEndian.AppendUint16(nil, f.from.Port())
	udp = binary.BigEndian.AppendUint16(udp, f.to.Port())
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(f.data)))
	udp = append(append(udp, 0, 0), f.data...)
	binary.BigEndian.PutUint16(udp[6:], f.checksum(udp))
	b := make([]byte, 12, 1600)
	if f.from.Addr().Is4() {
		b = append(b, 8, 0)
		ip := []byte{0x45, f.tos, 0, 0, 0, 0, 0, 0, f.ttl, 17, 0, 0}
		binary.BigEndian.PutUint16(ip[2:], uint16(20+len(udp)))
		ip = append(append(ip, f.from.Addr().AsSlice()...), f.to.Addr().AsSlice()...)
		binary.BigEndian.PutUint16(ip[10:], ^uint16(sum(0, ip)))
		b = append(b, ip...)
	} else {
		b = append(b, 0x86, 0xdd, 0x60|f.tos>>4, f.tos<<4, 0, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(len(udp)))
		b = append(b, 17, f.ttl)
		b = append(append(b, f.from.Addr().AsSlice()...), f.to.Addr().AsSlice()...)
	}
	return append(b, udp...)
}

// parseFrame is what the program makes of a frame; ok is false for what it does not look up. good is whether the UDP checksum
// is right, and none whether there is none. A TTL of most is too low, and another station than the one given is not looked at.
func parseFrame(b, station []byte, most byte) (f frame, good, none, ok bool) {
	var udp []byte
	switch {
	case len(b) < 42 || !bytes.Equal(b[:6], station):
		return f, false, false, false
	case b[12] == 8 && b[13] == 0:
		ip := b[14:]
		n := int(binary.BigEndian.Uint16(ip[2:]))
		if ip[0] != 0x45 || ip[9] != 17 || binary.BigEndian.Uint16(ip[6:])&0x3fff != 0 || ip[8] <= most || sum(0, ip[:20]) != 0xffff || n < 28 || n > len(ip) {
			return f, false, false, false
		}
		f = frame{tos: ip[1], ttl: ip[8]}
		f.from = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[12:16])), binary.BigEndian.Uint16(ip[20:]))
		f.to = netip.AddrPortFrom(netip.AddrFrom4([4]byte(ip[16:20])), binary.BigEndian.Uint16(ip[22:]))
		udp = ip[20:n]
	case b[12] == 0x86 && b[13] == 0xdd && len(b) >= 62:
		ip := b[14:]
		n := 40 + int(binary.BigEndian.Uint16(ip[4:]))
		if ip[0]>>4 != 6 || ip[6] != 17 || ip[7] <= most || n < 48 || n > len(ip) || binary.BigEndian.Uint16(ip[46:]) == 0 {
			return f, false, false, false
		}
		f = frame{tos: ip[0]<<4 | ip[1]>>4, ttl: ip[7]}
		f.from = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[8:24])), binary.BigEndian.Uint16(ip[40:]))
		f.to = netip.AddrPortFrom(netip.AddrFrom16([16]byte(ip[24:40])), binary.BigEndian.Uint16(ip[42:]))
		udp = ip[40:n]
	default:
		return f, false, false, false
	}
	if int(binary.BigEndian.Uint16(udp[4:])) != len(udp) {
		return f, false, false, false
	}
	f.data = udp[8:]
	had := binary.BigEndian.Uint16(udp[6:])
	clear := append([]byte(nil), udp...)
	clear[6], clear[7] = 0, 0
	return f, f.checksum(clear) == had, had == 0, true
}

// model is the table as the model knows it: by how a datagram arrives, how it leaves.
type model map[relay.Leg]relay.Leg

// relay says what leaves for a frame; ok is false for what is left to the sockets.
func (m model) relay(f frame, mtu int) (out frame, ok bool) {
	data := f.data
	leg, found := relay.Leg{}, false
	if number, inner, is := stunmsg.ParseChannelData(f.data); is {
		if behind := len(f.data) - 4 - len(inner); behind == 0 || behind == -len(inner)&3 {
			if leg, found = m[relay.Leg{From: f.from, To: f.to, Channel: number}]; found {
				data = inner
			}
		}
	}
	if !found {
		if leg, found = m[relay.Leg{From: f.from, To: f.to}]; !found {
			return out, false
		}
	}
	if leg.Channel != 0 {
		data = framed(leg.Channel, data)
	}
	head := 28
	if f.from.Addr().Is6() {
		head, mtu = 48, min(mtu, least6)
	}
	return frame{leg.From, leg.To, f.tos, f.ttl - 1, data}, head+len(data) <= mtu
}

// spoil changes a frame in one of the ways in which the network, or somebody, does.
func spoil(r *rand.Rand, b []byte) []byte {
	switch r.IntN(6) {
	case 0:
		return b[:r.IntN(len(b)-13)+14]
	case 1:
		for range 1 + r.IntN(3) {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
	case 2:
		b[12+r.IntN(min(60, len(b)-12))] = byte(r.Uint32())
	case 3:
		return append(b, make([]byte, r.IntN(20))...) // what Ethernet adds
	case 4:
		for i := 14; i < len(b); i++ {
			b[i] = byte(r.Uint32())
		}
	}
	return b
}
