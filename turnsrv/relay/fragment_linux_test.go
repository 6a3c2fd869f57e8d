package relay

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// onWire hears the IPv4 packets of the loopback interface.
type onWire struct {
	*testing.T
	fd int
}

// listenOnWire hears what these ports send.
func listenOnWire(t *testing.T, one, other uint16) *onWire {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, int(binary.NativeEndian.Uint16([]byte{8, 0})))
	if err != nil {
		t.Skipf("packets cannot be looked at: %v", err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	// Others use the interface too, and their packets must not fill the buffer.
	accept := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 16}
	all := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: 9},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.IPPROTO_UDP, Jf: 5},
		{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_IND, K: 0},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(one), Jt: 1},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: uint32(other), Jf: 1},
		accept,
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: uint16(len(all)), Filter: &all[0]}); err != nil {
		t.Skipf("packets cannot be filtered: %v", err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: int64(patience / time.Second)}); err != nil {
		t.Fatal(err)
	}
	return &onWire{t, fd}
}

// dontFragment is the DF bit of the next packet between two ports, and whether it is a fragment.
func (w *onWire) dontFragment(from, to uint16) (df, fragment bool) {
	w.Helper()
	buf := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(w.fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			w.Fatalf("no packet from port %d to %d: %v", from, to, err)
		}
		head := int(buf[0]&15) * 4
		if n < head+8 || buf[9] != unix.IPPROTO_UDP || binary.BigEndian.Uint16(buf[head:]) != from || binary.BigEndian.Uint16(buf[head+2:]) != to {
			continue
		}
		flags := binary.BigEndian.Uint16(buf[6:])
		return flags&0x4000 != 0, flags&0x3fff != 0
	}
}

func sendWithoutFragments(peer netip.AddrPort, data []byte) []byte {
	b := stunmsg.Begin(nil, stunmsg.SendIndication, make([]byte, 12))
	return b.XORAddr(stunmsg.AttrXORPeerAddress, peer).Attr(stunmsg.AttrDontFragment, nil).Attr(stunmsg.AttrData, data).Bytes()
}

// DF is set on what a Send indication with DONT-FRAGMENT brings, and on nothing else (RFC 8656 §14).
func TestFragmentsOnTheWire(t *testing.T) {
	w := newWorld(t)
	c, peer := w.client(w.udp4), newEndpoint(t, loopback4)
	r := c.open(OpenOptions{})
	wire := listenOnWire(t, r.Addr().Port(), c.server.Port())
	r.bind(0x4000, peer.addr, ScopeAny)
	for _, size := range []int{0, 1200} {
		data := make([]byte, size)
		for range 2 {
			for _, step := range []struct {
				what string
				msg  []byte
				df   bool
			}{
				{"ChannelData", channelData(0x4000, data), false},
				{"a Send", sendIndication(peer.addr, data), false},
				{"a Send with DONT-FRAGMENT", sendWithoutFragments(peer.addr, data), true},
				{"a Send after it", sendIndication(peer.addr, data), false},
			} {
				c.send(step.msg)
				peer.expect(r.Addr(), data)
				if df, fragment := wire.dontFragment(r.Addr().Port(), peer.addr.Port()); df != step.df || fragment {
					t.Errorf("%s of %d bytes: DF %v, a fragment: %v", step.what, size, df, fragment)
				}
			}
			peer.to(r.Addr(), data)
			c.expect(c.server, channelData(0x4000, data))
			if df, _ := wire.dontFragment(c.server.Port(), c.addr.Port()); df {
				t.Error("DF towards the client")
			}
		}
	}
	// Many at once, which leave in one call, and one in their middle.
	for i := range 30 {
		if i == 15 {
			c.send(sendWithoutFragments(peer.addr, []byte{byte(i)}))
		} else {
			c.send(channelData(0x4000, []byte{byte(i)}))
		}
	}
	for i := range 30 {
		peer.expect(r.Addr(), []byte{byte(i)}) // in order
	}
	if s := r.Stats(); s.Up.Dropped != 0 {
		t.Errorf("dropped: %+v", s.Up)
	}
}

func TestDontFragmentOnIPv6(t *testing.T) {
	w := newWorld(t)
	c, peer := w.client(w.udp6), newEndpoint(t, loopback6)
	r := c.open(OpenOptions{})
	r.permit(loopback6, ScopeAny)
	for range 3 {
		c.send(sendWithoutFragments(peer.addr, []byte("whole")))
		peer.expect(r.Addr(), []byte("whole"))
		c.send(sendIndication(peer.addr, []byte("any")))
		peer.expect(r.Addr(), []byte("any"))
	}
}

// The first burst to a new relay finds room: 150 datagrams of 1200 bytes before anybody reads one.
func TestFirstBurstFindsRoom(t *testing.T) {
	w := newWorld(t)
	c, peer := w.client(w.udp4), newEndpoint(t, loopback4)
	_ = c.SetReadBuffer(8 << 20)
	if got, err := unixReadBuffer(c.endpoint); err != nil || got < 1<<20 {
		t.Skipf("the client's own buffer has %d bytes, %v", got, err)
	}
	for range 5 {
		r := c.open(OpenOptions{})
		r.bind(0x4000, peer.addr, ScopeAny)
		blocked := make(chan struct{})
		// The workers are held up, as they are on a machine that has other things to do.
		w.control.set(func(Source, []byte) { <-blocked })
		other := newEndpoint(t, loopback4)
		for range 2 {
			other.to(w.udp4, binding())
			newEndpoint(t, loopback4).to(w.udp4, binding())
		}
		data := make([]byte, 1200)
		for range 150 {
			peer.to(r.Addr(), data)
		}
		close(blocked)
		w.control.set(func(src Source, msg []byte) { src.Send(msg) })
		for range 150 {
			c.expect(w.udp4, channelData(0x4000, data))
		}
		r.Close()
	}
}

func unixReadBuffer(e *endpoint) (n int, err error) {
	raw, err := e.SyscallConn()
	if err != nil {
		return 0, err
	}
	fault := raw.Control(func(fd uintptr) { n, err = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF) })
	if err == nil {
		err = fault
	}
	return n, err
}
