//go:build !portable && (amd64 || arm64 || riscv64)

package offload

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/crolang-p2p/crolang-aio/internal/netspace"
	"github.com/crolang-p2p/crolang-aio/turnsrv/relay"
)

// header is what of an IP header a relay may keep.
type header struct {
	class int // DSCP, and ECN in the last two bits: the type of service, or traffic class
	hops  int // that are left: the TTL, or hop limit
}

// set sets options of the socket, by the family.
func (e *endpoint) set(level4, level6 [2]int, values ...int) {
	e.Helper()
	raw, err := e.SyscallConn()
	if err != nil {
		e.Fatal(err)
	}
	level, options := unix.IPPROTO_IP, level4
	if e.addr.Addr().Is6() {
		level, options = unix.IPPROTO_IPV6, level6
	}
	for i, o := range options {
		var failed error
		if err := raw.Control(func(fd uintptr) { failed = unix.SetsockoptInt(int(fd), level, o, values[i]) }); err != nil || failed != nil {
			e.Fatal(err, failed)
		}
	}
}

// sends has what the endpoint sends from now on begin like this.
func (e *endpoint) sends(h header) {
	e.Helper()
	e.set([2]int{unix.IP_TOS, unix.IP_TTL}, [2]int{unix.IPV6_TCLASS, unix.IPV6_UNICAST_HOPS}, h.class, h.hops)
}

// notes has the endpoint note how what it gets begins, for [way.header].
func (e *endpoint) notes() {
	e.Helper()
	e.set([2]int{unix.IP_RECVTOS, unix.IP_RECVTTL}, [2]int{unix.IPV6_RECVTCLASS, unix.IPV6_RECVHOPLIMIT}, 1, 1)
}

// header passes a datagram, and returns how it arrived.
func (v way) header(data []byte) header {
	v.from.Helper()
	v.from.to(v.dst, v.send(data))
	b, control := make([]byte, 2000), make([]byte, 200)
	_ = v.to.SetReadDeadline(time.Now().Add(patience))
	n, m, _, _, err := v.to.ReadMsgUDPAddrPort(b, control)
	if err != nil || !bytes.Equal(b[:n], v.receive(data)) {
		v.to.Fatalf("got %.40x, %v", b[:n], err)
	}
	all, err := unix.ParseSocketControlMessage(control[:m])
	if err != nil || len(all) != 2 {
		v.to.Fatalf("%d control messages, %v", len(all), err)
	}
	h := header{-1, -1}
	for _, m := range all {
		switch at := [2]int32{m.Header.Level, m.Header.Type}; at {
		case [2]int32{unix.IPPROTO_IP, unix.IP_TOS}:
			h.class = int(m.Data[0])
		case [2]int32{unix.IPPROTO_IPV6, unix.IPV6_TCLASS}:
			h.class = int(binary.NativeEndian.Uint32(m.Data))
		case [2]int32{unix.IPPROTO_IP, unix.IP_TTL}, [2]int32{unix.IPPROTO_IPV6, unix.IPV6_HOPLIMIT}:
			h.hops = int(binary.NativeEndian.Uint32(m.Data))
		default:
			v.to.Fatalf("a control message %v", at)
		}
	}
	return h
}

// took passes datagrams until the kernel has relayed one, and returns how that arrived.
func (w *world) took(v way) header {
	w.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		before := w.taken()
		if h := v.header(random(100)); w.taken() == before+1 {
			return h
		}
	}
	w.Fatalf("the kernel takes nothing: %+v", w.kernel.Report())
	return header{}
}

// What the kernel relays has the DSCP and ECN that it came with, and one hop less to go. What may go no further is left to the
// sockets, uncounted, which relay it as they do everything: with the system's own class, 0, and the system's own hops.
func TestHeadersInTheKernel(t *testing.T) {
	families(t, func(t *testing.T, w *world) {
		const own = 77
		netspace.Run(t, fmt.Sprintf("sysctl -qw net.ipv4.ip_default_ttl=%d", own))
		for _, name := range map[bool][]string{true: {"c", "p"}, false: {"c"}}[w.way.program() == TCX] {
			netspace.Run(t, fmt.Sprintf("sysctl -qw net.ipv6.conf.%s%d.hop_limit=%d", name, w.family, own))
		}
		c, p, d := w.client(), w.far(), w.client()
		c.bind(0x4000, p.addr, relay.ScopeAny)
		c.bind(0x4001, d.r.Addr(), relay.ScopeRelays)
		d.bind(0x4002, c.r.Addr(), relay.ScopeRelays)
		for name, v := range map[string]way{"up": c.up(0x4000, p), "down": c.down(0x4000, p), "between clients": c.over(0x4001, d, 0x4002)} {
			v.to.notes()
			for _, h := range []header{{0, 64}, {0xb8, 255}, {0xb9, 2}, {0x22, 3}, {0x03, 128}, {0xff, 65}} {
				v.from.sends(h)
				if got, want := w.took(v), (header{h.class, h.hops - 1}); got != want {
					t.Errorf("%s: %+v arrived as %+v, want %+v", name, h, got, want)
				}
			}
			for _, h := range []header{{0, 1}, {0xb9, 1}} {
				before := w.kernel.Report()
				v.from.sends(h)
				if got, want := v.header(random(100)), (header{0, own}); got != want {
					t.Errorf("%s: %+v arrived as %+v, want %+v", name, h, got, want)
				}
				if r := w.kernel.Report(); r.Taken != before.Taken || r.Left != before.Left {
					t.Errorf("%s: before %+v, after %+v", name, before, r)
				}
			}
			v.from.sends(header{0, 64})
		}
	})
}
