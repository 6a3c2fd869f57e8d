package relay

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/turnsrv/stunmsg"
)

// errorEntry is what the kernel's error queue gives for a datagram to a peer.
func errorEntry(peer netip.AddrPort, level, kind int, origin byte, e stunmsg.ICMP) (name, control []byte) {
	ee := []byte{111, 0, 0, 0, origin, e.Type, e.Code, 0}
	ee = binary.NativeEndian.AppendUint32(ee, e.MTU)
	ee = append(ee, make([]byte, 4+16)...)
	h := unix.Cmsghdr{Level: int32(level), Type: int32(kind)}
	h.SetLen(unix.CmsgLen(len(ee)))
	control = append(control, unsafe.Slice((*byte)(unsafe.Pointer(&h)), unix.SizeofCmsghdr)...)
	control = append(control, ee...)
	if peer.Addr().Is4() {
		name = binary.NativeEndian.AppendUint16(nil, unix.AF_INET)
		name = append(binary.BigEndian.AppendUint16(name, peer.Port()), peer.Addr().AsSlice()...)
		return append(name, make([]byte, 8)...), control
	}
	name = binary.NativeEndian.AppendUint16(nil, unix.AF_INET6)
	name = append(binary.BigEndian.AppendUint16(name, peer.Port()), 0, 0, 0, 0)
	return append(append(name, peer.Addr().AsSlice()...), make([]byte, 4)...), control
}

// An entry of the error queue is read as ICMP if it is that, whole, of one family, and from the network.
func TestParseError(t *testing.T) {
	four, six := netip.MustParseAddrPort("192.0.2.7:9"), netip.MustParseAddrPort("[2001:db8::7]:9")
	for _, c := range []struct {
		peer        netip.AddrPort
		level, kind int
		origin      byte
		in, out     stunmsg.ICMP
		ok          bool
	}{
		{four, unix.IPPROTO_IP, unix.IP_RECVERR, 2, stunmsg.ICMP{Type: 3, Code: 3, MTU: 5}, stunmsg.ICMP{Type: 3, Code: 3}, true},
		{four, unix.IPPROTO_IP, unix.IP_RECVERR, 2, stunmsg.ICMP{Type: 3, Code: 4, MTU: 1400}, stunmsg.ICMP{Type: 3, Code: 4, MTU: 1400}, true},
		{six, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 3, stunmsg.ICMP{Type: 2, MTU: 1280}, stunmsg.ICMP{Type: 2, MTU: 1280}, true},
		{six, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, 3, stunmsg.ICMP{Type: 3, Code: 4, MTU: 1280}, stunmsg.ICMP{Type: 3, Code: 4}, true},
		{four, unix.IPPROTO_IP, unix.IP_RECVERR, unix.SO_EE_ORIGIN_LOCAL, stunmsg.ICMP{Type: 3, Code: 4, MTU: 1400}, stunmsg.ICMP{}, false},
		{four, unix.IPPROTO_IP, unix.IP_RECVERR, unix.SO_EE_ORIGIN_ICMP6, stunmsg.ICMP{Type: 3}, stunmsg.ICMP{}, false},
		{six, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, unix.SO_EE_ORIGIN_ICMP, stunmsg.ICMP{Type: 3}, stunmsg.ICMP{}, false},
		{six, unix.IPPROTO_IP, unix.IP_RECVERR, unix.SO_EE_ORIGIN_ICMP, stunmsg.ICMP{Type: 3}, stunmsg.ICMP{}, false},
		{four, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SO_EE_ORIGIN_ICMP, stunmsg.ICMP{Type: 3}, stunmsg.ICMP{}, false},
	} {
		name, control := errorEntry(c.peer, c.level, c.kind, c.origin, c.in)
		want := peerError{}
		if c.ok {
			want = peerError{c.peer, c.out}
		}
		if got := parseError(name, control); got != want {
			t.Errorf("%+v: %+v", c, got)
		}
		// Behind another message it is found too.
		_, other := errorEntry(c.peer, unix.SOL_SOCKET, unix.SO_TIMESTAMP, 0, stunmsg.ICMP{})
		if got := parseError(name, append(other, control...)); got != want {
			t.Errorf("%+v behind another: %+v", c, got)
		}
		// Cut anywhere it is nothing, and nothing worse.
		for n := range name {
			if got := parseError(name[:n], control); got != (peerError{}) {
				t.Errorf("%d bytes of name: %+v", n, got)
			}
		}
		for n := range control {
			if got := parseError(name, control[:n]); got != (peerError{}) {
				t.Errorf("%d bytes of control: %+v", n, got)
			}
		}
		for _, n := range []uint64{0, 1, 15, 16, 17, 31, 1 << 31, 1<<63 - 1, 1<<64 - 1} { // of the message, as its head has it
			long := bytes.Clone(control)
			binary.NativeEndian.PutUint64(long, n)
			if got := parseError(name, long); got != (peerError{}) {
				t.Errorf("a length of %d: %+v", n, got)
			}
		}
	}
}
